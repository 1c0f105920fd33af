"""Agreement between judgements, for one pattern: yes or no by several judges, or by one judge several times."""

from collections.abc import Sequence

import numpy as np


def percent_agreement(ratings: Sequence[Sequence[bool | None]]) -> float | None:
    """
    Share of the pairs of judgements of the same item that agree, averaged over the items with at least two.

    Args:
        ratings (`list[list[bool or None]]`): for each item its judgements; `None` for a missing one.

    Returns:
        `float`, or `None` without an item that was judged twice.
    """
    shares = []
    for item in ratings:
        known = [bool(rating) for rating in item if rating is not None]
        n, yes = len(known), sum(known)
        if n > 1:
            shares.append((yes * (yes - 1) + (n - yes) * (n - yes - 1)) / (n * (n - 1)))
    return float(np.mean(shares)) if shares else None


def cohen_kappa(first: Sequence[bool], second: Sequence[bool]) -> float | None:
    """
    Agreement of two judges beyond chance, each with a rate of its own (Cohen, 1960). `None` if both always say the
    same one thing: agreement by chance is then certain.

    Raises:
        ValueError: the lengths differ.
    """
    if len(first) != len(second):
        raise ValueError(f"cohen_kappa: {len(first)} and {len(second)} judgements")
    if not len(first):
        return None
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    expected = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    return None if expected == 1 else float(((a == b).mean() - expected) / (1 - expected))


def fleiss_kappa(ratings: Sequence[Sequence[bool | None]]) -> float | None:
    """
    Agreement beyond chance of any number of judges that share one rate (Fleiss, 1971); for two judges this is Scott's
    pi. Only items with as many judgements as the most judged one count.

    Args:
        ratings (`list[list[bool or None]]`): for each item its judgements; `None` for a missing one.

    Returns:
        `float`, or `None` where it is not defined: fewer than two judgements, or all of them the same.
    """
    known = [[bool(rating) for rating in item if rating is not None] for item in ratings]
    judges = max(map(len, known), default=0)
    yes = np.array([sum(item) for item in known if len(item) == judges], dtype=float)
    if judges < 2:
        return None
    observed = np.mean((yes * (yes - 1) + (judges - yes) * (judges - yes - 1)) / (judges * (judges - 1)))
    rate = yes.sum() / (judges * yes.size)
    expected = rate**2 + (1 - rate) ** 2
    return None if expected == 1 else float((observed - expected) / (1 - expected))


def krippendorff_alpha(ratings: Sequence[Sequence[bool | None]]) -> float | None:
    """
    Krippendorff's alpha for nominal data, which allows for missing judgements (Krippendorff, 2011, *Computing
    Krippendorff's alpha-reliability*): one minus the observed over the expected disagreement.

    Args:
        ratings (`list[list[bool or None]]`): for each item its judgements; `None` for a missing one.

    Returns:
        `float`, or `None` where it is not defined: no item was judged twice, or all judgements are the same.
    """
    observed = total = positive = 0.0
    for item in ratings:
        known = [bool(rating) for rating in item if rating is not None]
        n, yes = len(known), sum(known)
        if n > 1:
            # Twice the number of pairs that disagree, each pair weighing 1 / (n - 1)
            observed += 2 * yes * (n - yes) / (n - 1)
            total += n
            positive += yes
    expected = 2 * positive * (total - positive) / (total - 1) if total > 1 else 0.0
    return None if expected == 0 else float(1 - observed / expected)
