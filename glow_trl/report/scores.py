"""Stages and arms compared question by question, as `glow-trl compare` does it."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import UserError
from ..evaluation.paired import (
    EntropyPair,
    Evaluation,
    QuestionPair,
    accuracy_difference,
    check_protocol,
    mean_accuracy_difference,
    pair_questions,
    paired_entropies,
)
from ..statistics.pairing import Difference, holm
from .run_data import RunData


LEVELS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
Column = tuple[str, str]


def stars(p: float | None) -> str:
    """`*`, `**` or `***` by a p-value; empty for `None`."""
    return "" if p is None else next((mark for level, mark in LEVELS if p < level), "")


@dataclass
class Comparison:
    """Two stages on the same questions: accuracy of the second minus that of the first, its 95 % interval, the p-value
    of the paired test by question, and that after Holm's correction, once [`correct`] has set it."""

    difference: float
    low: float
    high: float
    p: float
    questions: int
    corrected: float | None = None

    @classmethod
    def of(cls, found: Difference | None) -> "Comparison | None":
        return None if found is None else cls(found.mean, found.low, found.high, found.p_value, found.n)

    @property
    def mark(self) -> str:
        """`*`, `**` or `***` by the corrected p-value."""
        return stars(self.corrected)


class ScoreBook:
    """The evaluations of a run paired by question; each file of generations is read once."""

    def __init__(self, data: RunData):
        self._evaluations = {
            (name, stage): Evaluation(its.evaluation_folder, its.results or {})
            for name, arm in data.arms.items()
            for stage, its in arm.stages.items()
        }
        self._pairs: dict[tuple[str, Column, Column], list[QuestionPair]] = {}
        self._compared: dict[tuple[str, Column, Column], Comparison | None] = {}

    def compare(self, benchmark: str, first: Column, second: Column) -> Comparison | None:
        """
        The second (arm, stage) against the first on the questions that both have; `None` where `glow-trl compare`
        would refuse, because completions were drawn in different ways for example.
        """
        key = (benchmark, first, second)
        if key not in self._compared:
            self._compared[key] = Comparison.of(accuracy_difference(self.pairs(*key)))
        return self._compared[key]

    def compare_mean(self, benchmarks: Iterable[str], first: Column, second: Column) -> Comparison | None:
        """The same for the mean over benchmarks, each counted the same; `None` unless all can be compared."""
        return Comparison.of(mean_accuracy_difference([self.pairs(name, first, second) for name in benchmarks]))

    def pairs(self, benchmark: str, first: Column, second: Column) -> list[QuestionPair]:
        """The questions that both have; none if the two cannot be compared, or one of them is not finished."""
        key = (benchmark, first, second)
        if key not in self._pairs:
            sides = [self._evaluations[first], self._evaluations[second]]
            self._pairs[key] = []
            if all(side.summary(benchmark) for side in sides):
                with contextlib.suppress(UserError):
                    self._pairs[key] = pair_questions(benchmark, *sides)
        return self._pairs[key]

    def comparable(self, benchmark: str, first: Column, second: Column) -> bool:
        """Whether the completions of both were drawn in the same way, of the same version of the benchmark."""
        try:
            check_protocol(benchmark, self._evaluations[first], self._evaluations[second])
        except UserError:
            return False
        return True

    def entropies(self, benchmark: str, first: Column, second: Column) -> list[EntropyPair]:
        """Sums of the entropies of the questions that both have, and the numbers of tokens."""
        pairs = self.pairs(benchmark, first, second)
        return paired_entropies(benchmark, self._evaluations[first], self._evaluations[second], pairs)

    def mean_entropy(self, benchmarks: Iterable[str], column: Column) -> float | None:
        """Entropy per token over all benchmarks; `None` where none was measured."""
        sums = [pair for name in benchmarks for pair in self._evaluations[column].entropies(name).values()]
        totals, tokens = (sum(part) for part in zip(*sums, strict=True)) if sums else (0, 0)
        return totals / tokens if tokens else None


def correct(comparisons: Iterable[Comparison | None]) -> int:
    """Correct the p-values of a family of tests for their number, in place; returns that number."""
    family = [item for item in comparisons if item is not None]
    for item, p in zip(family, holm([item.p for item in family]), strict=True):
        item.corrected = p
    return len(family)


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
                if (row := stage.summary(name)).get("group")
            ),
            None,
        )
        if group not in (None, "in", "out"):
            own.setdefault(group, []).append(name)
    return groups, {name: names for name, names in own.items() if len(names) > 1 and names not in groups.values()}
