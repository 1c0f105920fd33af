"""How many groups of GRPO teach anything: those of which some samples are right and some wrong."""

import numpy as np

from .estimates import pass_at_k


def threshold_rate(group_size: int) -> float:
    """p*(g) = 1 - 2^(-1/g): of a question with a lower rate of success more than half of the groups are all wrong."""
    return -float(np.expm1(-np.log(2) / group_size))


def informative_chance(drawn: np.ndarray, correct: np.ndarray, group_size: int) -> np.ndarray:
    """
    For each question the unbiased estimate of `1 - p^g - (1 - p)^g`, the chance that a group of `g` samples has right
    and wrong ones: the share of all groups that can be made of the `drawn` samples. Of each at least `g` are needed.
    """
    some_right = pass_at_k(drawn, correct, group_size)
    some_wrong = pass_at_k(drawn, drawn - correct, group_size)
    return np.maximum(some_right + some_wrong - 1, 0.0)


def fitted_informative_chance(drawn: np.ndarray, correct: np.ndarray, group_size: int) -> np.ndarray:
    """
    The same from fewer than `g` samples of each question, but at least two, where the questions' rates are taken to
    follow a beta distribution: that with the mean of `p` and of `p^2` that are estimated without bias.

    No single question tells its chance then. What is given for each is the pseudo-value of the jackknife over
    questions: their mean is the estimate, and they vary as much as it takes for its standard error.
    """
    rates, count = correct / drawn, drawn.size
    squares = correct * (correct - 1) / (drawn * (drawn - 1))
    sums = rates.sum(), squares.sum()
    whole = _of_beta(sums[0] / count, sums[1] / count, group_size)
    if count < 3:
        return np.full(count, whole)
    others = count - 1
    left_out = _of_beta((sums[0] - rates) / others, (sums[1] - squares) / others, group_size)
    return count * whole - others * left_out


def _of_beta(mean: np.ndarray | float, square: np.ndarray | float, group_size: int) -> np.ndarray:
    """Mean of `1 - p^g - (1 - p)^g` where `p` is beta distributed with a mean of `p` and of `p^2`."""
    mean = np.clip(mean, 0.0, 1.0)
    spread = mean * (1 - mean)
    # What of the largest possible variance the rates have: 0 is one rate for all, 1 has 0 and 1 alone
    share = np.clip((square - mean**2) / np.where(spread > 0, spread, 1.0), 0.0, 1.0)
    all_right, all_wrong = mean, 1 - mean
    for step in range(1, group_size):
        total = 1 - share + step * share
        all_right = all_right * (mean * (1 - share) + step * share) / total
        all_wrong = all_wrong * ((1 - mean) * (1 - share) + step * share) / total
    return np.maximum(1 - all_right - all_wrong, 0.0)
