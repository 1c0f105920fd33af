"""Benchmarks by name and by file: what they resolve to, rows as the Hub shapes them, and what is said about mistakes.

The Hub cannot be reached in tests. Its rows are made by hand here after the schemas that its data sets document.
"""

import json
from importlib import resources
from pathlib import Path

import pytest
import yaml

from glow_trl.benchmarks import BenchmarkConfig, benchmark_names, get_benchmark, load_questions, parse_entry
from glow_trl.errors import UserError
from glow_trl.verifiers import check_gold


# Benchmark, a row as on the Hub, and the question that it is
HUB_ROWS = {
    "gsm8k": (
        {"question": "How much?", "answer": "She has 2 * 600 = <<2*600=1200>>1200.\n#### 1,200"},
        {"problem": "How much?", "answer": "1,200", "kind": "math"},
    ),
    "math500": (
        {
            **{"problem": "Find $x$.", "solution": r"\boxed{3}", "answer": "3", "subject": "Algebra", "level": 2},
            "unique_id": "test/algebra/1.json",
        },
        {"problem": "Find $x$.", "answer": "3", "kind": "math", "subject": "Algebra"},
    ),
    "aime24": (
        {"id": 60, "problem": "Find $n$.", "solution": "...", "answer": "025", "url": "", "year": "2024"},
        {"problem": "Find $n$.", "answer": "025", "kind": "math"},
    ),
    "amc23": (
        {"id": 0, "question": "When?", "answer": "27.0", "url": ""},
        {"problem": "When?", "answer": "27.0", "kind": "math"},
    ),
    "minerva": (
        {"question": "How fast?", "answer": "1.9e-7"},
        {"problem": "How fast?", "answer": "1.9e-7", "kind": "math"},
    ),
    "olympiadbench": (
        {
            **{"id": 1606, "question": "Find all $x$.", "solution": ["..."], "final_answer": ["$1$", "$-1$"]},
            **{"context": None, "is_multiple_answer": True, "subfield": "Algebra", "unit": None, "error": None},
        },
        {"problem": "Find all $x$.", "answer": "$1$, $-1$", "kind": "math", "subject": "Algebra"},
    ),
    "svamp": (
        {
            **{"ID": "chal-1", "Body": "Ann has 3 pens.", "Question": "How many are left?", "Answer": "3.0"},
            **{"Equation": "( 3.0 - 0.0 )", "Type": "Subtraction"},
        },
        {"problem": "Ann has 3 pens. How many are left?", "answer": "3.0", "kind": "math"},
    ),
    "mmlu": (
        {"question": "Which?", "subject": "virology", "choices": ["a", "b", "c", "d"], "answer": 1},
        {"problem": "Which?", "answer": "B", "choices": ["a", "b", "c", "d"], "kind": "choice", "subject": "virology"},
    ),
    "mmlu_pro": (
        {
            **{"question_id": 70, "question": "Which?", "options": ["a", "b", "c"], "answer": "C", "answer_index": 2},
            **{"cot_content": "", "category": "business", "src": "ori_mmlu-business_ethics"},
        },
        {"problem": "Which?", "answer": "C", "choices": ["a", "b", "c"], "kind": "choice", "subject": "business"},
    ),
    "headqa": (
        {
            **{"name": "Cuaderno_2013_1_B", "year": "2013", "category": "biology", "qid": 1, "qtext": "Which?"},
            **{"ra": 3, "answers": [{"aid": 1, "atext": "a"}, {"aid": 2, "atext": "b"}, {"aid": 3, "atext": " c "}]},
        },
        {"problem": "Which?", "answer": "C", "choices": ["a", "b", "c"], "kind": "choice", "subject": "biology"},
    ),
    "acpbench_mcq": (
        {
            **{"id": 7, "group": "applicable_actions_mc", "context": "A robot.", "question": "Which action?"},
            **{"choices": {"text": ["a", "b", "c", "d"], "label": ["A", "B", "C", "D"]}, "answer": "D", "query": ""},
        },
        {"problem": "A robot. Which action?", "answer": "D", "choices": ["a", "b", "c", "d"], "kind": "choice"},
    ),
    "acpbench_bool": (
        {"id": 7, "group": "x", "context": "A robot.", "question": "Can it move?", "answer": "yes"},
        {"problem": "A robot. Can it move?", "answer": "yes", "kind": "text"},
    ),
    "bbh": (
        {"input": "Which?\nOptions:\n(A) red\n(B) blue", "target": "(B)"},
        {"problem": "Which?\nOptions:", "answer": "B", "choices": ["red", "blue"], "kind": "choice"},
    ),
}


@pytest.fixture(autouse=True)
def no_local_copies(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOW_TRL_DATA", str(tmp_path / "nothing"))


def write_rows(path: Path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def from_hub(monkeypatch, rows, asked: list | None = None) -> None:
    """Let `datasets` give `rows`, whatever is asked for."""
    import datasets

    def load_dataset(name, config_name=None, split=None, streaming=False):
        if asked is not None:
            asked.append((name, config_name, split))
        return rows(config_name) if callable(rows) else rows

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)


def gpqa_rows(count: int) -> list[dict]:
    return [
        {
            **{
                "Question": f"Question {number}?",
                "Correct Answer": f"right {number}\n",
                "High-level domain": "Physics",
            },
            **{f"Incorrect Answer {wrong}": f"wrong {number}.{wrong}" for wrong in (1, 2, 3)},
        }
        for number in range(count)
    ]


def test_the_benchmarks_of_the_paper_ship_and_can_be_read():
    names = benchmark_names()
    assert {*HUB_ROWS, "gpqa_diamond", "quickstart_in_domain", "quickstart_longer_chains"} <= set(names)
    for name in names:
        benchmark = get_benchmark(name)
        assert benchmark.name == name
        assert benchmark.domain in ({"in", "out"} if name.startswith("quickstart") else {"math", "general", "other"})
    assert get_benchmark("mmlu_math").domain == "math" and get_benchmark("mmlu_nonmath").domain == "general"


def test_every_shipped_file_states_its_version(tmp_path):
    """A file that starts from another one has a version of its own."""
    for path in resources.files("glow_trl.benchmarks").joinpath("shipped").iterdir():
        assert yaml.safe_load(path.read_text())["version"] >= 1, path.name
    assert get_benchmark("gsm8k", version=1.1).version == 1.1
    (tmp_path / "own.yaml").write_text("base: gsm8k\nversion: 3\n")
    assert get_benchmark(str(tmp_path / "own.yaml")).version == 3
    for value in ("1", True, 0, [1]):
        with pytest.raises(UserError, match="version is .*: it must be a positive number"):
            get_benchmark("gsm8k", version=value)


def test_the_quickstart_test_sets_are_those_that_its_recipe_makes(tmp_path):
    from glow_trl.quickstart import QuickstartConfig, write_data

    config = QuickstartConfig(train_questions=2, samples_per_question=1, rl_questions=2, test_questions=5)
    write_data(config, tmp_path)
    shipped = {name for name in benchmark_names() if name.startswith("quickstart_")}
    assert shipped == {f"quickstart_{name}" for name in config.test_families()}
    for name in shipped:
        benchmark = get_benchmark(name)
        questions = load_questions(get_benchmark(name, path=str(tmp_path / Path(benchmark.path).name)))
        assert len(questions) == 5 and check_gold(questions).ok


@pytest.mark.parametrize("name", HUB_ROWS)
def test_rows_as_on_the_hub_become_questions(name, monkeypatch):
    row, expected = HUB_ROWS[name]
    asked = []
    from_hub(monkeypatch, [row], asked)
    benchmark = get_benchmark(name)
    question = load_questions(benchmark)[0]
    assert {key: question.get(key) for key in expected} == expected
    assert check_gold([question]).ok
    configs = benchmark.config_name if isinstance(benchmark.config_name, list) else [benchmark.config_name]
    assert asked == [(benchmark.path, config, benchmark.split) for config in configs]


@pytest.mark.parametrize("name", HUB_ROWS)
def test_a_local_file_of_rows_as_on_the_hub_or_as_our_own(name, tmp_path):
    """Pointed at a download, or at questions in this package's format, without a word about columns."""
    row, expected = HUB_ROWS[name]
    downloaded = load_questions(get_benchmark(name, path=write_rows(tmp_path / "hub.jsonl", [row])))
    assert {key: downloaded[0].get(key) for key in expected} == expected and len(downloaded) == 1
    own = {key: expected[key] for key in ("problem", "answer", "choices") if key in expected}
    found = load_questions(get_benchmark(name, path=write_rows(tmp_path / "own.jsonl", [own])))
    assert {key: found[0].get(key) for key in own} == own and found[0]["kind"] == expected["kind"]


def test_several_configurations_follow_each_other_with_their_names_as_subjects(monkeypatch):
    from_hub(monkeypatch, lambda name: [{"input": f"{name} {number}", "target": "Yes"} for number in range(2)])
    questions = load_questions(get_benchmark("bbh"))
    assert len(questions) == 54 and len({row["sample_id"] for row in questions}) == 54
    assert questions[2]["subject"] == "causal_judgement" and questions[2]["problem"] == "causal_judgement 0"


def test_options_of_gpqa_are_shuffled_by_a_fixed_seed(monkeypatch):
    """The right option stands in each place about equally often, and in the same place every time."""
    from_hub(monkeypatch, gpqa_rows(400))
    questions = load_questions(get_benchmark("gpqa_diamond"))
    for number, question in enumerate(questions):
        choices, answer = question["choices"], question["answer"]
        assert choices["ABCD".index(answer)] == f"right {number}"
        assert sorted(choices) == sorted([f"right {number}", *(f"wrong {number}.{wrong}" for wrong in (1, 2, 3))])
    letters = [question["answer"] for question in questions]
    assert all(70 <= letters.count(letter) <= 130 for letter in "ABCD")
    assert check_gold(questions).ok
    assert load_questions(get_benchmark("gpqa_diamond")) == questions
    # The order is the question's own: it does not depend on which others are asked
    from_hub(monkeypatch, gpqa_rows(400)[::-1])
    turned = {row["problem"]: row["choices"] for row in load_questions(get_benchmark("gpqa_diamond", limit=7))}
    assert turned == {row["problem"]: row["choices"] for row in questions[-7:]}
    from_hub(monkeypatch, gpqa_rows(400))
    other = load_questions(get_benchmark("gpqa_diamond", shuffle_choices=1))
    assert [row["answer"] for row in other] != letters


def test_what_a_benchmark_is_pointed_at_comes_before_the_copy_and_the_copy_before_the_hub(tmp_path, monkeypatch):
    from_hub(monkeypatch, [{"question": "of the Hub", "answer": "#### 1"}])
    assert load_questions(get_benchmark("gsm8k"))[0]["problem"] == "of the Hub"
    (tmp_path / "copies").mkdir()
    write_rows(tmp_path / "copies" / "qa_gsm8k_test.jsonl", [{"problem": "of the copy", "answer": "2"}])
    monkeypatch.setenv("GLOW_TRL_DATA", str(tmp_path / "copies"))
    assert load_questions(get_benchmark("gsm8k"))[0]["problem"] == "of the copy"
    mine = write_rows(tmp_path / "mine.jsonl", [{"frage": "my own", "gold": 3}])
    entry = {"name": "gsm8k", "path": mine, "columns": {"problem": "frage", "answer": "gold"}}
    (question,) = load_questions(parse_entry(entry, "benchmarks, entry 1"))
    assert question["problem"] == "my own" and question["answer"] == "3"
    assert load_questions(get_benchmark("gsm8k", path="openai/gsm8k"))[0]["problem"] == "of the Hub"


def test_a_user_adds_a_benchmark_with_a_yaml_file(tmp_path):
    rows = [{"q": f"{number}?", "a": f"so {number}", "topic": "ab"[number % 2]} for number in range(6)]
    settings = {
        "domain": "arithmetic",
        "path": write_rows(tmp_path / "rows.jsonl", rows),
        "columns": {"problem": "q", "answer": "a", "subject": "topic"},
        "patterns": {"answer": r"so (\d+)"},
        "subjects": {"include": ["b"]},
    }
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(settings))
    benchmark = parse_entry(str(file), "benchmarks, entry 1")
    assert benchmark.name == "mine" and benchmark.domain == "arithmetic"
    assert [row["answer"] for row in load_questions(benchmark)] == ["1", "3", "5"]
    (tmp_path / "more.yaml").write_text(yaml.safe_dump({"base": str(file), "limit": 1}))
    assert len(load_questions(get_benchmark(str(tmp_path / "more.yaml")))) == 1
    renamed = parse_entry({"base": "gsm8k", "name": "gsm8k_unseen", "exclude": "seen.jsonl"}, "benchmarks, entry 1")
    assert (renamed.name, renamed.path, renamed.exclude) == ("gsm8k_unseen", "openai/gsm8k", "seen.jsonl")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("gsm8", "did you mean gsm8k"),
        ("nothing.yaml", "no such file"),
        ({"name": "mmlu-pro"}, "did you mean mmlu_pro"),
        ({"base": "gsm8k", "colums": {}}, "did you mean columns"),
        ({"base": "gsm8k", "patterns": {"answer": "("}}, "not a regular expression"),
        ({"base": "mmlu", "subjects": {"only": ["x"]}}, "`include` or `exclude`"),
        ({"base": "mmlu", "subjects": ["x"]}, "mapping of names to lists"),
        ({"base": "mmlu", "shuffle_choices": True}, "whole number"),
        ({"base": "mmlu", "split_by_subject": "yes"}, "true or false"),
        ({"base": "mmlu", "local": {"path": "x", "coloms": {}}}, "did you mean columns"),
        ({"base": "gpqa_diamond", "choice_columns": ["one"]}, "at least two columns"),
        ({"base": 3}, "name or the path of a benchmark"),
        ({"name": "own", "path": "x.jsonl", "choice_pattern": "x"}, "one group"),
        (17, "expected the name of a benchmark"),
    ],
)
def test_mistakes_in_an_entry_are_named(entry, message):
    with pytest.raises(UserError, match=message):
        parse_entry(entry, "benchmarks, entry 1")


@pytest.mark.parametrize(
    ("settings", "row", "message"),
    [
        ({"patterns": {"answer": "#### (.*)"}}, {"problem": "p", "answer": "12"}, "matches nothing"),
        ({"columns": {"problem": "qestion"}}, {"question": "p", "answer": "12"}, "did you mean question"),
        ({}, {"problem": "p", "answer": None}, "row 1: column 'answer'"),
        ({}, {"problem": None, "answer": "1"}, "row 1: column 'problem'"),
        ({"choice_text": "text"}, {"problem": "p", "answer": "A", "choices": [{"t": "x"}, {"t": "y"}]}, "'text'"),
        (
            {"choice_text": "t", "choice_id": "n"},
            {"problem": "p", "answer": 3, "choices": [{"t": "x", "n": 1}, {"t": "y", "n": 2}]},
            "not one of the options",
        ),
        ({}, {"problem": "p", "answer": "A", "choices": "x"}, "list of 2 to 26"),
        ({"shuffle_choices": 0}, {"problem": "p", "answer": "x", "choices": ["x", "y"]}, "letter of an option"),
        ({"subjects": {"include": ["x"]}}, {"problem": "p", "answer": "1"}, "no column 'subject'"),
        ({"subjects": {"include": ["x"]}}, {"problem": "p", "answer": "1", "subject": "y"}, "subjects are y"),
    ],
)
def test_mistakes_in_the_data_are_named(tmp_path, settings, row, message):
    path = write_rows(tmp_path / "rows.jsonl", [row])
    with pytest.raises(UserError, match=message):
        load_questions(BenchmarkConfig.parse({"name": "x", "path": path, **settings}, "benchmarks, entry 1"))


def test_a_file_of_unknown_shape_is_refused_with_the_shapes_that_are_known(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [{"prompt": "p", "gold": "1"}])
    with pytest.raises(UserError, match="columns prompt, gold, expected answer, question or answer, problem"):
        load_questions(get_benchmark("gsm8k", path=path))


def test_importing_the_benchmarks_loads_no_framework():
    import subprocess
    import sys

    code = "import sys, glow_trl.benchmarks as b; b.get_benchmark('mmlu'); "
    code += "assert not {'torch', 'datasets', 'trl'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
