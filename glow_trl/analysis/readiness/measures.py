"""Measures of starts for RL, from counts by question. Pure functions of arrays: nothing is read or sampled here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ...statistics.estimates import Estimate, clustered_error, grouped_ratio, pass_at_k, student_quantile
from ...statistics.informative import fitted_informative_chance, informative_chance


INFORMATIVE = "informative_groups"
COVERAGE = "coverage_ratio"
ENTROPY = "entropy"
BUDGET = "pass@budget"
LENGTH = "response_length"
LOSS = "loss"
# The base reaches a question if its pass@K lies between these
REACHED = (0.05, 0.95)
# Half of an interval, as a logarithm, that says nothing any more
_WIDEST = 20.0
QUESTIONS, TRAJECTORIES = "questions", "trajectories"


@dataclass(frozen=True)
class Start:
    """
    What is known of a checkpoint that RL may start from. The arrays have a value for each question, the same questions
    in the same order for all starts.

    Args:
        name (`str`): what it is called.
        judged (`np.ndarray`): samples of each question that could be judged.
        correct (`np.ndarray`): those of them that are right.
        samples (`np.ndarray`): all samples.
        tokens (`np.ndarray`): their tokens.
        truncated (`np.ndarray`): samples that were cut off.
        no_answer (`np.ndarray`): samples without an answer.
        entropies (`tuple[np.ndarray, np.ndarray]`, *optional*): of samples at temperature 1 the sum of the entropies
            of their tokens, and the number of these; 0 where none was measured.
        losses (`dict[str, tuple[np.ndarray, np.ndarray]]`, *optional*): by label of held-out trajectories the sum of
            their losses by question, and their numbers; the same trajectories for all starts.
        problems (`tuple[str, ...]`, *optional*): why it cannot be handed over to stage 2.
        unchecked (`tuple[str, ...]`, *optional*): what of the hand-over could not be checked.
    """

    name: str
    judged: np.ndarray
    correct: np.ndarray
    samples: np.ndarray
    tokens: np.ndarray
    truncated: np.ndarray
    no_answer: np.ndarray
    entropies: tuple[np.ndarray, np.ndarray] | None = None
    losses: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()

    def of(self, chosen: np.ndarray) -> "Start":
        """The same on some of the questions."""
        arrays = {name: getattr(self, name)[chosen] for name in _COUNTS}
        entropies = None if self.entropies is None else tuple(part[chosen] for part in self.entropies)
        return replace(self, **arrays, entropies=entropies)


_COUNTS = ("judged", "correct", "samples", "tokens", "truncated", "no_answer")


@dataclass
class Measure:
    """
    A measure of several starts: the ratio of two sums over units, which are questions or, of losses, the questions of
    the held-out trajectories.

    Args:
        name (`str`): its key in the results.
        title (`str`): what people call it.
        better (`str`, *optional*): whether `"higher"` or `"lower"` speaks for a start; `None` for neither.
        units (`str`): `"questions"` or `"trajectories"`.
        parts (`dict[str, tuple[np.ndarray, np.ndarray]]`): numerators and denominators by start, with 0 for both
            where a unit does not count; without the starts for which the measure is not known.
        bounds (`tuple[float, float]`, *optional*): its smallest and largest value.
        positive (`bool`, *optional*): whether it is a ratio of two positive figures without an upper bound.
    """

    name: str
    title: str
    better: Literal["higher", "lower"] | None
    units: str
    parts: dict[str, tuple[np.ndarray, np.ndarray]]
    bounds: tuple[float, float] | None = None
    positive: bool = False

    def estimate(self, start: str) -> Estimate | None:
        """The measure of a start with its 95 % interval over units; `None` where it is not known."""
        if start not in self.parts:
            return None
        sums, counts = self.parts[start]
        counted = counts != 0 if not self.positive else (counts != 0) | (sums != 0)
        sums, counts = sums[counted], counts[counted]
        if not counts.sum() > 0:
            return None
        return _positive_ratio(sums, counts) if self.positive else grouped_ratio(sums, counts, bounds=self.bounds)

    def resampled(self, start: str, weights: np.ndarray) -> np.ndarray:
        """The measure in resamplings: `weights` says how often each has each unit."""
        sums, counts = self.parts[start]
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ sums) / (weights @ counts)


def _positive_ratio(sums: np.ndarray, counts: np.ndarray) -> Estimate:
    """Ratio of two sums with the interval of its logarithm (delta method, Student's quantile)."""
    ratio, units = float(sums.sum() / counts.sum()), sums.size
    if units < 2 or ratio <= 0:
        return Estimate(ratio, 0.0, math.inf, 1)
    half = student_quantile(0.975, units - 1) * clustered_error((sums - ratio * counts) / sums.sum())
    if half > _WIDEST:
        return Estimate(ratio, 0.0, math.inf, 1)
    return Estimate(ratio, ratio / math.exp(half), ratio * math.exp(half), units)


def powers_of_two(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`."""
    return [2**power for power in range(max(1, most).bit_length())]


def measures_of(
    starts: Sequence[Start],
    base: Start | None = None,
    group_size: int = 8,
    budget: float | None = None,
    coverage_k: int | None = None,
) -> tuple[list[Measure], dict[str, Any]]:
    """
    All measures of some starts. Each stands on the questions that count for all of them, so that starts differ by
    nothing else.

    Args:
        starts (`Sequence[Start]`): the starts.
        base (`Start`, *optional*): the base model on the same questions, for the coverage ratio.
        group_size (`int`, *optional*, defaults to 8): samples of a group in stage 2.
        budget (`float`, *optional*): mean number of tokens that may be sampled for a question; by default what the
            start that has drawn the fewest has.
        coverage_k (`int`, *optional*): the K of the coverage ratio; by default the largest k of pass@k.

    Returns:
        `tuple[list[Measure], dict]`: the measures, and how they were made: `k_values`, `budget` with the `attempts`
        that each start has for it, `informative_by` (`"groups"`, `"beta"` or `None`), `coverage_k` and
        `reached_by_base`.
    """
    least = np.min([start.judged for start in starts], axis=0)
    most = int(np.median(least)) if least.size else 0
    ks = powers_of_two(most) if most else []
    measures: list[Measure] = []
    for k in ks:
        counted = least >= k
        parts = {start.name: _masked(counted, _pass(start, k, counted)) for start in starts}
        measures.append(Measure(f"pass@{k}", f"pass@{k}", "higher", QUESTIONS, parts, (0, 1)))
    parts, spent = _at_budget(starts, least, budget)
    if parts:
        measures.append(Measure(BUDGET, "pass at the budget", "higher", QUESTIONS, parts, (0, 1)))
    parts, method = _informative(starts, least, group_size)
    if parts:
        title = f"informative groups of {group_size}"
        measures.append(Measure(INFORMATIVE, title, "higher", QUESTIONS, parts, (0, 1)))
    facts: dict[str, Any] = {"k_values": ks, **spent, "informative_by": method}
    if base is not None:
        k = coverage_k or (ks[-1] if ks else 1)
        parts, reached = _coverage(starts, base, least, k)
        facts |= {"coverage_k": k, "reached_by_base": reached}
        measures.append(Measure(COVERAGE, "coverage lost / gained", "lower", QUESTIONS, parts, positive=True))
    known = [start for start in starts if start.entropies is not None]
    if known:
        counted = np.min([start.entropies[1] for start in known], axis=0) > 0
        parts = {start.name: _masked(counted, *(part[counted] for part in start.entropies)) for start in known}
        measures.append(Measure(ENTROPY, "entropy", "higher", QUESTIONS, parts))
    for label in dict.fromkeys(label for start in starts for label in start.losses):
        parts = {start.name: start.losses[label] for start in starts if label in start.losses}
        # A low loss on wrong trajectories is neither good nor bad
        better = None if label == "negative" else "lower"
        title = "loss" if label == "all" else f"loss on {label}s"
        measures.append(Measure(f"{LOSS}_{label}", title, better, TRAJECTORIES, parts))
    for name, title in (("truncated", "cut off"), ("no_answer", "no answer")):
        parts = {start.name: (getattr(start, name), start.samples) for start in starts}
        measures.append(Measure(name, title, "lower", QUESTIONS, parts, (0, 1)))
    parts = {start.name: (start.tokens, start.samples) for start in starts}
    measures.append(Measure(LENGTH, "tokens", None, QUESTIONS, parts))
    return measures, facts


def _masked(counted: np.ndarray, sums: np.ndarray, counts: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Values of the questions that count, at their places among all."""
    whole = np.zeros(counted.size), np.zeros(counted.size)
    whole[0][counted], whole[1][counted] = sums, 1.0 if counts is None else counts
    return whole


def _pass(start: Start, k: int, counted: np.ndarray) -> np.ndarray:
    return pass_at_k(start.judged[counted], start.correct[counted], k) if k else np.zeros(int(counted.sum()))


def _at_budget(
    starts: Sequence[Start], least: np.ndarray, budget: float | None
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], dict[str, Any]]:
    """
    The chance to answer a question with as many attempts as the budget of tokens allows on average: between two whole
    numbers of attempts, that between their chances.
    """
    counted = least > 0
    if not counted.any():
        return {}, {}
    drawn = int(least[counted].min())
    lengths = [max(float(start.tokens.sum() / start.samples.sum()), 1e-9) for start in starts]
    affordable = min(lengths) * drawn
    budget = affordable if budget is None else budget
    # With more than were drawn nothing is known
    attempts = [min(budget / length, drawn) for length in lengths]
    parts = {}
    for start, number in zip(starts, attempts, strict=True):
        # A whole number may come out a hair below itself
        whole = math.floor(number + 1e-9)
        part = max(0.0, number - whole)
        values = _pass(start, whole, counted)
        if part:
            values = (1 - part) * values + part * _pass(start, whole + 1, counted)
        parts[start.name] = _masked(counted, values)
    names = [start.name for start in starts]
    return parts, {"budget": budget, "attempts": dict(zip(names, attempts, strict=True))}


def _informative(
    starts: Sequence[Start], least: np.ndarray, group_size: int
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], str | None]:
    """Without bias where at least half of the questions have a whole group; with fewer samples by a fitted beta."""
    whole = least >= group_size
    method = "groups" if 2 * whole.sum() >= least.size and whole.any() else "beta"
    counted = whole if method == "groups" else least >= 2
    if not counted.any():
        return {}, None
    chance = informative_chance if method == "groups" else fitted_informative_chance
    return {
        start.name: _masked(counted, chance(start.judged[counted], start.correct[counted], group_size))
        for start in starts
    }, method


def _coverage(
    starts: Sequence[Start], base: Start, least: np.ndarray, k: int
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], int]:
    """
    Of the questions that the base reaches now and then, what each start lost of f_K(p) = 1 - (1 - p)^K, and what it
    gained, and how many they are. The rates `p` are those found: an unbiased pass@K is 0 or 1 where K is all samples.
    """
    counted = np.minimum(least, base.judged) > 0
    reach = _reach(base, k, counted)
    reached = counted & (reach > REACHED[0]) & (reach < REACHED[1])
    parts = {}
    for start in starts:
        change = (_reach(start, k, counted) - reach)[reached]
        parts[start.name] = _masked(reached, np.maximum(-change, 0), np.maximum(change, 0))
    return parts, int(reached.sum())


def _reach(start: Start, k: int, counted: np.ndarray) -> np.ndarray:
    rates = np.zeros(counted.size)
    rates[counted] = start.correct[counted] / start.judged[counted]
    return 1 - (1 - rates) ** k
