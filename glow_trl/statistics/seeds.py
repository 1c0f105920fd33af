"""Means over seeds and questions, both of them random: intervals, paired comparisons, and what becomes of a claim."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .estimates import student_quantile


# Values of a figure and the weights of the questions, each an array of seeds x questions. NaN is what a seed lacks
Part = tuple[np.ndarray, np.ndarray]
Verdict = Literal["held", "did not hold", "undecided"]

_NOTHING = 1e-18
# Of p values, which are found by halving
_SMALLEST = 1e-12
_HALVINGS = 60


@dataclass(frozen=True)
class SeedMean:
    """
    A mean over seeds of means over questions, and how it varies when other seeds and other questions are drawn.

    Its variance has two parts: that of the seeds' means over the number of seeds, and the covariance which two seeds
    have because they share questions. Quantiles are Student's for either, weighted by the parts (Cochran and Cox
    1950). A mean with `bounds` has Wilson's score interval for the number of observations that explains the variance.

    Args:
        mean (`float`): the mean.
        seeds (`int`): number of seeds. Of one nothing is known about others.
        questions (`int`): number of different questions.
        seed_variance (`float`): variance due to seeds, and to what is drawn anew with each.
        question_variance (`float`): variance due to the questions that seeds share; with one seed, to questions.
        question_degrees (`int`): degrees of freedom of the latter.
        bounds (`tuple[float, float]`, *optional*): smallest and largest possible mean.
        least_error (`float`, *optional*): standard error where no variance was seen.
    """

    mean: float
    seeds: int
    questions: int
    seed_variance: float
    question_variance: float
    question_degrees: int
    bounds: tuple[float, float] | None = None
    least_error: float = 0.0

    @property
    def variance(self) -> float:
        return max(self.seed_variance + self.question_variance, self.least_error**2)

    def quantile(self, level: float) -> float:
        """By how many standard errors an interval at this level reaches to either side."""
        parts = [(self.seed_variance, self.seeds - 1), (self.question_variance, self.question_degrees)]
        parts = [(variance, degrees) for variance, degrees in parts if degrees > 0]
        if not parts:
            return math.inf
        total = sum(variance for variance, _ in parts)
        if total <= _NOTHING:
            return student_quantile(0.5 + level / 2, max(degrees for _, degrees in parts))
        return sum(variance * student_quantile(0.5 + level / 2, degrees) for variance, degrees in parts) / total

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The confidence interval of the mean; infinite, or the bounds, where nothing is known of its variance."""
        quantile = self.quantile(level)
        if self.bounds is None:
            half = quantile * math.sqrt(self.variance) if math.isfinite(quantile) else math.inf
            return self.mean - half, self.mean + half
        low, high = self.bounds
        if not math.isfinite(quantile):
            return float(low), float(high)
        share = min(1.0, max(0.0, (self.mean - low) / (high - low)))
        spread, variance = share * (1 - share), self.variance / (high - low) ** 2
        # Where no question differs from another, each is one observation
        count = spread / variance if variance > _NOTHING and spread > 0 else float(self.questions)
        z2 = quantile**2
        center = (share + z2 / (2 * count)) / (1 + z2 / count)
        half = quantile / (1 + z2 / count) * math.sqrt(spread / count + z2 / (4 * count**2))
        lowest, highest = min(share, max(0.0, center - half)), max(share, min(1.0, center + half))
        return low + (high - low) * lowest, low + (high - low) * highest

    def p_value(self, value: float = 0.0) -> float:
        """Probability of a mean at least as far from `value`, to either side, if that were the truth."""
        distance, error = abs(self.mean - value), math.sqrt(self.variance)
        if distance == 0:
            return 1.0
        if error == 0:
            return _SMALLEST if math.isfinite(self.quantile(0.5)) else 1.0
        low, high = math.log(_SMALLEST), 0.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if self.quantile(1 - math.exp(middle)) * error < distance else (middle, high)
        return math.exp(high)


def mean_over_seeds(parts: Sequence[Part], bounds: tuple[float, float] | None = None) -> SeedMean:
    """
    The mean over seeds of a figure, which for each seed is the mean over `parts` (such as benchmarks) of the weighted
    means over their questions.

    Args:
        parts (`Sequence[tuple[np.ndarray, np.ndarray]]`):
            For each part the values and their weights, seeds x questions. A column is one question; seeds that asked
            others have NaN there. A figure that is no mean over questions has one column.
        bounds (`tuple[float, float]`, *optional*):
            Smallest and largest possible mean.

    Raises:
        ValueError: there is no seed, or one without any question of a part.
    """
    means, influences = _influences(parts)
    return _seed_mean(means, influences, bounds)


def paired_over_seeds(
    first: Sequence[Part], second: Sequence[Part], bounds: tuple[float, float] | None = None
) -> SeedMean:
    """
    The mean over seeds of `second - first`, for the same seeds and, in each, the questions that both have. Arguments
    as in [`mean_over_seeds`]; `bounds` are those of either mean.
    """
    kept: tuple[list[Part], list[Part]] = ([], [])
    for sides in zip(first, second, strict=True):
        both = ~np.isnan(sides[0][0]) & ~np.isnan(sides[1][0])
        for side, (values, weights) in enumerate(sides):
            kept[side].append((np.where(both, values, np.nan), weights))
    (means_1, influences_1), (means_2, influences_2) = map(_influences, kept)
    changes = [two - one for one, two in zip(influences_1, influences_2, strict=True)]
    found = _seed_mean(means_2 - means_1, changes, None)
    if found.variance > _NOTHING or bounds is None:
        return found
    # No question differs: as far as the means themselves are known
    quantile, halves = found.quantile(0.95), []
    for parts in kept:
        low, high = mean_over_seeds(parts, bounds).interval()
        halves.append((high - low) / 2)
    error = math.hypot(*halves) / quantile if math.isfinite(quantile) else 0.0
    return SeedMean(found.mean, found.seeds, found.questions, 0.0, 0.0, found.question_degrees, None, error)


def one_more_run(
    means: Sequence[float], level: float = 0.95, bounds: tuple[float, float] | None = None, questions: int = 1
) -> tuple[float, float]:
    """
    Where the figure of one more run, of another seed, is expected: a prediction interval.

    For figures that are drawn alike it is `mean ± t s sqrt(1 + 1 / n)`, with the standard deviation `s` of the `n`
    runs' figures and Student's quantile for `n - 1` degrees of freedom (Hahn 1970). Questions that all runs share
    move the new one as they move the others, and those of a seed alone are part of `s`: so it holds for either. With
    the former it can be narrower than the interval of the mean, which is about other questions, too. With
    `bounds` it is taken on the scale of `arcsin(sqrt(share))`, on which a share varies alike wherever it lies.

    Args:
        means (`Sequence[float]`): the figures of the runs, one a seed.
        level (`float`, *optional*, defaults to 0.95): probability with which it holds the new one.
        bounds (`tuple[float, float]`, *optional*): smallest and largest possible figure.
        questions (`int`, *optional*, defaults to 1): of each run. Where all runs have the same share, it is taken to
            vary as that of so many answers.

    Returns:
        `tuple[float, float]`: infinite, or the bounds, with fewer than two runs.
    """
    values = np.asarray(means, dtype=float)
    low, high = bounds or (-math.inf, math.inf)
    if values.size < 2:
        return low, high
    width = high - low
    scaled = values if bounds is None else np.arcsin(np.sqrt(np.clip((values - low) / width, 0, 1)))
    deviation = float(scaled.std(ddof=1))
    if bounds is not None and deviation**2 <= _NOTHING:
        deviation = 0.5 / math.sqrt(questions)
    half = student_quantile(0.5 + level / 2, values.size - 1) * deviation * math.sqrt(1 + 1 / values.size)
    first, last = float(scaled.mean()) - half, float(scaled.mean()) + half
    if bounds is None:
        return first, last
    first, last = max(first, 0.0), min(last, math.pi / 2)
    return low + width * math.sin(first) ** 2, low + width * math.sin(last) ** 2


def decide(mean: SeedMean, sign: int, threshold: float = 0.0, margin: float = 0.0) -> tuple[float, float, Verdict]:
    """
    What becomes of the claim that a mean lies above (`sign` 1) or below (-1) a threshold.

    It held where the interval lies on the claimed side of the threshold. It did not hold where the interval ends
    before `threshold + sign * margin`: on the other side, or too close to matter.

    Returns:
        `tuple`: the smallest of the significance levels at which it is decided, that for "did not hold" (1 where the
        mean is past the margin), and the verdict at the former. With one seed all are undecided.
    """
    if mean.seeds < 2:
        return 1.0, 1.0, "undecided"
    beyond = sign * (mean.mean - threshold)
    refuted = mean.p_value(threshold + sign * margin) if beyond < margin else 1.0
    shown = mean.p_value(threshold) if beyond > 0 else 1.0
    return min(shown, refuted), refuted, "held" if shown < refuted else "did not hold"


def _influences(parts: Sequence[Part]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Each seed's mean, and by how much each of its questions moves it; NaN for those that it lacks."""
    means, influences = [], []
    for values, weights in parts:
        there = ~np.isnan(values)
        counts = there.sum(axis=1, keepdims=True)
        if not values.size or not counts.all():
            raise ValueError("mean_over_seeds: expected a question of each part for each seed")
        weights = np.where(there, weights, 0.0)
        total = weights.sum(axis=1, keepdims=True)
        mean = (np.where(there, values, 0.0) * weights).sum(axis=1, keepdims=True) / total
        correction = np.sqrt(counts / np.maximum(counts - 1, 1))
        influences.append((values - mean) * weights / total * correction / len(parts))
        means.append(mean[:, 0])
    return np.mean(means, axis=0), influences


def _seed_mean(means: np.ndarray, influences: list[np.ndarray], bounds: tuple[float, float] | None) -> SeedMean:
    seeds = means.size
    asked = [~np.isnan(part) for part in influences]
    moved = [np.nan_to_num(part) for part in influences]
    questions = sum(int(there.any(axis=0).sum()) for there in asked)
    if seeds == 1:
        variance = sum(float((part**2).sum()) for part in moved)
        return SeedMean(float(means[0]), 1, questions, 0.0, variance, questions - len(moved), bounds)
    # Products of two seeds' influences: their sum is the covariance that comes of shared questions
    products = sum(float((part.sum(axis=0) ** 2 - (part**2).sum(axis=0)).sum()) for part in moved)
    shared = sum(int((there.sum(axis=0) > 1).sum()) for there in asked) - len(asked)
    by_seed = float(means.var(ddof=1)) / seeds
    by_question = max(0.0, products / (seeds * (seeds - 1))) if shared > 0 else 0.0
    return SeedMean(float(means.mean()), seeds, questions, by_seed, by_question, max(shared, 0), bounds)
