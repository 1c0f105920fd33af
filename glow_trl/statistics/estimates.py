"""Statistics of several samples per question: pass@k, majority@k, and intervals that respect the grouping."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np


_CAUTION = 1.5


@dataclass(frozen=True)
class Estimate:
    """A mean over questions with its confidence interval.

    Args:
        mean (`float`): the estimate.
        low (`float`): lower end of the interval.
        high (`float`): upper end of the interval.
        n_groups (`int`): independent questions behind it.
    """

    mean: float
    low: float
    high: float
    n_groups: int

    def as_entry(self, name: str) -> dict[str, Any]:
        """The mean as `name`, and under the name plus `_ci` the interval, `None` of a single question."""
        return {name: self.mean, f"{name}_ci": [self.low, self.high] if self.n_groups > 1 else None}


def pass_at_k(n: Any, c: Any, k: Any) -> Any:
    """Unbiased estimate of the chance that at least one of `k` samples is correct.

    `1 - C(n - c, k) / C(n, k)`, in a form that neither overflows nor loses digits where the result is small.

    Args:
        n (`int` or array of `int`):
            Samples drawn for the question.
        c (`int` or array of `int`):
            How many of them are correct.
        k (`int` or array of `int`):
            Samples that an attempt may use. Arguments are broadcast against each other.

    Returns:
        `float`, or `np.ndarray` if any argument is an array.

    Raises:
        ValueError: `k > n`, `k < 1`, `c` outside `0..n`, or numbers that are not whole.

    Example:
    ```python
    >>> pass_at_k(n=4, c=1, k=2)
    0.5
    ```
    """
    arrays = {name: np.asarray(value) for name, value in (("n", n), ("c", c), ("k", k))}
    for name, array in arrays.items():
        if not np.issubdtype(array.dtype, np.number) or np.any(array != np.floor(array)):
            raise ValueError(f"pass_at_k: {name} must be whole numbers")
    total, correct, draws = np.broadcast_arrays(*(array.astype(np.int64) for array in arrays.values()))
    if np.any(draws < 1):
        raise ValueError("pass_at_k: k must be at least 1")
    excess = draws > total
    if np.any(excess):
        raise ValueError(f"pass_at_k: k = {draws[excess][0]} of n = {total[excess][0]} samples")
    if np.any(correct < 0) or np.any(correct > total):
        raise ValueError("pass_at_k: c must lie between 0 and n")
    log_fail = np.zeros(total.shape)
    certain = total - correct < draws
    for drawn in range(int(draws.max(initial=0))):
        active = (drawn < draws) & ~certain
        left = np.where(active, total - drawn, 1)
        log_fail += np.where(active, np.log1p(-np.where(active, correct, 0) / left), 0.0)
    result = np.where(certain, 1.0, -np.expm1(log_fail))
    return float(result) if result.ndim == 0 else result


def majority_at_k(answers: Sequence[Hashable | None], correct: Sequence[bool], k: int | None = None) -> float:
    """Expected accuracy of the majority vote among `k` of a question's samples.

    Every subset of `k` of the `n` samples is equally likely; with `k == n` this is the vote of all of them. Samples
    vote for their answer, `None` (no answer) abstains. Tied answers share the win: each is chosen with the same
    probability. A draw in which nobody votes counts as wrong. The result is exact, not simulated.

    Args:
        answers (`Sequence[Hashable or None]`):
            What each sample votes for. Equal values are one answer: use [`answer_groups`] to give equivalent answers
            (`1/2` and `0.5`) equal values.
        correct (`Sequence[bool]`):
            Whether each sample is correct. If samples of one answer disagree, the answer counts with the share of
            them that is correct.
        k (`int`, *optional*):
            Size of the vote, by default all samples.

    Returns:
        `float`: the probability that the vote is correct.

    Raises:
        ValueError: `k` is not between 1 and `n`, or the lengths differ.
    """
    n = len(answers)
    k = n if k is None else k
    if len(correct) != n:
        raise ValueError(f"majority_at_k: {n} answers and {len(correct)} judgements")
    if not 1 <= k <= n:
        raise ValueError(f"majority_at_k: k = {k} of n = {n} samples")
    sizes: dict[Hashable, int] = {}
    hits: dict[Hashable, int] = {}
    for answer, is_correct in zip(answers, correct, strict=True):
        if answer is not None:
            sizes[answer] = sizes.get(answer, 0) + 1
            hits[answer] = hits.get(answer, 0) + bool(is_correct)
    silent = n - sum(sizes.values())
    chances = []
    for answer, size in sizes.items():
        if hits[answer]:
            others = tuple(sorted(count for other, count in sizes.items() if other != answer))
            chances.append(hits[answer] / size * _win_probability(size, others, silent, k))
    return math.fsum(chances)


# Questions with as many samples for each of their answers share one computation
@lru_cache(maxsize=1 << 16)
def _win_probability(size: int, others: tuple[int, ...], silent: int, k: int) -> float:
    """Probability that an answer with `size` samples wins the vote of `k` drawn without replacement, ties split.

    The draws in which it has so many votes and no other answer more are counted, by the number of ties, answer after
    answer. A count for each number of samples drawn is a polynomial; written as one integer, its coefficients side by
    side, polynomials are multiplied exactly by multiplying integers.
    """
    n = size + sum(others) + silent
    width = n + 1  # bits: no coefficient exceeds 2**n
    wins: Counter[int] = Counter()
    for votes in range(1, min(size, k) + 1):
        left = k - votes
        mask = (1 << (left + 1) * width) - 1
        # Those that cannot reach so many votes are drawn freely, as are the samples that abstain
        free = silent + sum(other for other in others if other < votes)
        drawn = [((1 << width) + 1) ** free & mask]
        for other in others:
            if other >= votes:
                fewer = sum(math.comb(other, count) << count * width for count in range(votes))
                tied = math.comb(other, votes) << votes * width
                pairs = zip([*drawn, 0], [0, *drawn], strict=True)
                drawn = [(same * fewer + less * tied) & mask for same, less in pairs]
                while not drawn[-1]:
                    drawn.pop()
        for ties, polynomial in enumerate(drawn):
            wins[ties] += math.comb(size, votes) * (polynomial >> left * width)
    return float(sum(Fraction(count, ties + 1) for ties, count in wins.items()) / math.comb(n, k))


def student_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))


def group_numbers(groups: Sequence[Hashable] | np.ndarray) -> np.ndarray:
    """A number for each sample, the same for those of one group, counted from 0."""
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(group, len(number)) for group in groups])


def clustered_error(influence: np.ndarray) -> float:
    """Standard error of an estimate from the influence of each of its groups, of which there are at least two."""
    return math.sqrt(influence.size / (influence.size - 1) * float(influence @ influence))


def grouped_mean(
    values: Sequence[float] | np.ndarray,
    groups: Sequence[Hashable] | np.ndarray | None = None,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """Mean over samples, with a confidence interval that treats the samples of one question as dependent.

    The standard error is the cluster-robust one of a ratio estimate (groups may have different sizes), the quantile
    Student's with one degree of freedom less than there are groups. With `bounds` the interval is Wilson's score
    interval for the sample size that explains this standard error. It stays inside the bounds, and does not shrink to
    a point where all values are equal: there it falls back to one observation per group. Where the mean is close to a
    bound, so that few groups tell what the samples of a group have in common, the standard error is raised by up to
    the factor that makes a group one observation; by how much was chosen by simulation.

    Args:
        values (`Sequence[float]`):
            One value per sample.
        groups (`Sequence[Hashable]`, *optional*):
            The question each sample belongs to. By default every value is a group of its own.
        level (`float`, *optional*, defaults to `0.95`):
            Confidence level.
        bounds (`tuple[float, float]`, *optional*):
            Smallest and largest possible value, `(0, 1)` for accuracies.

    Returns:
        [`Estimate`]

    Raises:
        ValueError: there are no values, or the lengths differ.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or values.size == 0:
        raise ValueError("grouped_mean: expected at least one value")
    if groups is None:
        sums, counts = values, np.ones(values.size)
    else:
        if len(groups) != values.size:
            raise ValueError(f"grouped_mean: {values.size} values and {len(groups)} groups")
        index = group_numbers(groups)
        sums, counts = np.bincount(index, weights=values), np.bincount(index).astype(float)
    return grouped_ratio(sums, counts, level, bounds)


def grouped_ratio(
    numerators: Sequence[float] | np.ndarray,
    denominators: Sequence[float] | np.ndarray,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """Ratio of two sums over independent groups, such as entropy per token, with a confidence interval. `level` and
    `bounds` are as in [`grouped_mean`], which is the ratio of sums of values to their (positive) numbers."""
    sums, counts = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
    n_groups, mean = sums.size, float(sums.sum() / counts.sum())
    if n_groups == 1:
        low, high = (-math.inf, math.inf) if bounds is None else bounds
        return Estimate(mean, float(low), float(high), 1)
    error = clustered_error((sums - mean * counts) / counts.sum())
    quantile = student_quantile(0.5 + level / 2, n_groups - 1)
    if bounds is None:
        half = quantile * error
        return Estimate(mean, mean - half, mean + half, n_groups)
    low, high = bounds
    share = min(1.0, max(0.0, (mean - low) / (high - low)))
    spread = share * (1 - share)
    scaled_variance = (error / (high - low)) ** 2
    effective = float(n_groups)
    if scaled_variance > 1e-18 and spread > 0:
        # Near the bounds few groups differ from the rest, and how much less than 1 a group's variance is of the
        # largest possible one is badly known
        share_of_largest = n_groups * scaled_variance / spread
        cautious = share_of_largest * (1 + _CAUTION / (4 * spread * n_groups))
        effective = n_groups / max(share_of_largest, min(1.0, cautious))
    z2 = quantile**2
    center = (share + z2 / (2 * effective)) / (1 + z2 / effective)
    half = quantile / (1 + z2 / effective) * math.sqrt(spread / effective + z2 / (4 * effective**2))
    return Estimate(
        mean,
        low + (high - low) * min(share, max(0.0, center - half)),
        low + (high - low) * max(share, min(1.0, center + half)),
        n_groups,
    )


def grouped_median(values: Sequence[float], groups: Sequence[Hashable], level: float = 0.95) -> Estimate:
    """Median over samples, with Woodruff's (1952) interval: the values at both ends of the interval of the share of
    samples up to the median, which treats the samples of one question as dependent."""
    array = np.asarray(values, dtype=float)
    median = float(np.median(array))
    share = grouped_mean(array <= median, groups, level, bounds=(0, 1))
    # Around one half, which is where the median is, whatever share of ties there is
    half_low, half_high = share.mean - share.low, share.high - share.mean
    low, high = np.quantile(array, [max(0.0, 0.5 - half_low), min(1.0, 0.5 + half_high)])
    return Estimate(median, float(min(low, median)), float(max(high, median)), share.n_groups)
