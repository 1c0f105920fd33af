"""How often a judge is wrong, from labels of a stratified sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


_DRAWS = 20_000
_LEVEL = 0.95


@dataclass(frozen=True)
class Stratum:
    """
    Rows on which the judges say the same.

    Args:
        accepts (`bool`): whether the judge that is audited says right.
        size (`int`): how many there are.
        labels (`Sequence[bool]`): whether the answers of those that were labelled, drawn at random, are right.
    """

    accepts: bool
    size: int
    labels: Sequence[bool]


def error_rates(strata: Sequence[Stratum], seed: int = 0) -> dict[str, Any] | None:
    """
    The `false_negative_rate` (right answers that are rejected, of all right ones) and the `false_positive_rate` (wrong
    ones that are accepted, of all wrong ones), `accuracy` (right answers, of all), each with an interval of 95 % under
    the name plus `_ci`. `None` where a stratum has rows and no labels.

    The estimates weight each label by the rows that it stands for (Horvitz and Thompson, 1952). The intervals are
    those of the numbers of right answers among the rows that nobody labelled, with a prior of Jeffreys on the share in
    each stratum: a sample without a mistake does not show that there is none, and what is labelled as a whole is
    certain.
    """
    filled = [stratum for stratum in strata if stratum.size]
    if not filled or not all(stratum.labels for stratum in filled):
        return None
    rng = np.random.default_rng(seed)
    sums: dict[tuple[bool, bool], np.ndarray] = {}
    means: dict[tuple[bool, bool], float] = {}
    for stratum in filled:
        right, drawn = sum(stratum.labels), len(stratum.labels)
        left = stratum.size - drawn
        shares = rng.beta(right + 0.5, drawn - right + 0.5, _DRAWS)
        simulated = right + rng.binomial(left, shares)
        for truth, counts, mean in (
            (True, simulated, stratum.size * right / drawn),
            (False, stratum.size - simulated, stratum.size * (drawn - right) / drawn),
        ):
            key = stratum.accepts, truth
            sums[key] = sums.get(key, np.zeros(_DRAWS)) + counts
            means[key] = means.get(key, 0.0) + mean
    results: dict[str, Any] = {"labels": sum(len(stratum.labels) for stratum in filled)}
    for name, accepts, truth in (("false_negative_rate", False, True), ("false_positive_rate", True, False)):
        results |= _ratio(name, [(accepts, truth)], [(False, truth), (True, truth)], means, sums)
    every = [(accepts, truth) for accepts in (False, True) for truth in (False, True)]
    return results | _ratio("accuracy", [(False, True), (True, True)], every, means, sums)


def _ratio(
    name: str,
    above: Sequence[tuple[bool, bool]],
    below: Sequence[tuple[bool, bool]],
    means: Mapping[tuple[bool, bool], float],
    sums: Mapping[tuple[bool, bool], np.ndarray],
) -> dict[str, Any]:
    tops = sum((sums[key] for key in above if key in sums), np.zeros(_DRAWS))
    bottoms = sum((sums[key] for key in below if key in sums), np.zeros(_DRAWS))
    bottom = sum(means.get(key, 0.0) for key in below)
    mean = sum(means.get(key, 0.0) for key in above) / bottom if bottom else None
    some = bottoms > 0
    if not some.any():
        return {name: mean, f"{name}_ci": None}
    ends = np.quantile(tops[some] / bottoms[some], [0.5 - _LEVEL / 2, 0.5 + _LEVEL / 2])
    low, high = float(ends[0]), float(ends[1])
    if mean is not None:
        low, high = min(low, mean), max(high, mean)
    return {name: mean, f"{name}_ci": [low, high]}
