"""Two evaluations paired by question: what must be equal between them, which questions are the same, what differs."""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data import read_jsonl
from ..errors import UserError
from ..stages.files import read_json
from ..statistics.estimates import pass_at_k
from ..statistics.pairing import Difference, mean_difference, paired_difference, relative_change
from ..verifiers.verdict import NO_ANSWER


# What must be the same for a difference to be the models': seeds and numbers of samples may differ
_PROTOCOL = ("temperature", "top_p", "top_k", "min_p", "max_new_tokens", "stop")


@dataclass
class QuestionScore:
    """What an evaluation found on one question, summed over its samples.

    Args:
        index (`Hashable`): the question's number in the evaluation.
        sample_id (`str` or `None`): the benchmark's own name of it, which no limit and no left-out question changes.
        text (`tuple`): the problem and its sorted options: they may be shuffled.
        gold (`str`): the gold answer; of options the text of the right one.
    """

    index: Hashable
    sample_id: str | None
    text: tuple[str, tuple[str, ...]]
    gold: str
    samples: int = 0
    judged: int = 0
    correct: int = 0
    tokens: int = 0
    truncated: int = 0
    no_answer: int = 0

    def add(self, row: dict[str, Any]) -> None:
        """Count a generation row."""
        verdict = row.get("verdict") or {}
        self.samples += 1
        self.judged += verdict.get("correct") is not None
        self.correct += bool(verdict.get("correct"))
        self.tokens += row.get("n_tokens", 0)
        self.truncated += row.get("finish_reason") == "length"
        self.no_answer += verdict.get("reason") == NO_ANSWER


QuestionPair = tuple[QuestionScore, QuestionScore]


class Evaluation:
    """A finished evaluation: its folder, and what its generations say, each file read once.

    Args:
        folder (`Path`): the output folder.
        results (`dict`): its `results.json`.
    """

    def __init__(self, folder: Path, results: dict[str, Any]):
        self.folder = folder
        self.results = results
        self._questions: dict[str, list[QuestionScore]] = {}
        self._entropies: dict[str, dict[Hashable, tuple[float, int]]] = {}

    def summary(self, benchmark: str) -> dict[str, Any]:
        """What `results.json` says of a benchmark."""
        return (self.results.get("benchmarks") or {}).get(benchmark) or {}

    def questions(self, benchmark: str) -> list[QuestionScore]:
        """The questions of a benchmark. Raises `UserError` if their generations cannot be read."""
        if benchmark not in self._questions:
            questions: dict[Hashable, QuestionScore] = {}
            file = self.folder / f"generations_{benchmark}.jsonl"
            for line, row in read_jsonl(file):
                if not isinstance(row.get("problem"), str):
                    raise UserError(f"{file}, line {line}: no completion of an evaluation; evaluate again")
                options = tuple(row.get("choices") or ())
                text = (row["problem"], tuple(sorted(options)))
                index = row.get("index", text)
                if index not in questions:
                    gold = _gold_text(str(row.get("answer")), options)
                    questions[index] = QuestionScore(index, row.get("sample_id"), text, gold)
                questions[index].add(row)
            self._questions[benchmark] = list(questions.values())
        return self._questions[benchmark]

    def entropies(self, benchmark: str) -> dict[Hashable, tuple[float, int]]:
        """[`entropy_sums`] of a benchmark by the index of the question; empty if it was not measured."""
        if benchmark not in self._entropies:
            file = self.folder / f"entropy_{benchmark}.jsonl"
            self._entropies[benchmark] = entropy_sums(row for _, row in read_jsonl(file)) if file.is_file() else {}
        return self._entropies[benchmark]


def read_evaluation(folder: Path) -> Evaluation:
    """The evaluation in a folder. Raises `UserError` if none is there, or it is not finished."""
    results = read_json(folder / "results.json")
    benchmarks = None if results is None else results.get("benchmarks")
    if not isinstance(benchmarks, dict) or not benchmarks or not all(isinstance(x, dict) for x in benchmarks.values()):
        raise UserError(f"{folder}: no finished evaluation is there (results.json); give the output_dir of `eval`")
    return Evaluation(folder, results)


def pair_questions(benchmark: str, first: Evaluation, second: Evaluation) -> list[QuestionPair]:
    """The questions of a benchmark that both evaluations have.

    A question is the benchmark's own sample: its `sample_id`, or in files without that its `index`, as long as all
    that the evaluations share hold the same problems and options. Otherwise (the benchmark was read from other data,
    or questions were left out) it is the problem with its options, and among equal ones their order.

    Raises:
        UserError: the completions were drawn in different ways, the benchmark's versions differ, there is no common
            question, or one with different gold answers.
    """
    sides = (first, second)
    folders = [str(side.folder) for side in sides]
    check_protocol(benchmark, first, second)
    one, two = _by_identity(*(side.questions(benchmark) for side in sides))
    pairs = [(one[key], two[key]) for key in one if key in two]
    if not pairs:
        raise UserError(f"benchmark '{benchmark}': {folders[0]} and {folders[1]} have no question in common")
    for ours, theirs in pairs:
        if ours.gold != theirs.gold:
            raise UserError(
                f"benchmark '{benchmark}': the gold answer to {ours.text[0][:40]!r} is {ours.gold!r} in {folders[0]} "
                f"and {theirs.gold!r} in {folders[1]}; evaluate the older run again, which only judges it anew"
            )
    return pairs


def check_protocol(benchmark: str, first: Evaluation, second: Evaluation) -> None:
    """Raise a `UserError` if completions were drawn in different ways, or of different versions of the benchmark."""
    folders = [str(side.folder) for side in (first, second)]
    sampling = [side.results.get("sampling") or {} for side in (first, second)]
    for key in _PROTOCOL:
        if key in sampling[0] and key in sampling[1] and sampling[0][key] != sampling[1][key]:
            raise _incomparable(folders, key, [item[key] for item in sampling])
    versions = [side.summary(benchmark).get("version") for side in (first, second)]
    if None not in versions and versions[0] != versions[1]:
        raise _incomparable(folders, f"the version of benchmark '{benchmark}'", versions)


def _incomparable(folders: Sequence[str], what: str, values: Sequence[Any]) -> UserError:
    return UserError(
        f"{folders[0]} and {folders[1]} cannot be compared: {what} is {values[0]!r} in the one and {values[1]!r} in "
        "the other; evaluate both with the same"
    )


def _by_identity(*runs: list[QuestionScore]) -> list[dict[Hashable, QuestionScore]]:
    """The questions of both runs by what identifies them."""
    for identity in ("sample_id", "index"):
        one, two = ({getattr(question, identity): question for question in run} for run in runs)
        shared = one.keys() & two.keys() - {None}
        whole = None not in one and None not in two and [len(one), len(two)] == list(map(len, runs))
        if whole and shared and all(one[key].text == two[key].text for key in shared):
            return [one, two]
    keyed: list[dict[Hashable, QuestionScore]] = []
    for run in runs:
        found: dict[tuple, int] = {}
        keyed.append({})
        for question in run:
            found[question.text] = found.get(question.text, 0) + 1
            keyed[-1][question.text, found[question.text]] = question
    return keyed


def _gold_text(answer: str, options: tuple[str, ...]) -> str:
    from ..verifiers.kinds.choice import gold_letter

    letter = gold_letter(answer, options) if options else None
    number = -1 if letter is None else ord(letter) - ord("A")
    return options[number] if 0 <= number < len(options) else answer


def accuracy_difference(pairs: Sequence[QuestionPair], k: int = 1) -> Difference | None:
    """pass@k of the second evaluation against the first, over the questions of which both have judged `k` samples;
    `None` if there are none."""
    figures = accuracies(pairs, k)
    if figures is None:
        return None
    counts = {question.judged for pair in pairs for question in pair if question.judged}
    return paired_difference(*figures, bounds=(0, 1), grain=1 / math.lcm(*counts) if k == 1 else None)


def mean_accuracy_difference(benchmarks: Sequence[Sequence[QuestionPair]]) -> Difference | None:
    """The same for the mean pass@1 of several benchmarks, each counted the same; `None` unless all have any."""
    parts = [accuracies(pairs, 1) for pairs in benchmarks]
    return None if not parts or None in parts else mean_difference(parts, bounds=(0, 1))


def accuracies(pairs: Sequence[QuestionPair], k: int) -> tuple[np.ndarray, np.ndarray] | None:
    """pass@k of both evaluations for each question of which both have judged `k` samples; `None` without any."""
    kept = [pair for pair in pairs if min(question.judged for question in pair) >= k]
    if not kept:
        return None
    counts = np.array([[(question.judged, question.correct) for question in pair] for pair in kept])
    return tuple(pass_at_k(counts[:, side, 0], counts[:, side, 1], k) for side in (0, 1))


def mean_per_sample(pairs: Sequence[QuestionPair], name: str, bounds: tuple[float, float] | None) -> Difference:
    """Mean over a question's samples of one of its sums (`"tokens"`, `"truncated"`, `"no_answer"`), compared."""
    return paired_difference(*means_per_sample(pairs, name), bounds=bounds)


def means_per_sample(pairs: Sequence[QuestionPair], name: str) -> tuple[np.ndarray, np.ndarray]:
    """The same for each question, of both evaluations."""
    first, second = (np.array([getattr(pair[side], name) / pair[side].samples for pair in pairs]) for side in (0, 1))
    return first, second


def entropy_sums(rows: Iterable[dict[str, Any]]) -> dict[Hashable, tuple[float, int]]:
    """Sum of the entropies of each question's tokens and their number, by the question's index, from the rows of
    `entropy_*.jsonl`: `index`, `n_tokens`, and `entropy`, the mean over the tokens."""
    sums: dict[Hashable, tuple[float, int]] = {}
    for row in rows:
        total, tokens = sums.get(row["index"], (0.0, 0))
        sums[row["index"]] = (total + row["entropy"] * row["n_tokens"], tokens + row["n_tokens"])
    return sums


EntropyPair = tuple[tuple[float, int], tuple[float, int]]


def paired_entropies(
    benchmark: str, first: Evaluation, second: Evaluation, pairs: Iterable[QuestionPair]
) -> list[EntropyPair]:
    """The [`entropy_sums`] of the questions for which both evaluations measured it."""
    one, two = first.entropies(benchmark), second.entropies(benchmark)
    return [(one[a.index], two[b.index]) for a, b in pairs if a.index in one and b.index in two]


def entropy_change(pairs: Sequence[EntropyPair]) -> dict[str, Any] | None:
    """Entropies per token on the same questions.

    Returns:
        `dict`: `first`, `second`, `n` (questions), and where both are positive `relative_change` with its 95 % `ci`,
        `None` for one question. `None` without any question.
    """
    if not pairs:
        return None
    sides = [tuple(zip(*side, strict=True)) for side in zip(*pairs, strict=True)]
    means = [sum(totals) / sum(tokens) for totals, tokens in sides]
    entry: dict[str, Any] = {"first": means[0], "second": means[1], "n": len(pairs)}
    if min(means) > 0:
        change = relative_change(*sides)
        entry |= {"relative_change": change.mean, "ci": [change.low, change.high] if len(pairs) > 1 else None}
    return entry
