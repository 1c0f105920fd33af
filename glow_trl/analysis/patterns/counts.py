"""How often patterns occur, by label, with intervals that respect the grouping of trajectories by question."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.loss_history import LABELS
from ...statistics.estimates import Estimate, grouped_mean, student_quantile
from ...statistics.pairing import holm
from .taxonomy import Taxonomy


ALL = "all"


@dataclass(frozen=True)
class Annotated:
    """A trajectory with its patterns.

    Args:
        problem (`Hashable`): the question, the unit that is independent.
        is_correct (`bool` or `None`): its label.
        patterns (`frozenset[str]`): what was found in it.
    """

    problem: Hashable
    is_correct: bool | None
    patterns: frozenset[str]


def count_patterns(annotated: Sequence[Annotated], taxonomy: Taxonomy) -> dict[str, Any]:
    """
    Count.

    Args:
        annotated (`list[Annotated]`): the trajectories, at least one.
        taxonomy ([`Taxonomy`]): the patterns.

    Returns:
        `dict`: under `counts`, for `"all"`, `"positive"` and `"negative"` trajectories as far as there are any, a
        [`label_counts`]; under `differences`, with trajectories of both labels, for each pattern the share in negative
        minus that in positive ones, with its interval, p-value and the p-value after Holm's correction for the number
        of patterns.
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
    Counts of some trajectories.

    Returns:
        `dict`: `trajectories`, `problems`; `with_any` (share that shows any pattern) and `per_trajectory` (mean number
        of patterns), each with `_ci`; `patterns` and `groups`, for each the `count` of trajectories that show it and
        their `share` with `share_ci`; and `diversity`, see [`diversity`]. Intervals are at 95 % and treat the
        trajectories of a question as dependent.
    """
    problems = [item.problem for item in items]
    numbers = [len(item.patterns) for item in items]

    def share(ids: set[str]) -> dict[str, Any]:
        values = [not ids.isdisjoint(item.patterns) for item in items]
        return {"count": sum(values), **_estimate("share", grouped_mean(values, problems, bounds=(0, 1)))}

    groups = {name: {item.id for item in taxonomy.patterns if item.group == name} for name in taxonomy.groups}
    return {
        "trajectories": len(items),
        "problems": len(set(problems)),
        **_estimate("with_any", grouped_mean([number > 0 for number in numbers], problems, bounds=(0, 1))),
        **_estimate("per_trajectory", grouped_mean(numbers, problems)),
        "patterns": {pattern: share({pattern}) for pattern in taxonomy.ids},
        "groups": {name: share(ids) for name, ids in groups.items()},
        "diversity": diversity(items),
    }


def diversity(items: Sequence[Annotated]) -> dict[str, Any]:
    """
    How evenly the mentions of patterns spread over the patterns.

    Returns:
        `dict`: `mentions`; `distinct`, the number of patterns that occur; `entropy` of the distribution of mentions
        over patterns, in nats, with `entropy_ci`; and `effective_patterns`, its exponential (Hill's number of order
        1), with `effective_patterns_ci`: so many equally frequent patterns would have this entropy. It is the plug-in
        estimate, which is too low by about `(distinct - 1) / (2 * mentions)` nats. `None` without mentions.
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
    Difference of the means of two sets of samples that may come from the same questions.

    The standard error is the cluster-robust one of the difference of two ratio estimates, the quantile Student's with
    one degree of freedom less than there are questions.

    Args:
        values (`list[float]`): one value for each sample.
        in_second (`list[bool]`): whether the sample is of the second set; both have at least one.
        groups (`list[Hashable]`): the question of each sample.
        level (`float`, *optional*, defaults to `0.95`): confidence level.

    Returns:
        `dict`: `difference`, mean of the second set minus that of the first; `difference_ci`; `p`, two-sided, of no
        difference. The latter two are `None` with fewer than two questions; `p` is 1 if nothing varies.
    """
    values, second = np.asarray(values, dtype=float), np.asarray(in_second, dtype=bool)
    number: dict[Hashable, int] = {}
    index = np.array([number.setdefault(group, len(number)) for group in groups])
    means = {part: float(values[second == part].mean()) for part in (False, True)}
    residual = np.where(second, 1.0, -1.0) * (values - np.where(second, means[True], means[False]))
    influence = np.bincount(index, residual / np.where(second, second.sum(), (~second).sum()))
    difference, count = means[True] - means[False], len(number)
    if count < 2:
        return {"difference": difference, "difference_ci": None, "p": None}
    error = math.sqrt(count / (count - 1) * float(influence @ influence))
    half = student_quantile(0.5 + level / 2, count - 1) * error
    return {
        "difference": difference,
        "difference_ci": [max(-1.0, difference - half), min(1.0, difference + half)],
        "p": _two_sided(difference / error, count - 1) if error > 1e-15 else 1.0,
    }


def _two_sided(t: float, degrees: int) -> float:
    """P(|T| >= |t|) of Student's distribution."""
    from scipy.special import stdtr

    return float(2 * stdtr(degrees, -abs(t)))


def _estimate(name: str, estimate: Estimate) -> dict[str, Any]:
    return {name: estimate.mean, f"{name}_ci": [estimate.low, estimate.high] if estimate.n_groups > 1 else None}
