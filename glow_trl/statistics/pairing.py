"""Statistics of two runs on the same questions: differences, their intervals, and tests of no difference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .estimates import Estimate, clustered_error, grouped_mean, student_quantile


# The exact distribution is computed by so many additions at most, and simulated beyond
_MOST_ADDITIONS = 2_000_000_000
_DRAWS = 20_000
_DRAWN_AT_ONCE = 4_000_000
# With so many differences their sum under random signs is normal to all digits that matter
_MANY = 1000
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Difference:
    """Means over the same `n` questions in two runs, with the 95 % interval of `second - first` and the probability of
    a difference at least as large, in either direction, if the runs were equal."""

    first: float
    second: float
    low: float
    high: float
    p_value: float
    n: int

    @property
    def mean(self) -> float:
        """`second - first`."""
        return self.second - self.first


def sign_flip_test(differences: Sequence[float] | np.ndarray, grain: float | None = None, seed: int = 0) -> float:
    """Test whether paired differences are centered on zero.

    If the two runs are equal, each question's difference could as well have had the other sign. The p value is the
    share of all assignments of signs whose sum is at least as large as the one found, in absolute value. With one
    sample per question this is the exact McNemar test.

    Args:
        differences (`Sequence[float]`):
            One per question.
        grain (`float`, *optional*):
            A number of which all differences are multiples: the share of all assignments is then counted exactly.
            Otherwise, and where counting takes too long, 20,000 assignments are drawn, or the normal distribution
            serves if there are more than 1,000 differences.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the draws.

    Returns:
        `float`: the p value; 1 where there are no differences other than zero.
    """
    values = np.abs(np.asarray(differences, dtype=float))
    total = abs(float(np.sum(differences)))
    values = values[values > _TOLERANCE]
    if values.size == 0:
        return 1.0
    if grain is not None:
        steps = np.rint(values / grain).astype(np.int64)
        if steps.sum() * steps.size * 2 <= _MOST_ADDITIONS:
            return _exact_share(steps, round(total / grain))
    if values.size > _MANY:
        return math.erfc(total / math.sqrt(2 * float(values @ values)))
    rng = np.random.default_rng(seed)
    reached = 0
    rows = max(1, _DRAWN_AT_ONCE // values.size)
    for start in range(0, _DRAWS, rows):
        count = min(rows, _DRAWS - start)
        positive = rng.integers(0, 2, (count, values.size), dtype=np.int8).astype(float)
        sums = 2 * (positive @ values) - values.sum()
        reached += int(np.count_nonzero(np.abs(sums) >= total - _TOLERANCE))
    return (reached + 1) / (_DRAWS + 1)


def _exact_share(steps: np.ndarray, total: int) -> float:
    """Share of the assignments of signs with an absolute sum of at least `total`."""
    # density[j]: probability that the steps with a positive sign sum up to j
    density = np.zeros(int(steps.sum()) + 1)
    density[0], reach = 1.0, 0
    for step in np.sort(steps):
        density[step : reach + step + 1] += density[: reach + 1].copy()
        density[: reach + step + 1] /= 2
        reach += int(step)
    sums = np.abs(2 * np.arange(reach + 1) - reach)
    return min(1.0, float(density[sums >= total].sum()))


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    bounds: tuple[float, float] | None = None,
    grain: float | None = None,
) -> Difference:
    """Compare a figure that both runs have for each question.

    Args:
        first (`Sequence[float]`): the first run's figure for each question.
        second (`Sequence[float]`): the second run's, for the same questions.
        bounds (`tuple[float, float]`, *optional*): see [`difference_interval`].
        grain (`float`, *optional*): see [`sign_flip_test`].
    """
    one, two = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    low, high = difference_interval(one, two, bounds)
    return Difference(float(one.mean()), float(two.mean()), low, high, sign_flip_test(two - one, grain), one.size)


def mean_difference(
    parts: Sequence[tuple[np.ndarray, np.ndarray]], bounds: tuple[float, float] | None = None
) -> Difference:
    """Compare the mean over several sets of questions, each counted the same, such as benchmarks of one domain. Each
    of the `parts` has both runs' figures, as in [`paired_difference`].

    The test flips the signs of all questions' differences, each with the weight that it has in the mean.
    """
    first, second = (float(np.mean([part[side].mean() for part in parts])) for side in (0, 1))
    change = combined(
        [Estimate(two.mean() - one.mean(), *difference_interval(one, two, bounds), one.size) for one, two in parts]
    )
    weighted = [(two - one) / (one.size * len(parts)) for one, two in parts]
    return Difference(
        first, second, change.low, change.high, sign_flip_test(np.concatenate(weighted)), change.n_groups
    )


def difference_interval(
    first: Sequence[float] | np.ndarray,
    second: Sequence[float] | np.ndarray,
    bounds: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """95 % interval of the mean of `second - first` over questions.

    Without `bounds`, the smallest and largest possible figure, it is that of the paired t test. With them it is put
    together from the two intervals of [`grouped_mean`] and the correlation over questions (Newcombe 1998, method 10;
    Zou and Donner 2008), so that it is not a point where no question differs.
    """
    one, two = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if bounds is None:
        change = grouped_mean(two - one)
        return change.low, change.high
    varies = one.std() > _TOLERANCE and two.std() > _TOLERANCE
    correlation = float(np.corrcoef(one, two)[0, 1]) if varies else 0.0
    return _joined(grouped_mean(two, bounds=bounds), grouped_mean(one, bounds=bounds), correlation)


def _joined(after: Estimate, before: Estimate, correlation: float) -> tuple[float, float]:
    """Interval of the difference of two correlated means from their intervals."""

    def half(one: float, two: float) -> float:
        return math.sqrt(max(0.0, one**2 - 2 * correlation * one * two + two**2))

    change = after.mean - before.mean
    return (
        change - half(after.mean - after.low, before.high - before.mean),
        change + half(after.high - after.mean, before.mean - before.low),
    )


def relative_change(
    first: tuple[Sequence[float], Sequence[float]],
    second: tuple[Sequence[float], Sequence[float]],
    level: float = 0.95,
) -> Estimate:
    """Relative change, `second / first - 1`, of a ratio of two sums, such as entropy per token. Either run has the
    numerators and the denominators of the same questions; a ratio that is not positive raises a `ValueError`.

    The interval is the delta method's on the logarithm, with Student's quantile for the number of questions.
    """
    influences, logs = [], []
    for numerator, denominator in (second, first):
        upper, lower = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
        ratio = upper.sum() / lower.sum()
        if not ratio > 0:
            raise ValueError("relative_change: the ratios must be positive")
        influences.append((upper - ratio * lower) / (ratio * lower.sum()))
        logs.append(math.log(ratio))
    influence = influences[0] - influences[1]
    count, change = influence.size, logs[0] - logs[1]
    if count < 2:
        return Estimate(math.expm1(change), -1.0, math.inf, count)
    half = student_quantile(0.5 + level / 2, count - 1) * clustered_error(influence)
    return Estimate(math.expm1(change), math.expm1(change - half), math.expm1(change + half), count)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for being several (Holm 1979), in the same order."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def combined(estimates: Sequence[Estimate]) -> Estimate:
    """Mean of independent estimates, each counted the same, such as of the benchmarks of one domain.

    The interval is put together from theirs (Zou and Donner 2008), so that it may be asymmetric as they are.
    """
    count = len(estimates)
    mean = math.fsum(item.mean for item in estimates) / count
    low = mean - math.sqrt(math.fsum((item.mean - item.low) ** 2 for item in estimates)) / count
    high = mean + math.sqrt(math.fsum((item.high - item.mean) ** 2 for item in estimates)) / count
    return Estimate(mean, low, high, sum(item.n_groups for item in estimates))
