"""The annotation stage: against the planted truth, on real engines, with invalid answers, killed and started again."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import yaml

from glow_trl.analysis.annotate import main
from glow_trl.analysis.patterns.judges import LLMJudge, read_prompt
from glow_trl.analysis.patterns.taxonomy import load_taxonomy
from glow_trl.errors import UserError
from helpers.launching import ROOT, environment
from helpers.processes import kill_when


TAXONOMY = {
    "name": "small",
    "groups": [
        {
            "name": "Sums",
            "patterns": [
                {"id": "slip", "name": "Slip", "definition": "off by one", "example": "1+1=3"},
                {"id": "stale", "name": "Stale", "definition": "old value", "example": "1, 2, 1"},
            ],
        }
    ],
}


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def taxonomy(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(TAXONOMY))
    return str(path)


@pytest.fixture
def scripted(tmp_path, taxonomy, monkeypatch):
    """Runs the stage with the mock judge on these texts; returns results, rows and what was asked."""
    monkeypatch.setenv("JUDGE_LOG", str(tmp_path / "asked.jsonl"))

    def run(texts, *options, out="out"):
        rows = [
            {"problem": f"q{index // 2}", "completion": text, "is_correct": index % 2 == 0}
            for index, text in enumerate(texts)
        ]
        data = write_rows(tmp_path / "data.jsonl", rows)
        (tmp_path / "asked.jsonl").write_text("")
        argv = ["--dataset_name", data, "--output_dir", str(tmp_path / out), "--taxonomy", taxonomy]
        main([*argv, "--judge", "helpers.scripted_judge:ScriptedJudge", *options])
        asked = [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text().splitlines()]
        annotations = [json.loads(line) for line in (tmp_path / out / "annotations.jsonl").read_text().splitlines()]
        return json.loads((tmp_path / out / "results.json").read_text()), annotations, asked

    return run


def test_the_rule_judge_finds_what_the_quickstarts_teacher_planted(tmp_path):
    """The whole path against the truth, on another seed than the shipped one: what is planted is known."""
    from glow_trl.quickstart.data import QuickstartConfig, write_data

    write_data(QuickstartConfig(seed=11, train_questions=500, rl_questions=1, test_questions=1), tmp_path)
    argv = ["--dataset_name", str(tmp_path / "trajectories.jsonl"), "--output_dir", str(tmp_path / "out")]
    main([*argv, "--judge", "rule", "--taxonomy", "quickstart", "--truth_column", "patterns"])
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "trajectories.jsonl").read_text().splitlines()]
    found = [json.loads(line) for line in (tmp_path / "out" / "annotations.jsonl").read_text().splitlines()]
    exact = [set(row["patterns"]) == set(true["patterns"]) for row, true in zip(found, rows, strict=True)]
    assert results["truth"]["exact"] == pytest.approx(np.mean(exact)) and np.mean(exact) >= 0.99
    assert results["truth"]["accuracy"] >= 0.998
    for pattern, row in results["truth"]["patterns"].items():
        planted = sum(pattern in true["patterns"] for true in rows)
        assert row["true_positives"] + row["false_negatives"] == planted > 0
        assert row["precision"] >= 0.9 and row["recall"] >= (0.7 if pattern == "random_slip" else 0.98)
    assert results["judgements"]["invalid"] == 0 and results["judgements"]["quotes_in_text"] == 1
    assert results["judgements"]["trajectories"] == len({(row["problem"], row["completion"]) for row in rows})


def test_positive_and_negative_trajectories_are_counted_alike(scripted):
    results, rows, _ = scripted(["fine", "a slip"] * 10 + ["a slip", "fine"])
    shares = {label: row["patterns"]["slip"]["share"] for label, row in results["counts"].items()}
    assert shares == {"all": 0.5, "positive": pytest.approx(1 / 11), "negative": pytest.approx(10 / 11)}
    assert results["differences"]["slip"]["difference"] == pytest.approx(9 / 11)
    assert [row["patterns"] for row in rows[:2]] == [[], ["slip"]]


def test_invalid_answers_are_asked_for_again_recorded_and_counted(scripted):
    texts = ["a slip", "bad 1 slip", "bad 2", "never", "bad 9"]
    results, rows, asked = scripted(texts, "--max_retries", "2")
    assert [row["patterns"] for row in rows] == [["slip"], ["slip"], [], None, None]
    assert [len(row["judgements"][0].get("invalid", [])) for row in rows] == [0, 1, 2, 3, 3]
    assert rows[3]["judgements"][0]["answer"].startswith("{") and "answer" not in rows[0]["judgements"][0]
    counts = results["judgements"]
    assert (counts["valid"], counts["invalid"], counts["attempts"]) == (3, 2, 12)
    assert counts["reasons"] == {"no_json": 6, "unknown_pattern": 3}
    assert (results["annotated"], results["unannotated"]) == (3, 2)
    assert results["counts"]["all"]["trajectories"] == 3
    assert len(asked) == 12 and len({tuple(item) for item in asked}) == 12


def test_agreement_over_repeated_judgements(scripted):
    results, rows, asked = scripted(["a slip", "split", "bad 1 split", "fine"], "--num_judgements", "3")
    assert len(asked) == 15
    # One of three judgements is no majority
    assert [row["patterns"] for row in rows] == [["slip"], [], [], []]
    agreement = results["agreement"]
    assert agreement["patterns"]["slip"] == {
        "percent_agreement": 1.0,
        "krippendorff_alpha": pytest.approx(1.0),
    }
    assert agreement["patterns"]["stale"]["percent_agreement"] == pytest.approx((1 + 1 / 3 + 1 / 3 + 1) / 4)
    assert agreement["patterns"]["stale"]["krippendorff_alpha"] < 0.2
    assert agreement["same_set"] == pytest.approx(8 / 12)
    assert results["judgements"]["quotes_in_text"] == pytest.approx(3 / 5)


def test_nothing_is_judged_twice(scripted, tmp_path):
    """Not in another start, not for more judgements or trajectories, not in another folder with the same cache, not
    for equal trajectories; but again for another taxonomy."""
    options = ("--cache_dir", str(tmp_path / "cache"))
    texts = ["a slip", "fine", "a slip", "never"]
    first, _, asked = scripted(texts, *options)
    assert len(asked) == 4 + 2
    assert first["judgements"]["trajectories"] == 4
    _, _, asked = scripted(texts, *options)
    assert asked == []
    second, _, asked = scripted(texts, *options, "--num_judgements", "2")
    assert {number for _, number, _ in asked} == {1} and len(asked) == 4 + 2
    assert second["judgements"]["judgements"] == 8
    _, _, asked = scripted([*texts, "new slip"], *options, out="other")
    assert [text for text, *_ in asked] == ["new slip"]
    same, rows, asked = scripted(["x slip"] * 2, out="same")
    assert len(asked) == 1 and [row["patterns"] for row in rows] == [["slip"]] * 2
    edited = json.loads(json.dumps(TAXONOMY))
    edited["groups"][0]["patterns"][0]["example"] = "2+2=5"
    (tmp_path / "edited.yaml").write_text(yaml.safe_dump(edited))
    _, _, asked = scripted(texts, *options, "--taxonomy", str(tmp_path / "edited.yaml"), out="edited")
    assert len(asked) == 6


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(taxonomy, tmp_path):
    rows = [{"problem": f"q{i}", "completion": f"{'bad 1 ' if i % 3 else ''}slip {i}"} for i in range(30)]
    data = write_rows(tmp_path / "data.jsonl", rows)
    out, log = tmp_path / "out", tmp_path / "asked.jsonl"
    command = [sys.executable, "-m", "glow_trl.analysis.annotate", "--dataset_name", data, "--output_dir"]
    command += [str(out), "--taxonomy", taxonomy, "--num_judgements", "2"]
    command += ["--judge", "helpers.scripted_judge:ScriptedJudge"]
    variables = environment(JUDGE_LOG=str(log))

    def saved():
        return sum(path.read_bytes().count(b"\n") for path in (out / "cache").glob("*.jsonl")) if out.exists() else 0

    for least in (25, 75):
        kill_when(lambda least=least: saved() >= least, command, env=variables | {"JUDGE_PAUSE": "0.05"})
        assert least <= saved() < 100 and not (out / "results.json").exists()
    cache = next((out / "cache").glob("*.jsonl"))
    with cache.open("ab") as file:
        file.write(b'{"key": "torn')
    finished = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    results = json.loads((out / "results.json").read_text())
    assert results["annotated"] == 30 and results["judgements"]["attempts"] == 60 + 40
    asked = [tuple(json.loads(line)) for line in log.read_text().splitlines()]
    # An answer that was written down by the judge but not yet saved when the kill came is asked for again
    assert len(set(asked)) == 100 and len(asked) <= 102
    saved_rows = [json.loads(line) for line in cache.read_text().splitlines()]
    assert len({(row["key"], row["judgement"], row["attempt"]) for row in saved_rows}) == len(saved_rows) == 100


PROMPT = "{taxonomy}\n{problem}\n{completion}\n"
CHARACTERS = '0123456789+-*=;: abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\\{}[]"?.,\n_()<>|/'


@pytest.fixture(scope="module")
def learned_judge(tmp_path_factory):
    """A small model that learned by heart to answer some trajectories in the required form, and not others; with the
    folder's taxonomy and prompt."""
    from glow_trl.recipes.built_model import BuiltModelConfig, build_model
    from glow_trl.sft import main as sft

    folder = tmp_path_factory.mktemp("judge")
    (folder / "small.yaml").write_text(yaml.safe_dump(TAXONOMY))
    (folder / "prompt.md").write_text(PROMPT)
    config = BuiltModelConfig(hidden_size=64, intermediate_size=128, num_attention_heads=2, num_key_value_heads=2)
    build_model(
        config, [CHARACTERS], folder / "model", vocabulary=['{"patterns": [', '{"id": "', '", "quote": "', '"}']
    )
    answers = [
        '{"patterns": []}',
        '{"patterns": [{"id": "slip", "quote": "1+1=3"}]}',
        "no idea",
        '{"patterns": [{"id": "slap", "quote": "1"}]}',
    ]
    settings = {"model_name_or_path": "m", "engine": "transformers", "engine_options": None, "temperature": 0.0}
    settings |= {"top_p": 1.0, "max_new_tokens": 40, "seed": 0, "show_answer": False, "chat_template_kwargs": None}
    judge = LLMJudge(load_taxonomy(str(folder / "small.yaml")), settings | {"prompt_file": str(folder / "prompt.md")})
    rows = [{"problem": "a=1; b+1; b=?", "completion": f"{i}: 1+1={2 + i}", "is_correct": i == 0} for i in range(4)]
    taught = [
        {"problem": judge.messages(row)[0]["content"], "completion": answer}
        for row, answer in zip(rows, answers, strict=True)
    ]
    write_rows(folder / "taught.jsonl", taught * 4)
    write_rows(folder / "data.jsonl", rows)
    argv = ["--model_name_or_path", str(folder / "model"), "--dataset_name", str(folder / "taught.jsonl")]
    argv += ["--output_dir", str(folder / "trained"), "--use_cpu", "--bf16", "false", "--learning_rate", "1e-2"]
    argv += ["--max_steps", "120", "--per_device_train_batch_size", "16", "--weighting", "uniform"]
    argv += ["--gradient_checkpointing", "false", "--save_strategy", "no", "--report_to", "none"]
    sft(argv)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_a_real_model_on_a_real_engine_judges(learned_judge, tmp_path, engine):
    """Valid and invalid answers that a model wrote, through prompt, chat template, engine and parser."""
    if engine == "vllm":
        pytest.importorskip("vllm", reason="vLLM is not installed", exc_type=ImportError)
    argv = ["--dataset_name", str(learned_judge / "data.jsonl"), "--output_dir", str(tmp_path / "out")]
    argv += ["--taxonomy", str(learned_judge / "small.yaml"), "--prompt_file", str(learned_judge / "prompt.md")]
    argv += ["--model_name_or_path", str(learned_judge / "trained"), "--max_new_tokens", "40"]
    # The vocabulary and head size of the model are small: sampling at so low a temperature is greedy
    main([*argv, "--engine", engine, "--temperature", "0.01", "--max_retries", "1"])
    rows = [json.loads(line) for line in (tmp_path / "out" / "annotations.jsonl").read_text().splitlines()]
    assert [row["patterns"] for row in rows] == [[], ["slip"], None, None]
    assert [row["judgements"][0].get("invalid") for row in rows] == [
        None,
        None,
        ["no_json", "no_json"],
        ["unknown_pattern", "unknown_pattern"],
    ]
    assert rows[2]["judgements"][0]["answer"] == "no idea"
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["judge"]["engine"] == engine and "prompt" not in results["judge"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["asked"] == 6
    assert (results["annotated"], results["unannotated"]) == (2, 2)


@pytest.mark.slow
def test_a_model_that_cannot_judge_leaves_only_invalid_judgements(learned_judge, tmp_path):
    """An untrained model, and prompts that are too long for it: everything is counted, nothing is dropped."""
    argv = ["--dataset_name", str(learned_judge / "data.jsonl"), "--taxonomy", str(learned_judge / "small.yaml")]
    argv += ["--model_name_or_path", str(learned_judge / "model"), "--max_new_tokens", "8", "--num_judgements", "2"]
    short = ["--prompt_file", str(learned_judge / "prompt.md"), "--output_dir", str(tmp_path / "short")]
    main([*argv, *short])
    results = json.loads((tmp_path / "short" / "results.json").read_text())
    assert results["judgements"]["invalid"] == 8 and results["judgements"]["attempts"] == 24
    assert set(results["judgements"]["reasons"]) <= {"cut_off", "no_json"} and results["counts"] == {}
    assert results["agreement"]["overall"]["percent_agreement"] is None
    options = ["--engine_options", '{"max_model_len": 60}', "--output_dir", str(tmp_path / "long")]
    main([*argv, *short[:2], *options])
    results = json.loads((tmp_path / "long" / "results.json").read_text())
    assert results["judgements"]["reasons"] == {"refused": 8} and results["judgements"]["attempts"] == 8


def test_the_judge_sees_neither_label_nor_gold_answer_unless_told(taxonomy):
    settings = {"model_name_or_path": "m", "engine": "transformers", "engine_options": None, "temperature": 0.5}
    settings |= {"top_p": 1.0, "max_new_tokens": 40, "seed": 0, "prompt_file": None, "chat_template_kwargs": None}
    row = {"problem": "What {completion}?", "completion": "so {problem} 77", "answer": "4711", "is_correct": False}
    blind = LLMJudge(load_taxonomy(taxonomy), settings | {"show_answer": False}).messages(row)[0]["content"]
    told = LLMJudge(load_taxonomy(taxonomy), settings | {"show_answer": True}).messages(row)[0]["content"]
    assert "4711" not in blind and "False" not in blind and "4711" in told
    assert "What {completion}?" in blind and "so {problem} 77" in blind
    assert not re.search(r"\{(taxonomy|reference)\}", blind) and '{"patterns": []}' in blind
    assert "off by one" in blind


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--judge", "rul"], "did you mean rule"),
        (["--judge", "no_such_module:Judge"], "cannot be imported"),
        (["--judge", "rule"], "set `taxonomy: quickstart`"),
        (["--judge", "rule", "--taxonomy", "quickstart", "--num_judgements", "2"], "same answer each time"),
        ([], "model_name_or_path is not set"),
        (["--model_name_or_path", "m", "--temperature", "0", "--num_judgements", "2"], "temperature above 0"),
        (["--model_name_or_path", "m", "--engine", "vlm"], "did you mean vllm?"),
        (["--model_name_or_path", "m", "--prompt_file", "{data}"], "{taxonomy} is missing"),
        (["--taxonomy", "quickstrt"], "did you mean quickstart"),
        (["--num_judgements", "0"], "at least 1"),
        (["--judge", "rule", "--taxonomy", "quickstart", "--truth_column", "truth"], "no trajectory has a column"),
    ],
)
def test_mistakes_are_named_in_one_line(taxonomy, tmp_path, options, message):
    data = write_rows(tmp_path / "data.jsonl", [{"problem": "a=1; a=?", "completion": "c"}])
    argv = ["--dataset_name", data, "--output_dir", str(tmp_path / "out"), "--taxonomy", taxonomy]
    with pytest.raises(UserError, match=re.escape(message)):
        main([*argv, *(option.format(data=data) for option in options)])


def test_the_shipped_prompt_has_its_placeholders():
    prompt = read_prompt(None)
    assert all(name in prompt for name in ("{taxonomy}", "{problem}", "{completion}", "{reference}"))


NO_VLLM = pytest.mark.skipif(find_spec("vllm") is None, reason="its judge needs vllm, which is not installed")


@pytest.mark.parametrize("recipe", ["quickstart", pytest.param("gsm8k", marks=NO_VLLM)])
def test_the_recipes_files_resolve(recipe):
    from glow_trl.analysis.patterns.config import AnnotateConfig
    from glow_trl.stages.config import parse_settings

    path = ROOT / "recipes" / recipe / "annotate.yaml"
    settings = parse_settings([AnnotateConfig], ["--config", str(path)], "annotate")
    config = settings.config
    assert load_taxonomy(config.taxonomy).patterns and config.output_dir == f"outputs/{recipe}/annotation"
    assert set(settings.given) == {"seed", *yaml.safe_load(path.read_text())}
    assert f"glow-trl annotate --config recipes/{recipe}/annotate.yaml" in path.read_text()


@pytest.mark.slow
def test_a_model_behind_a_server_judges_conversations(openai_server, taxonomy, tmp_path):
    """vLLM's real server with an untrained model: invalid answers are retried and counted, a trajectory that is too
    long for the model is refused once, and a second run asks for nothing."""
    (tmp_path / "prompt.md").write_text("{taxonomy}|{problem}|{completion}")
    rows = [{"problem": "1+1=?", "completion": text} for text in ("so 2", "so 3", "5" * 600)]
    argv = ["--dataset_name", write_rows(tmp_path / "data.jsonl", rows), "--taxonomy", taxonomy]
    argv += ["--prompt_file", str(tmp_path / "prompt.md"), "--cache_dir", str(tmp_path / "cache")]
    argv += ["--engine", "server", "--model_name_or_path", "teacher", "--max_new_tokens", "12", "--max_retries", "1"]
    argv += ["--num_judgements", "2", "--engine_options", json.dumps({"base_url": openai_server})]
    for name, asked in (("first", 2 * 2 * 2 + 2), ("second", 0)):
        main([*argv, "--output_dir", str(tmp_path / name)])
        results = json.loads((tmp_path / name / "results.json").read_text())
        assert results["judge"]["model"] == "teacher"
        assert json.loads((tmp_path / name / "run.json").read_text())["asked"] == asked
        reasons = results["judgements"]["reasons"]
        assert reasons.pop("refused") == 2 and set(reasons) <= {"no_json", "cut_off"} and sum(reasons.values()) == 8


def test_a_full_disk_ends_the_run_and_keeps_what_is_saved(scripted, tmp_path, monkeypatch, capsys):
    """The disk fills up while answers are saved: exit code 1, one line, and the next start asks for the rest."""
    import errno

    from glow_trl.data.append_log import AppendLog
    from glow_trl.stages.command import guarded

    append, texts = AppendLog.append, [f"slip {index}" for index in range(6)]

    def fill_up(log, *rows):
        if '"attempt"' in log.path.read_text() and log.path.read_text().count("\n") >= 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(log.path))
        append(log, *rows)

    monkeypatch.setattr(AppendLog, "append", fill_up)
    assert guarded(lambda: scripted(texts)) == 1
    assert "make room and run the same command again" in capsys.readouterr().err
    monkeypatch.setattr(AppendLog, "append", append)
    results, _, asked = scripted(texts)
    assert len(asked) == 2 and results["judgements"]["valid"] == 6
