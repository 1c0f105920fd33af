"""What each stage scored on each question, for comparisons that are paired by question."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..statistics.estimates import Estimate
from ..statistics.pairing import combined, holm, paired_difference, sign_flip_test
from .run_data import STAGES, ArmData, RunData, StageData, rows_of


# What must be the same for a difference to be the models'; seeds and numbers of samples may differ
_PROTOCOL = ("temperature", "top_p", "top_k", "min_p", "max_new_tokens", "stop")
LEVELS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
Scores = dict[tuple[str, str], tuple[float, int]]


@dataclass
class Comparison:
    """Two stages on the same questions.

    Args:
        difference (`float`): accuracy of the second minus that of the first.
        low (`float` or `None`), high (`float` or `None`): 95 % interval.
        p (`float` or `None`): of the paired test by question.
        questions (`int`): questions that both have answered.
        corrected (`float` or `None`): `p` after Holm's correction, once [`correct`] has set it.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    questions: int
    corrected: float | None = None

    @property
    def mark(self) -> str:
        """`*`, `**` or `***` by the corrected p-value."""
        if self.corrected is None:
            return ""
        return next((mark for level, mark in LEVELS if self.corrected < level), "")


class ScoreBook:
    """Accuracy of each question, read from the generations of a run's evaluations, each file once."""

    def __init__(self, data: RunData):
        self.data = data
        self._scores: dict[tuple[str, str, str], Scores] = {}

    def scores(self, arm: str, stage: str, benchmark: str) -> Scores:
        """By question (its text and gold answer) the accuracy over its samples, and their number."""
        key = (arm, stage, benchmark)
        if key not in self._scores:
            stages = self.data.arms[arm].stages
            self._scores[key] = _read_scores(stages[stage], benchmark) if stage in stages else {}
        return self._scores[key]

    def compare(self, benchmark: str, first: tuple[str, str], second: tuple[str, str]) -> Comparison | None:
        """
        The second (arm, stage) against the first on the questions that both have; `None` if there are none, or if
        their completions were drawn in different ways.
        """
        pairs = self._pairs(benchmark, first, second)
        if not pairs:
            return None
        before, after = np.array([pair[:2] for pair in pairs]).T
        result = paired_difference(before, after, bounds=(0, 1), grain=_grain(pairs))
        known = len(pairs) > 1
        low, high = (result.low, result.high) if known else (None, None)
        return Comparison(result.mean, low, high, result.p_value if known else None, len(pairs))

    def compare_mean(
        self, benchmarks: Iterable[str], first: tuple[str, str], second: tuple[str, str]
    ) -> Comparison | None:
        """
        The same for the mean over benchmarks, each counted the same; `None` unless all can be compared. The test flips
        the signs of all questions' differences, each with the weight that it has in the mean.
        """
        parts = [self._pairs(name, first, second) for name in benchmarks]
        if not parts or not all(len(pairs) > 1 for pairs in parts):
            return None
        estimates, weighted = [], []
        for pairs in parts:
            before, after = np.array([pair[:2] for pair in pairs]).T
            found = paired_difference(before, after, bounds=(0, 1))
            estimates.append(Estimate(found.mean, found.low, found.high, len(pairs)))
            weighted.append((after - before) / (len(pairs) * len(parts)))
        mean = combined(estimates)
        p = sign_flip_test(np.concatenate(weighted))
        return Comparison(mean.mean, mean.low, mean.high, p, sum(map(len, parts)))

    def _pairs(
        self, benchmark: str, first: tuple[str, str], second: tuple[str, str]
    ) -> list[tuple[float, float, int, int]]:
        protocols = [self._protocol(*side) for side in (first, second)]
        if any(protocols[0][key] != protocols[1][key] for key in protocols[0].keys() & protocols[1].keys()):
            return []
        one, two = self.scores(*first, benchmark), self.scores(*second, benchmark)
        return [(one[key][0], two[key][0], one[key][1], two[key][1]) for key in one if key in two]

    def _protocol(self, arm: str, stage: str) -> dict[str, Any]:
        its = self.data.arms[arm].stages.get(stage)
        sampling = ((its.results if its else None) or {}).get("sampling") or {}
        return {key: value for key, value in sampling.items() if key in _PROTOCOL}


def correct(comparisons: Iterable[Comparison | None]) -> int:
    """Correct the p-values of a family of tests for their number, in place; returns that number."""
    family = [item for item in comparisons if item is not None and item.p is not None]
    for item, p in zip(family, holm([item.p for item in family]), strict=True):
        item.corrected = p
    return len(family)


def domain_means(arm: ArmData, stage: str, groups: dict[str, list[str]]) -> dict[str, Estimate]:
    """Mean accuracy over the benchmarks of each group, with an interval; groups that are not complete are left out."""
    rows = ((arm.stages[stage].results if stage in arm.stages else None) or {}).get("benchmarks", {})
    means = {}
    for group, names in groups.items():
        found = [_estimate(rows[name]) for name in names if "pass@1" in rows.get(name, {})]
        if found and len(found) == len(names):
            means[group] = combined(found)
    return means


def domain_groups(data: RunData) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The benchmarks in and out of domain; and by the recipe's own groups of several, where it has any."""
    labels = {"in": "In-domain", "out": "Out-of-domain"}
    groups: dict[str, list[str]] = {}
    own: dict[str, list[str]] = {}
    for name, domain in data.benchmarks.items():
        groups.setdefault(labels.get(domain, domain), []).append(name)
        group = next(
            (
                row["group"]
                for arm in data.arms.values()
                for stage in arm.stages.values()
                if (row := (stage.results or {}).get("benchmarks", {}).get(name)) and row.get("group")
            ),
            None,
        )
        if group not in (None, "in", "out"):
            own.setdefault(group, []).append(name)
    return groups, {name: names for name, names in own.items() if len(names) > 1 and names not in groups.values()}


def stage_change(book: ScoreBook, arm: str, benchmark: str) -> Comparison | None:
    """GRPO against SFT, the same arm."""
    return book.compare(benchmark, (arm, STAGES[0]), (arm, STAGES[1]))


def _estimate(row: dict[str, Any]) -> Estimate:
    low, high = row.get("pass@1_ci") or (row["pass@1"], row["pass@1"])
    return Estimate(row["pass@1"], low, high, int(row.get("n") or 1))


def _grain(pairs: list[tuple[float, float, int, int]]) -> float | None:
    samples = {count for pair in pairs for count in pair[2:]}
    return 1 / samples.pop() if len(samples) == 1 else None


def _read_scores(stage: StageData, benchmark: str) -> Scores:
    counts: dict[tuple[str, str], list[int]] = {}
    for row in rows_of(stage.evaluation_folder / f"generations_{benchmark}.jsonl"):
        correct = (row.get("verdict") or {}).get("correct")
        if correct is not None and "problem" in row:
            tally = counts.setdefault((row["problem"], str(row.get("answer"))), [0, 0])
            tally[0] += bool(correct)
            tally[1] += 1
    return {key: (right / total, total) for key, (right, total) in counts.items()}
