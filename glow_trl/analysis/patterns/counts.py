"""How often patterns occur, by label, with intervals that respect the grouping of trajectories by question."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.loss_history import LABELS
from ...statistics.estimates import clustered_error, group_numbers, grouped_mean, student_quantile
from ...statistics.pairing import holm
from .taxonomy import Taxonomy


ALL = "all"


@dataclass(frozen=True)
class Annotated:
    """A trajectory with its label and the patterns that were found in it; problems are the independent units."""

    problem: Hashable
    is_correct: bool | None
    patterns: frozenset[str]


def count_patterns(annotated: Sequence[Annotated], taxonomy: Taxonomy) -> dict[str, Any]:
    """
    Count the patterns of at least one trajectory: under `counts`, for `"all"`, `"positive"` and `"negative"`
    trajectories as far as there are any, a [`label_counts`]; under `differences`, with trajectories of both labels,
    for each pattern the share in negative minus that in positive ones, with its interval, p-value and the p-value
    after Holm's correction for the number of patterns.
    """
    groups = {ALL: list(annotated)}
    groups |= {name: [item for item in annotated if item.is_correct is bool(code)] for name, code in LABELS.items()}
    counts = {name: label_counts(items, taxonomy) for name, items in groups.items() if items}
    result: dict[str, Any] = {"counts": counts, "differences": None}
    if groups["positive"] and groups["negative"]:
        labelled = groups["positive"] + groups["negative"]
        negative = np.array([not item.is_correct for item in labelled])
        problems = [item.problem for item in labelled]
        rows = {
            pattern: grouped_difference([pattern in item.patterns for item in labelled], negative, problems)
            for pattern in taxonomy.ids
        }
        # Whether there is a p-value depends on the number of questions alone
        known = all(row["p"] is not None for row in rows.values())
        corrected = holm([row["p"] for row in rows.values()]) if known else [None] * len(rows)
        result["differences"] = {
            pattern: row | {"p_holm": p} for (pattern, row), p in zip(rows.items(), corrected, strict=True)
        }
    return result


def label_counts(items: Sequence[Annotated], taxonomy: Taxonomy) -> dict[str, Any]:
    """
    Counts of some trajectories: `with_any` (share that shows any pattern) and `per_trajectory` (mean number of
    patterns); for each of `patterns` and `groups` the `count` of trajectories that show it and their `share`; and
    [`diversity`]. Intervals, under the names plus `_ci`, are at 95 % and treat the trajectories of a question as
    dependent.
    """
    problems = [item.problem for item in items]
    numbers = [len(item.patterns) for item in items]

    def share(ids: set[str]) -> dict[str, Any]:
        values = [not ids.isdisjoint(item.patterns) for item in items]
        return {"count": sum(values)} | grouped_mean(values, problems, bounds=(0, 1)).as_entry("share")

    groups = {name: {item.id for item in taxonomy.patterns if item.group == name} for name in taxonomy.groups}
    return {
        "trajectories": len(items),
        "problems": len(set(problems)),
        **grouped_mean([number > 0 for number in numbers], problems, bounds=(0, 1)).as_entry("with_any"),
        **grouped_mean(numbers, problems).as_entry("per_trajectory"),
        "patterns": {pattern: share({pattern}) for pattern in taxonomy.ids},
        "groups": {name: share(ids) for name, ids in groups.items()},
        "diversity": diversity(items),
    }


def diversity(items: Sequence[Annotated]) -> dict[str, Any]:
    """
    How evenly the `mentions` of patterns spread over the patterns: the number of `distinct` ones that occur, the
    `entropy` of the distribution of mentions over them, in nats, and its exponential `effective_patterns` (Hill's
    number of order 1): so many equally frequent patterns would have this entropy. It is the plug-in estimate, which is
    too low by about `(distinct - 1) / (2 * mentions)` nats. `None` without mentions.
    """
    mentions = [(item.problem, pattern) for item in items for pattern in sorted(item.patterns)]
    if not mentions:
        return {"mentions": 0, "distinct": 0, "entropy": None, "effective_patterns": None}
    names, index = np.unique([pattern for _, pattern in mentions], return_inverse=True)
    shares = np.bincount(index) / len(mentions)
    # The entropy is the mean surprise of a mention. To first order it varies as if the shares were known
    estimate = grouped_mean(-np.log(shares[index]), [problem for problem, _ in mentions])
    low, high, known = max(0.0, estimate.low), estimate.high, estimate.n_groups > 1
    return {
        "mentions": len(mentions),
        "distinct": len(names),
        "entropy": estimate.mean,
        "entropy_ci": [low, high] if known else None,
        "effective_patterns": math.exp(estimate.mean),
        "effective_patterns_ci": [math.exp(low), math.exp(high)] if known else None,
    }


def grouped_difference(
    values: Sequence[float], in_second: Sequence[bool] | np.ndarray, groups: Sequence[Hashable], level: float = 0.95
) -> dict[str, Any]:
    """
    Difference of the means of two sets of samples that may come from the same questions: `difference`, mean of the
    second set minus that of the first (both have at least one sample), `difference_ci`, and `p`, two-sided, of no
    difference. The latter two are `None` with fewer than two questions; `p` is 1 if nothing varies.

    The standard error is the cluster-robust one of the difference of two ratio estimates, the quantile Student's with
    one degree of freedom less than there are questions.
    """
    from scipy.special import stdtr

    values, second = np.asarray(values, dtype=float), np.asarray(in_second, dtype=bool)
    means = {part: float(values[second == part].mean()) for part in (False, True)}
    residual = np.where(second, 1.0, -1.0) * (values - np.where(second, means[True], means[False]))
    influence = np.bincount(group_numbers(groups), residual / np.where(second, second.sum(), (~second).sum()))
    difference, count = means[True] - means[False], influence.size
    if count < 2:
        return {"difference": difference, "difference_ci": None, "p": None}
    error = clustered_error(influence)
    half = student_quantile(0.5 + level / 2, count - 1) * error
    return {
        "difference": difference,
        "difference_ci": [max(-1.0, difference - half), min(1.0, difference + half)],
        "p": float(2 * stdtr(count - 1, -abs(difference / error))) if error > 1e-15 else 1.0,
    }
