"""Every shipped benchmark with a local copy: its golds, its prompts, and wrong answers to every single question."""

import pytest

from glow_trl.benchmarks import benchmark_names, get_benchmark, load_questions
from glow_trl.data import build_prompt
from glow_trl.verifiers import check_gold, verify_batch
from glow_trl.verifiers.gold import phrase
from glow_trl.verifiers.kinds.math import gold_answer


COPIES = {
    "gsm8k": 1319,
    "math500": 500,
    "olympiadbench": 675,
    "svamp": 1000,
    "mmlu": 2850,
    "mmlu_math": 250,
    "mmlu_nonmath": 2600,
    "mmlu_pro": 1400,
    "bbh": 2700,
    "acpbench_mcq": 420,
    "acpbench_bool": 420,
    "headqa": 1500,
}
OPPOSITES = {"yes": "no", "true": "false", "valid": "invalid"}
OPPOSITES |= {second: first for first, second in OPPOSITES.items()}


def wrong_answer(question: dict) -> str:
    """Another letter, another number, the opposite, or an answer with a word or bracket too many."""
    answer = question["answer"]
    if question["kind"] == "choice":
        letters = [chr(ord("A") + index) for index in range(len(question["choices"]))]
        return letters[(letters.index(answer) + 1) % len(letters)]
    if question["kind"] == "text":
        return OPPOSITES.get(answer.lower(), answer + (" )" if set(answer) <= set("()[]{}<> ") else " zebra"))
    stripped = gold_answer(answer).strip().strip("$")
    try:
        return str(int(stripped.replace(",", "")) + 1)
    except ValueError:
        return "918273645"


@pytest.fixture(autouse=True)
def data(shared_data, monkeypatch):
    monkeypatch.setenv("GLOW_TRL_DATA", str(shared_data))


def test_the_list_of_copies_is_complete():
    """So that a benchmark which gains a local copy is tested here."""
    assert {name for name in benchmark_names() if get_benchmark(name).local is not None} == set(COPIES)


@pytest.mark.parametrize("name", COPIES)
def test_golds_verify_themselves_and_wrong_answers_do_not(name):
    benchmark = get_benchmark(name)
    questions = load_questions(benchmark)
    assert len(questions) == COPIES[name]
    report = check_gold(questions)
    assert report.ok, report.summary()
    verdicts = verify_batch(
        [phrase(wrong_answer(question), question["kind"]) for question in questions],
        [question["answer"] for question in questions],
        [question["kind"] for question in questions],
        choices=[question.get("choices") for question in questions],
    )
    accepted = [
        question for question, verdict in zip(questions, verdicts, strict=True) if verdict.correct is not False
    ]
    assert accepted == []


@pytest.mark.parametrize("name", COPIES)
def test_prompts_render_with_question_and_options(name):
    benchmark = get_benchmark(name)
    questions = load_questions(benchmark)
    for question in questions:
        (message,) = build_prompt(
            question["problem"], None, benchmark.default_prompt_template, question.get("choices")
        )
        assert question["problem"] in message["content"] and "\\boxed{}" in message["content"]
        assert "{problem}" not in message["content"]
        for choice in question.get("choices", []):
            assert f". {choice}\n" in message["content"]
    assert len({question["sample_id"] for question in questions}) == len(questions)


def test_mmlu_splits_into_mathematics_and_the_rest():
    everything = {question["sample_id"] for question in load_questions(get_benchmark("mmlu"))}
    parts = [
        {row["sample_id"] for row in load_questions(get_benchmark(f"mmlu_{part}"))} for part in ("math", "nonmath")
    ]
    assert parts[0] | parts[1] == everything and not parts[0] & parts[1]
    subjects = {question["subject"] for question in load_questions(get_benchmark("mmlu_math"))}
    assert subjects == {
        *("abstract_algebra", "college_mathematics", "elementary_mathematics"),
        *("high_school_mathematics", "high_school_statistics"),
    }
    chosen = load_questions(get_benchmark("mmlu", subjects={"include": ["virology", "mathematics"]}))
    assert len(chosen) == 300
