"""Agreement between judgements, for one pattern: yes or no by several judges, or by one judge several times."""

from collections.abc import Iterator, Sequence

import numpy as np


def percent_agreement(ratings: Sequence[Sequence[bool | None]]) -> float | None:
    """
    Share of the pairs of judgements of the same item that agree, averaged over the items with at least two; `None`
    without any. An item's judgements may be missing (`None`).
    """
    shares = [(yes * (yes - 1) + (n - yes) * (n - yes - 1)) / (n * (n - 1)) for n, yes in _judged_twice(ratings)]
    return float(np.mean(shares)) if shares else None


def krippendorff_alpha(ratings: Sequence[Sequence[bool | None]]) -> float | None:
    """
    Krippendorff's alpha for nominal data, which allows for missing judgements (Krippendorff, 2011, *Computing
    Krippendorff's alpha-reliability*): one minus the observed over the expected disagreement. `None` where it is not
    defined: no item was judged twice, or all judgements are the same.
    """
    observed = total = positive = 0.0
    for n, yes in _judged_twice(ratings):
        # Twice the number of pairs that disagree, each pair weighing 1 / (n - 1)
        observed += 2 * yes * (n - yes) / (n - 1)
        total += n
        positive += yes
    expected = 2 * positive * (total - positive) / (total - 1) if total > 1 else 0.0
    return None if expected == 0 else float(1 - observed / expected)


def _judged_twice(ratings: Sequence[Sequence[bool | None]]) -> Iterator[tuple[int, int]]:
    """The judgements of each item with at least two, and how many of them are positive."""
    for item in ratings:
        known = [bool(rating) for rating in item if rating is not None]
        if len(known) > 1:
            yield len(known), sum(known)
