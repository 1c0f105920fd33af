"""Benchmark questions are found wherever a copy of them stands, and other questions are left alone."""

import json
import random

import pytest

from glow_trl.benchmarks import get_benchmark, load_questions
from glow_trl.collection.mixing.decontamination import BenchmarkQuestion, ContaminationIndex
from glow_trl.collection.mixing.text import HashSet, tokens, window_hashes


LOCAL = [
    *("gsm8k", "math500", "mmlu", "mmlu_pro", "headqa", "bbh", "olympiadbench", "svamp"),
    *("acpbench_bool", "acpbench_mcq"),
]


def question(problem, choices=(), benchmark="test", index=0):
    return BenchmarkQuestion(benchmark, index, problem, tuple(choices))


def found(index, problem, choices=None):
    (hits,) = index.find([(problem, choices)])
    return {(hit.question.benchmark, hit.question.index) for hit in hits}


def disguise(text, rng):
    """The same text in another case and with other spacing; numbers are left alone."""
    text = rng.choice([str.upper, str.lower, str.title, str.swapcase, str])(text)
    return rng.choice(
        [
            lambda text: text.replace(" ", "  "),
            lambda text: text.replace(" ", "\n\t"),
            lambda text: text.replace(" ", "\N{NO-BREAK SPACE}"),
            lambda text: f"\n {text}  ",
            lambda text: " ".join(text.split()),
        ]
    )(text)


@pytest.fixture(scope="module")
def real(shared_data):
    """The questions of every benchmark with a local copy, the index of them, and the files' own rows."""
    questions, raw = [], {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOW_TRL_DATA", str(shared_data))
        for name in LOCAL:
            benchmark = get_benchmark(name)
            file = shared_data / benchmark.local_copy[0]
            raw[name] = [json.loads(line) for line in file.open(encoding="utf-8")]
            rows = load_questions(benchmark)
            assert len(rows) == len(raw[name])
            questions += [question(row["problem"], row.get("choices") or (), name, i) for i, row in enumerate(rows)]
    return questions, ContaminationIndex(questions), raw


@pytest.mark.parametrize("name", LOCAL)
def test_every_planted_copy_of_a_real_question_is_found(real, name):
    """Recall over 300 questions of each benchmark, planted as they stand in the file: the question alone, with its
    options listed under it, and with its options as a column."""
    _, index, raw = real
    rng = random.Random(name)
    rows = rng.sample(raw[name], min(300, len(raw[name])))
    plants = []
    for row in rows:
        text, choices = row.get("problem") or row["question"], row.get("choices")
        plants.append((disguise(text, rng), None))
        if choices:
            listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCDEFGHIJ", choices, strict=False))
            plants.append((disguise(f"{text}\n{listed}", rng), None))
            plants.append((disguise(text, rng), [disguise(str(choice), rng) for choice in choices]))
    missed = [
        plant
        for plant, hits in zip(plants, index.find(plants), strict=True)
        if name not in {hit.question.benchmark for hit in hits}
    ]
    assert not missed


def test_a_copy_inside_of_a_longer_prompt_is_found(real):
    questions, index, _ = real
    rng = random.Random(0)
    long = [each for each in questions if not each.choices and len("".join(tokens(each.problem))) >= 30]
    plants = [
        (each, f"Solve this problem. {disguise(each.problem, rng)}\nThink first!") for each in rng.sample(long, 300)
    ]
    for (each, _), hits in zip(plants, index.find([(text, None) for _, text in plants]), strict=True):
        assert each.benchmark in {hit.question.benchmark for hit in hits}


def test_clean_training_sets_lose_under_a_thousandth(real, shared_data):
    """GSM8K's training set against every benchmark. MATH's, against those that were not made from it: MMLU and
    MMLU-Pro have taken questions of it over word by word, which an independent comparison confirms here."""
    questions, index, _ = real
    for name in ("qa_gsm8k_train.jsonl", "qa_math_train.jsonl"):
        problems = [json.loads(line)["problem"] for line in (shared_data / name).open(encoding="utf-8")]
        copied = {"".join(each.problem.split()) for each in questions}
        hits = index.find([(problem, None) for problem in problems])
        clean = [
            found for problem, found in zip(problems, hits, strict=True) if "".join(problem.split()) not in copied
        ]
        assert len(clean) > 0.99 * len(problems)
        assert sum(map(bool, clean)) < 0.001 * len(clean)
        if "gsm8k" in name:
            assert not any(hits)


def test_benchmarks_of_other_subjects_do_not_hit_each_other(real):
    """Short multiple-choice stems ("Which of the following is true?") are everywhere, and make no hit."""
    questions, index, _ = real
    texts = [(each.problem, each.choices) for each in questions if each.benchmark == "headqa"]
    hits = index.find(texts)
    assert not any(hit.question.benchmark != "headqa" for each in hits for hit in each)


LONG = (
    "A baker sells 120 loaves on Monday, twice as many on Tuesday, and gives the 15 that are left over to the shelter "
    "around the corner. How many loaves did the baker bake for both days together?"
)


def test_the_same_template_with_other_numbers_is_another_problem():
    index = ContaminationIndex([question(LONG)])
    assert found(index, LONG.upper()) == {("test", 0)}
    assert found(index, LONG.replace("15", "16")) == set()
    assert found(index, LONG.replace("120", "130")) == set()
    template = "How many prime numbers are there between {} and {} when both ends of the interval are counted?"
    index = ContaminationIndex([question(template.format(10, 50))])
    assert found(index, template.format(10, 60)) == set()
    assert found(index, template.format(10, 50).replace(" ", "   ")) == {("test", 0)}


def test_a_question_with_one_word_changed_is_found_by_its_ngrams():
    index = ContaminationIndex([question(LONG)])
    ((hit,),) = index.find([(LONG.replace("bake for", "make for"), None)])
    assert hit.match == "ngrams" and 0.5 < hit.overlap < 1 and hit.ngram.startswith("a baker sells 120 loaves")
    strict = ContaminationIndex([question(LONG)], min_overlap=1.0)
    assert found(strict, LONG.replace("bake for", "make for")) == set()


def test_signs_and_numbers_tell_short_questions_apart():
    index = ContaminationIndex([question("What is 3 + 5?"), question("f(1, 2) = ?", index=1)])
    assert found(index, "what  is 3+5") == {("test", 0)}
    assert not found(index, "What is 3 - 5?") and not found(index, "What is 3 + 56?") and not found(index, "f(12) = ?")


def test_a_stem_that_says_nothing_needs_its_options():
    stem, options = "Which of the following statements is true?", ["Iron floats", "Lead is heavy", "Gold rusts"]
    index = ContaminationIndex([question(stem, options)])
    assert found(index, stem, options) == {("test", 0)}
    assert found(index, stem, list(reversed([option.upper() for option in options]))) == {("test", 0)}
    assert found(index, f"{stem}\nA. Iron floats\nB) Lead is heavy\n(C) gold rusts") == {("test", 0)}
    assert found(index, stem, ["Two is even", "Two is odd", "Two is prime"]) == set()
    assert found(index, f"{stem} A. Two is even B. Two is odd") == set()


def test_questions_of_one_stem_are_told_apart_by_their_options():
    stem = "Statement 1: every group of prime order is cyclic. Statement 2: every cyclic group is of prime order. So?"
    index = ContaminationIndex([question(stem, ["True, False", "False, True"]), question(stem, ["x", "y"], index=1)])
    assert found(index, stem, ["x", "y"]) == {("test", 1)}
    assert found(index, stem, ["p", "q"]) == set()


def test_what_the_questions_of_a_benchmark_share_is_no_hit():
    """A preamble of 60 words in front of every question, as in planning benchmarks."""
    preamble = "This is a domain in which a ferry carries cars between places. " * 5
    ends = ["Can car one reach the northern harbor before noon today?", "Is the ferry empty after the second trip?"]
    index = ContaminationIndex([question(preamble + end, index=i) for i, end in enumerate(ends)])
    assert found(index, preamble + "How many cars are there in the southern harbor at the end of it all?") == set()
    assert found(index, (preamble + ends[1]).swapcase()) == {("test", 1)}


def test_letters_that_change_with_case_are_still_found():
    text = "Wie groß ist die Länge der Strecke \N{MICRO SIGN}, wenn Osmanlıspor \N{MINUS SIGN}4 Straßen weit weg ist?"
    index = ContaminationIndex([question(text)])
    assert found(index, text.upper()) == {("test", 0)}
    assert found(index, text.replace("Länge", "La\N{COMBINING DIAERESIS}nge").replace(" ", "\N{ZERO WIDTH SPACE} "))


def test_texts_without_a_word_and_empty_benchmarks():
    index = ContaminationIndex([question("???"), question("   ")])
    assert len(index) == 0 and index.find([("???", None), ("", [])]) == [[], []]
    assert ContaminationIndex([]).find([(LONG, None)]) == [[]]


def test_window_hashes_are_those_of_horner_and_sets_find_their_members():
    import numpy as np

    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**63, 50, dtype=np.uint64)
    for width in (1, 2, 3, 7, 13, 20, 50):
        expected = []
        for start in range(len(values) - width + 1):
            state = 0
            for value in values[start : start + width]:
                state = (state * 0x9E3779B97F4A7C15 + int(value) + 1) % 2**64
            expected.append(state)
        assert window_hashes(values, width).tolist() == expected
    assert len(window_hashes(values, 51)) == 0
    members = HashSet(values[::2].tolist())
    assert members.positions(values).tolist() == list(range(0, 50, 2))
