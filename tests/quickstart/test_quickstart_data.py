"""The quickstart's files: determinism, right answers, no leaks, and a teacher that errs as it is said to."""

import os
import random
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from glow_trl.data.jsonl import read_jsonl
from glow_trl.errors import UserError
from glow_trl.quickstart import VOCABULARY, QuickstartConfig, write_data
from glow_trl.quickstart.task import QuestionFamily
from glow_trl.quickstart.teacher import PATTERNS
from helpers.independent import evaluate, parse, read_solution, step_is_valid, steps_needed


SMALL = QuickstartConfig(train_questions=50, rl_questions=40, test_questions=20)


def load(folder: Path) -> dict[str, list[dict]]:
    return {path.name: [row for _, row in read_jsonl(path)] for path in sorted(folder.glob("*.jsonl"))}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, list[dict]]:
    folder = tmp_path_factory.mktemp("quickstart")
    counts = write_data(QuickstartConfig(), folder)
    files = load(folder)
    assert counts == {name: len(rows) for name, rows in files.items()}
    return files


def is_right(row: dict) -> bool:
    return read_solution(row["completion"])[1] == int(row["answer"])


def error_rate(rows: list[dict]) -> float:
    return 1 - sum(map(is_right, rows)) / len(rows)


def test_files_and_sizes(files):
    """The recipe names these files."""
    config = QuickstartConfig()
    out_of_domain = [name for name in files if name.startswith("test_") and name != "test_in_domain.jsonl"]
    assert len(out_of_domain) >= 4
    assert all(len(files[name]) == config.test_questions for name in ["test_in_domain.jsonl", *out_of_domain])
    assert len(files["questions.jsonl"]) == config.rl_questions
    assert len(files["trajectories.jsonl"]) == config.train_questions * config.samples_per_question
    for row in files["trajectories.jsonl"]:
        assert row.keys() == {"problem", "completion", "answer", "kind", "model", "source", "pattern", "patterns"}
        assert row["pattern"] == (row["patterns"][0] if row["patterns"] else None)


def test_same_seed_same_bytes_in_another_process(tmp_path):
    """Python's hash seed, which differs between processes, must not reach the data."""
    script = (
        "import sys; from glow_trl.quickstart import QuickstartConfig, write_data\n"
        "write_data(QuickstartConfig(train_questions=50, rl_questions=40, test_questions=20), sys.argv[1])"
    )
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", script, str(tmp_path / hash_seed)], check=True, env=environment)
    write_data(SMALL, tmp_path / "here")
    write_data(replace(SMALL, seed=1), tmp_path / "other")
    for path in (tmp_path / "here").iterdir():
        assert path.read_bytes() == (tmp_path / "1" / path.name).read_bytes()
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes()
        assert path.read_bytes() != (tmp_path / "other" / path.name).read_bytes()


def test_more_training_data_leaves_the_test_sets_alone(tmp_path):
    """Runs that differ in the amount of data are compared on the same questions."""
    write_data(SMALL, tmp_path / "few")
    write_data(replace(SMALL, train_questions=200, rl_questions=200), tmp_path / "many")
    for path in (tmp_path / "few").glob("test_*.jsonl"):
        assert path.read_bytes() == (tmp_path / "many" / path.name).read_bytes()


def test_answers_agree_with_an_independent_evaluator(files):
    """A wrong gold answer would teach wrong arithmetic."""
    for rows in files.values():
        for row in rows:
            assert evaluate(row["problem"]) == int(row["answer"]), row


def test_no_question_is_in_two_files(files):
    """Test questions must not be trained on, in either stage."""
    problems = {name: {row["problem"] for row in rows} for name, rows in files.items()}
    assert sum(map(len, problems.values())) == len(set().union(*problems.values()))
    assert all(len(problems[name]) == len(files[name]) for name in problems if name != "trajectories.jsonl")


def test_test_sets_are_out_of_domain_in_what_their_name_says(files):
    """An out-of-domain set must not hold questions that training has too."""

    def features(row: dict) -> dict:
        problem = row["problem"]
        lines = problem.split("; ")[:-1]
        definitions, _ = parse(problem)
        operators = [definitions[letter][0] for letter in sorted(definitions)][1:]
        needed = steps_needed(problem)
        return {
            "longer_chains": needed > QuickstartConfig().max_steps,
            "all_words": needed > 1 and len(re.findall(r" (plus|minus|times) ", problem)) == len(lines) - 1,
            "product_runs": "**" in "".join(operators[:needed]),
            "more_distractors": len(operators) - needed > QuickstartConfig().max_distractors,
            "swapped_lines": [line[0] for line in lines] != sorted(line[0] for line in lines),
        }

    for name in ("trajectories.jsonl", "questions.jsonl", "test_in_domain.jsonl"):
        assert not any(any(features(row).values()) for row in files[name])
    for name in files:
        if name.startswith("test_") and name != "test_in_domain.jsonl":
            share = sum(features(row)[name[len("test_") : -len(".jsonl")]] for row in files[name]) / len(files[name])
            assert share == 1, name


def test_error_rate_grows_with_difficulty(files):
    """Keeping positives only must throw away the hard end of the data."""
    rows = files["trajectories.jsonl"]
    by_steps, by_words = defaultdict(list), defaultdict(list)
    for row in rows:
        by_steps[steps_needed(row["problem"])].append(row)
        by_words[" " in row["problem"].replace("; ", ";")].append(row)
    rates = [error_rate(by_steps[steps]) for steps in sorted(by_steps)]
    assert len(rates) == QuickstartConfig().max_steps
    assert all(harder > easier + 0.08 for easier, harder in zip(rates, rates[1:], strict=False)), rates
    assert rates[0] < 0.25 and rates[-1] > 0.6
    assert error_rate(by_words[True]) > error_rate(by_words[False]) + 0.08
    assert 0.35 < error_rate(rows) < 0.65


def test_many_questions_have_both_outcomes(files):
    """Stage 1 sees right and wrong solutions of the same question."""
    outcomes = defaultdict(set)
    for row in files["trajectories.jsonl"]:
        outcomes[row["problem"]].add(is_right(row))
    assert sum(len(seen) == 2 for seen in outcomes.values()) > 0.25 * len(outcomes)


def test_negatives_are_mostly_valid_step_by_step(files):
    """After a mistake the teacher goes on consistently, as models do; and without one every step is valid."""
    valid = total = 0
    for row in files["trajectories.jsonl"]:
        steps, final = read_solution(row["completion"])
        assert final == steps[-1][4]
        checks = [step_is_valid(row["problem"], steps, index) for index in range(len(steps))]
        if row["pattern"] is None:
            assert all(checks) and is_right(row)
        elif not is_right(row):
            assert sum(not check for check in checks) <= QuickstartConfig().max_mistakes
            valid += sum(checks)
            total += len(checks)
    assert valid / total > 0.55


def test_a_planted_mistake_can_be_harmless(files):
    """Why labels come from verification and not from the pattern."""
    planted = [row for row in files["trajectories.jsonl"] if row["pattern"] is not None]
    assert {row["pattern"] for row in planted} == set(PATTERNS)
    assert 0.03 < sum(map(is_right, planted)) / len(planted) < 0.25


def test_mistakes_are_habits_and_not_noise(files):
    """Slips without a pattern are a small share of the mistakes."""
    patterns = [row["pattern"] for row in files["trajectories.jsonl"] if row["pattern"] is not None]
    assert patterns.count("random_slip") / len(patterns) < 0.1


def test_vocabulary_spells_every_text(files):
    """A word-level tokenizer over VOCABULARY must not meet an unknown piece."""
    pieces = re.compile("|".join(re.escape(piece) for piece in sorted(VOCABULARY, key=len, reverse=True)))
    for rows in files.values():
        for row in rows:
            for text in (row["problem"], row.get("completion", "")):
                assert pieces.sub("", text) == ""


@pytest.mark.parametrize(
    "change",
    [
        {"train_questions": 0},
        {"worded_share": 1.5},
        {"habit_rate": -0.1},
        {"max_steps": 1},
        {"max_distractors": -1},
        # More links than there are letters
        {"max_distractors": 8},
        {"max_steps": 10},
    ],
)
def test_values_out_of_range_are_refused_by_name(change, tmp_path):
    """A typo in the recipe must name the key, not end in a traceback."""
    with pytest.raises(UserError, match=next(iter(change))):
        write_data(replace(SMALL, **change), tmp_path)


def test_a_family_that_is_too_small_says_so():
    """Drawing distinct questions must end, not loop for good."""
    family = QuestionFamily(1, 1, 0, 0)
    with pytest.raises(UserError, match="different questions"):
        list(family.distinct(random.Random(0), 5000, set()))
