"""`glow-trl mix`: what goes in comes out once, counted, split by question, balanced, in whatever order it comes."""

import json
import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from glow_trl.cli import main as cli
from glow_trl.collection.mix import MixConfig
from glow_trl.data import read_jsonl, write_jsonl
from glow_trl.errors import UserError
from glow_trl.stages.record import read_run


def read(path):
    return [row for _, row in read_jsonl(path)]


def made_up(questions=120, seed=0):
    """Rows of questions of every pass rate, with lengths, models, sources and truncated ones."""
    rng = random.Random(seed)
    rows = []
    for number in range(questions):
        share = rng.choice([0.0, 0.3, 0.6, 1.0])
        for sample in range(rng.randrange(1, 9)):
            words = " ".join(
                rng.choice(["so", "then", "thus", "we", "get", str(rng.randrange(999))]) for _ in range(40)
            )
            rows.append(
                {
                    "problem": f"Question {number}: what is {number * 7} plus {number}?",
                    "completion": f"{words}, sample {sample}",
                    "answer": str(number * 8),
                    "is_correct": rng.random() < share,
                    "model": rng.choice(["big", "small"]),
                    "source": f"set-{number % 3}",
                    "n_tokens": rng.randrange(10, 400),
                    "finish_reason": rng.choice(["stop", "stop", "length"]),
                    "sample_id": f"q{number}/s{sample}",
                }
            )
    return rows


def mix(folder, rows, name="out", **settings):
    """Run the command on rows; the output folder."""
    if rows is not None:
        write_jsonl(folder / "rows.jsonl", rows)
    settings = {"dataset_name": str(folder / "rows.jsonl"), "output_dir": str(folder / name)} | settings
    (folder / f"{name}.yaml").write_text(json.dumps(settings))
    code = cli(["mix", "--config", str(folder / f"{name}.yaml")])
    assert code == 0
    return folder / name


def card_of(out):
    return json.loads((out / "card.json").read_text())


def test_every_row_is_accounted_for(tmp_path):
    """The filters of the card add up from what was read to what was written, and every kept row is as it came."""
    rows = made_up()
    bad = [{"problem": "x", "completion": "", "answer": "1", "is_correct": True}, {"problem": "y"}]
    out = mix(
        tmp_path,
        [*rows, *bad, rows[0] | {"sample_id": "again"}],
        min_tokens=20,
        max_tokens=350,
        truncated="drop",
        min_pass_rate=0.1,
        max_pass_rate=0.9,
        max_per_question=3,
        near_duplicate_threshold=0.8,
    )
    card = card_of(out)
    steps = card["filters"]
    assert steps[0]["left"] == len(rows) + 3 and steps[1]["removed"] == len(read(out / "rejects.jsonl")) == 2
    for before, step in zip(steps, steps[1:], strict=False):
        assert step["left"] == before["left"] - step["removed"] and step["removed"] >= 0
    kept = read(out / "train.jsonl") + read(out / "validation.jsonl")
    assert steps[-1]["left"] == len(kept) == card["rows"]["kept"] > 50
    by_id = {row["sample_id"]: row for row in [*rows, rows[0] | {"sample_id": "again"}]}
    assert all(by_id[row["sample_id"]] == row for row in kept)

    rates = defaultdict(list)
    for row in rows:
        rates[row["problem"]].append(row["is_correct"])
    rates[rows[0]["problem"]].append(rows[0]["is_correct"])
    for row in kept:
        assert 20 <= row["n_tokens"] <= 350 and row["finish_reason"] == "stop"
        assert 0.1 <= np.mean(rates[row["problem"]]) <= 0.9
    assert max(Counter(row["problem"] for row in kept).values()) <= 3
    for key, column in (("sources", "source"), ("models", "model")):
        for name, counts in card[key].items():
            mine = [row for row in kept if row[column] == name]
            assert counts["kept_positive"] == sum(row["is_correct"] for row in mine)
            assert counts["kept_negative"] == sum(not row["is_correct"] for row in mine)
            assert counts["positive"] + counts["negative"] >= sum(row[column] == name for row in rows)
    lengths = card["lengths"]
    assert sum(lengths["positive"]["counts"]) + sum(lengths["negative"]["counts"]) == len(kept)
    assert lengths["positive"]["total"] == sum(row["n_tokens"] for row in kept if row["is_correct"])
    text = (out / "card.md").read_text()
    assert "lengths.svg" in text and (out / "lengths.svg").read_text().lstrip().startswith("<?xml")
    assert all(step["filter"] in text for step in steps)


@pytest.mark.parametrize("mixture", ["positive", "negative", "all", "balanced"])
def test_mixtures(tmp_path, mixture):
    rows = made_up()
    out = mix(tmp_path, rows, mixture=mixture, validation_split=0.2)
    for name in ("train", "validation"):
        labels = Counter(row["is_correct"] for row in read(out / f"{name}.jsonl"))
        if mixture == "balanced":
            assert labels[True] == labels[False] > 10
        else:
            assert labels[True] > 0 or mixture == "negative"
            assert labels[False] > 0 or mixture == "positive"
            assert not labels[mixture == "negative"] or mixture == "all"
    kept = len(read(out / "train.jsonl")) + len(read(out / "validation.jsonl"))
    positive = sum(row["is_correct"] for row in rows)
    if mixture != "balanced":
        assert kept == {"positive": positive, "negative": len(rows) - positive, "all": len(rows)}[mixture]


def test_balance_within_each_question(tmp_path):
    out = mix(tmp_path, made_up(), mixture="balanced", balance="question", max_per_question=4)
    labels = defaultdict(Counter)
    for row in read(out / "train.jsonl"):
        labels[row["problem"]][row["is_correct"]] += 1
    assert labels and all(count[True] == count[False] <= 2 for count in labels.values())


def test_caps_by_label(tmp_path):
    out = mix(tmp_path, made_up(), max_positive_per_question=2, max_negative_per_question=1, validation_split=0)
    labels = Counter((row["problem"], row["is_correct"]) for row in read(out / "train.jsonl"))
    assert max(n for (_, label), n in labels.items() if label) == 2
    assert max(n for (_, label), n in labels.items() if not label) == 1


def test_no_question_is_on_both_sides_however_it_is_written(tmp_path):
    rows = made_up(300)
    rng = random.Random(1)
    for row in rows:
        row["problem"] = rng.choice([str, str.upper, lambda text: text.replace(" ", "  ")])(row["problem"])
    out = mix(tmp_path, rows, validation_split=0.3)

    def questions(name):
        return {" ".join(row["problem"].lower().split()) for row in read(out / f"{name}.jsonl")}

    train, validation = questions("train"), questions("validation")
    assert not train & validation and len(train | validation) == 300 and 60 < len(validation) < 120
    prompts = {" ".join(row["problem"].lower().split()) for row in read(out / "prompts.jsonl")}
    assert prompts and prompts <= train

    more = mix(tmp_path, rows + made_up(400)[-100:], name="more", validation_split=0.3)
    grown = {" ".join(row["problem"].lower().split()) for row in read(more / "validation.jsonl")}
    assert validation <= grown


def test_the_order_of_the_files_changes_nothing_but_the_order(tmp_path):
    rows = made_up()
    write_jsonl(tmp_path / "a.jsonl", rows[:200])
    write_jsonl(tmp_path / "b.jsonl", rows[200:])
    settings = {"mixture": "balanced", "max_per_question": 4, "near_duplicate_threshold": 0.9, "validation_split": 0.2}
    outs = []
    for name, files in (("ab", "ab"), ("ba", "ba")):
        paths = [str(tmp_path / f"{file}.jsonl") for file in files]
        outs.append(mix(tmp_path, None, name=name, dataset_name=paths, **settings))
    for name in ("train", "validation", "prompts"):
        first, second = (read(out / f"{name}.jsonl") for out in outs)
        assert sorted(first, key=json.dumps) == sorted(second, key=json.dumps)
    other = mix(tmp_path, rows, name="other", seed=7, **settings)
    assert {row["sample_id"] for row in read(other / "train.jsonl")} != {
        row["sample_id"] for row in read(outs[0] / "train.jsonl")
    }


def test_sample_ids_are_unique_over_files_that_use_the_same(tmp_path):
    paths = []
    for name in ("a", "b", "c"):
        path = tmp_path / name / "rows.jsonl"
        rows = [row | {"completion": f"{name} {row['completion']}"} for row in made_up(20)]
        if name == "c":
            rows = [{key: value for key, value in row.items() if key != "sample_id"} for row in rows]
        write_jsonl(path, rows)
        paths.append(str(path))
    out = mix(tmp_path, None, dataset_name=paths, validation_split=0.2)
    ids = [row["sample_id"] for name in ("train", "validation") for row in read(out / f"{name}.jsonl")]
    assert len(ids) == len(set(ids)) == 3 * len(made_up(20))
    from glow_trl.data import load_rows

    assert len(load_rows(str(out / "train.jsonl"))) + len(load_rows(str(out / "validation.jsonl"))) == len(ids)


def test_repetitions_and_contradicting_labels(tmp_path):
    rows = made_up(10)
    text = "We add the numbers one after another and find that the sum of all of them must be equal to {} in the end."
    base = {"problem": "p", "answer": "1", "is_correct": True}
    more = [
        base | {"completion": text.format(11), "sample_id": "one"},
        base | {"completion": text.format(11), "sample_id": "two"},
        base | {"completion": text.format(12), "sample_id": "near"},
        base | {"completion": text.format(13), "is_correct": False, "sample_id": "other label"},
        base | {"completion": "Something else altogether, and nothing like it.", "sample_id": "unlike"},
        base | {"completion": "said to be right", "sample_id": "yes"},
        base | {"completion": "said to be right", "is_correct": False, "sample_id": "no"},
    ]
    settings = {"validation_split": 0, "near_duplicate_threshold": 0.6}
    out = mix(tmp_path, rows + more, **settings)
    kept = {row["sample_id"] for row in read(out / "train.jsonl") if row["problem"] == "p"}
    assert len(kept & {"one", "two", "near"}) == 1 and {"other label", "unlike"} < kept and not kept & {"yes", "no"}
    duplicates = [row for row in read(out / "duplicates.jsonl") if row["problem"] == "p"]
    assert {row["sample_id"] for row in duplicates} == {"one", "two", "near"} - kept
    assert all(row["duplicate_of"] in {"one", "two", "near"} and row["similarity"] >= 0.6 for row in duplicates)


def test_repetitions_are_kept_if_nobody_asks_for_their_removal(tmp_path):
    rows = made_up(10)
    out = mix(tmp_path, rows * 3, validation_split=0)
    kept = read(out / "train.jsonl")
    assert len(kept) == 3 * len(rows) == len({row["sample_id"] for row in kept})
    exact = mix(tmp_path, rows * 3, name="exact", validation_split=0, near_duplicate_threshold=1.0)
    assert Counter(row["completion"] for row in read(exact / "train.jsonl")) == Counter(
        row["completion"] for row in rows
    )


def test_benchmark_questions_reach_neither_training_nor_stage_2(tmp_path):
    rows = made_up(200)
    taken = sorted({row["problem"] for row in rows})[::10]
    write_jsonl(tmp_path / "held_out.jsonl", [{"problem": problem.upper(), "answer": "1"} for problem in taken])
    out = mix(tmp_path, rows, decontaminate=[str(tmp_path / "held_out.jsonl")], validation_split=0.2)
    for name in ("train", "validation", "prompts"):
        problems = {row["problem"] for row in read(out / f"{name}.jsonl")}
        assert problems and not problems & set(taken)
    hits = read(out / "contamination.jsonl")
    assert {hit["problem"] for hit in hits} == set(taken) == {hit["benchmark_problem"].capitalize() for hit in hits}
    assert len(hits) == sum(row["problem"] in taken for row in rows)
    assert {hit["benchmark"] for hit in hits} == {"held_out"} and hits[0]["ngram"].startswith("question")
    (benchmark,) = card_of(out)["contamination"]["benchmarks"]
    assert (benchmark["questions_hit"], benchmark["rows"]) == (len(taken), len(hits))


def test_two_benchmarks_of_one_name_are_both_compared(tmp_path):
    rows = made_up(40)
    first, second = sorted({row["problem"] for row in rows})[:2]
    for name, problem in (("a", first), ("b", second)):
        write_jsonl(tmp_path / name / "test.jsonl", [{"problem": problem, "answer": "1"}])
    out = mix(tmp_path, rows, decontaminate=[str(tmp_path / name / "test.jsonl") for name in "aba"])
    assert {row["problem"] for row in read(out / "contamination.jsonl")} == {first, second}
    benchmarks = card_of(out)["contamination"]["benchmarks"]
    assert [item["questions_hit"] for item in benchmarks] == [1, 1]


def test_every_local_benchmark_is_compared(tmp_path, shared_data, monkeypatch):
    monkeypatch.setenv("GLOW_TRL_DATA", str(shared_data))
    rows = read(shared_data / "qa_gsm8k_train.jsonl")[:300] + read(shared_data / "qa_math500.jsonl")[:20]
    rows = [row | {"completion": f"{row['answer']}.", "is_correct": i % 2 == 0} for i, row in enumerate(rows)]
    out = mix(tmp_path, rows, decontaminate="local")
    contamination = card_of(out)["contamination"]
    assert contamination["rows"] == 20
    assert {"gsm8k", "math500", "mmlu", "bbh"} <= {item["name"] for item in contamination["benchmarks"]}
    assert "aime24" in contamination["not_compared_with"] and "aime24" in (out / "card.md").read_text()


def test_columns_kinds_of_file_and_patterns(tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = made_up(30)
    renamed = [{"question" if key == "problem" else key: value for key, value in row.items()} for row in rows]
    write_jsonl(tmp_path / "part-1.jsonl", renamed[:40])
    (tmp_path / "part-2.json").write_text(json.dumps(renamed[40:60]))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(renamed[60:]), tmp_path / "part-3.parquet")
    settings = {"columns": {"problem": "question"}, "validation_split": 0}
    out = mix(tmp_path, None, dataset_name=str(tmp_path / "part-*"), **settings)
    assert read(out / "train.jsonl") == rows


def test_texts_that_utf8_cannot_spell(tmp_path):
    """Lone surrogates and null characters, which JSON can spell: the rows come through as they are."""
    rows = made_up(10)
    for row in rows:
        for column in ("problem", "completion", "source", "sample_id"):
            row[column] += "\ud800 \x00"
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_jsonl(tmp_path / "other.jsonl", [{"problem": "nothing of the kind", "answer": "1"}])
    settings = {"decontaminate": [str(tmp_path / "other.jsonl")], "near_duplicate_threshold": 0.9}
    assert read(mix(tmp_path, None, validation_split=0, **settings) / "train.jsonl") == rows


def test_tokens_are_counted_with_a_tokenizer_if_one_is_named(tmp_path, tiny_model):
    from transformers import AutoTokenizer

    rows = [{key: value for key, value in row.items() if key != "n_tokens"} for row in made_up(20)]
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    lengths = [len(tokenizer(row["completion"], add_special_tokens=False)["input_ids"]) for row in rows]
    limit = int(np.median(lengths))
    out = mix(tmp_path, rows, model_name_or_path=tiny_model, max_tokens=limit, validation_split=0)
    kept = [row for row, length in zip(rows, lengths, strict=True) if length <= limit]
    assert read(out / "train.jsonl") == kept and card_of(out)["lengths"]["unit"] == "tokens"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixture": "balancd"}, "did you mean balanced"),
        ({"mixtur": "all"}, "did you mean mixture"),
        ({"decontaminate": ["gsm9k"]}, "did you mean gsm8k"),
        ({"decontaminate": ["nowhere.jsonl"]}, "nowhere.jsonl: there is no such file"),
        ({"min_pass_rate": 0.9, "max_pass_rate": 0.1}, "min_pass_rate (0.9) is above"),
        ({"max_pass_rate": 40}, "from 0 to 1"),
        ({"max_per_question": 0}, "at least 1"),
        ({"mixture": "balanced", "max_per_question": 1}, "at least 2"),
        ({"near_duplicate_threshold": 0.2}, "0.5 to 1"),
        ({"validation_split": 1.0}, "leaves nothing"),
        ({"min_tokens": 500}, "no row is left to train on"),
        ({"ledger": "nowhere", "prompt_order": "hard_first"}, "has no losses of epochs"),
        ({"ledger": "nowhere"}, "set prompt_order"),
        ({"columns": {"answer": "gold"}}, "no column 'gold'"),
    ],
)
def test_wrong_settings_say_what_to_do(tmp_path, capsys, settings, message):
    write_jsonl(tmp_path / "rows.jsonl", made_up(5))
    config = {"dataset_name": str(tmp_path / "rows.jsonl"), "output_dir": str(tmp_path / "out")} | settings
    (tmp_path / "mix.yaml").write_text(json.dumps(config))
    assert cli(["mix", "--config", str(tmp_path / "mix.yaml")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "train.jsonl").exists()
    # The folder is free for better settings
    mix(tmp_path, None)


def test_rows_without_labels_or_tokens_or_finish_reasons(tmp_path):
    rows = [{key: row[key] for key in ("problem", "completion", "answer", "is_correct")} for row in made_up(5)]
    write_jsonl(tmp_path / "rows.jsonl", rows)

    def failure(**settings):
        from glow_trl.collection.mixing.run import mix as run

        (tmp_path / "out").mkdir(exist_ok=True)
        with pytest.raises(UserError) as error:
            run(
                MixConfig([str(tmp_path / "rows.jsonl")], output_dir=str(tmp_path / "out"), **settings),
                tmp_path / "out",
            )
        return str(error.value)

    assert "no n_tokens" in failure(max_tokens=5) and "model_name_or_path" in failure(max_tokens=5)
    assert "finish_reason" in failure(truncated="drop")
    write_jsonl(tmp_path / "rows.jsonl", [{**row, "is_correct": None} for row in rows])
    assert "run `glow-trl label` first" in failure()
    assert len(read(tmp_path / "out" / "rejects.jsonl")) == len(rows)
    write_jsonl(tmp_path / "rows.jsonl", [{**row, "is_correct": True} for row in rows])
    assert f"of {len(rows)}, {len(rows)} positive" in failure(mixture="negative")


def test_a_run_that_is_complete_is_kept_and_one_that_differs_refused(tmp_path, capsys):
    out = mix(tmp_path, made_up(20))
    before = (out / "train.jsonl").stat().st_mtime_ns
    mix(tmp_path, None)
    assert (out / "train.jsonl").stat().st_mtime_ns == before and read_run(out)["train"] == len(
        read(out / "train.jsonl")
    )
    write_jsonl(tmp_path / "rows.jsonl", made_up(21))
    assert cli(["mix", "--config", str(tmp_path / "out.yaml")]) == 2
    assert "differs in the content of" in capsys.readouterr().err
