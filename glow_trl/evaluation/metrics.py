"""From judged completions to the numbers of `results.json`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..statistics.estimates import Estimate, grouped_mean, grouped_median, grouped_ratio, majority_at_k, pass_at_k
from ..statistics.pairing import combined
from ..verifiers.verdict import BAD_GOLD, ERROR, NO_ANSWER, TIMEOUT
from .paired import entropy_sums


_UNJUDGED = (TIMEOUT, ERROR, BAD_GOLD)


def benchmark_metrics(
    rows: Sequence[dict[str, Any]], k_values: Sequence[int], votes: Sequence[Any] | None = None
) -> dict[str, Any]:
    """Metrics of one benchmark.

    A sample whose comparison timed out or broke earns nothing; the share of such samples is in `"unjudged"`. Samples
    with an unusable gold answer (`verdict["correct"]` is `None`) are left out of accuracy altogether.

    Args:
        rows (`Sequence[dict]`):
            Generation rows: `index` (the question's number), `n_tokens`, `finish_reason` and `verdict`.
        k_values (`Sequence[int]`):
            The k of pass@k and majority@k. A question with fewer judged samples than k is left out of that figure.
        votes (`Sequence`, *optional*):
            What each row votes for, `None` for no answer; see [`voting.answer_groups`]. Without it there is no
            majority@k.

    Returns:
        `dict`: `n` (questions), `samples` (of each), and, each with its 95 % interval under the name plus `_ci`:
        `pass@k`, `majority@k`, `truncated`, `no_answer`, `unjudged`, and in tokens `response_length`,
        `response_length_correct`, `response_length_incorrect` and the same plus `_median`.
    """
    questions: dict[int, list[int]] = {}
    for position, row in enumerate(rows):
        questions.setdefault(row["index"], []).append(position)
    groups = [row["index"] for row in rows]
    correct = [row["verdict"]["correct"] for row in rows]
    judged = {
        index: [position for position in positions if correct[position] is not None]
        for index, positions in questions.items()
    }
    metrics: dict[str, Any] = {"n": len(questions), "samples": max(map(len, questions.values()))}
    for k in k_values:
        kept = [positions for positions in judged.values() if len(positions) >= k]
        if not kept:
            continue
        drawn = np.array([len(positions) for positions in kept])
        right = np.array([sum(bool(correct[position]) for position in positions) for positions in kept])
        metrics |= grouped_mean(pass_at_k(drawn, right, k), bounds=(0, 1)).as_entry(f"pass@{k}")
        if votes is not None and k > 1:
            accuracies = [
                majority_at_k(
                    [votes[position] for position in positions], [correct[position] for position in positions], k
                )
                for positions in kept
            ]
            metrics |= grouped_mean(accuracies, bounds=(0, 1)).as_entry(f"majority@{k}")
    for suffix, outcomes in (("", (True, False, None)), ("_correct", (True,)), ("_incorrect", (False,))):
        chosen = [row for row, outcome in zip(rows, correct, strict=True) if outcome in outcomes]
        lengths, owners = [row["n_tokens"] for row in chosen], [row["index"] for row in chosen]
        if chosen:
            metrics |= grouped_mean(lengths, owners).as_entry(f"response_length{suffix}")
            metrics |= grouped_median(lengths, owners).as_entry(f"response_length{suffix}_median")
    shares = {
        "truncated": [row["finish_reason"] == "length" for row in rows],
        "no_answer": [row["verdict"]["reason"] == NO_ANSWER for row in rows],
        "unjudged": [row["verdict"]["reason"] in _UNJUDGED for row in rows],
    }
    for name, values in shares.items():
        metrics |= grouped_mean(values, groups, bounds=(0, 1)).as_entry(name)
    return metrics


def subject_metrics(
    rows: Sequence[dict[str, Any]], subject_groups: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Accuracy (`n`, `pass@1` and its interval) for each `subject` of the rows under `subjects`, and for each named
    group of subjects that has any question under `subject_groups`."""
    by_subject: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row.get("subject") is not None and row["verdict"]["correct"] is not None:
            by_subject.setdefault(row["subject"], []).append(row)
    grouped = {
        name: [row for subject in members for row in by_subject.get(subject, [])]
        for name, members in subject_groups.items()
    }
    return {
        "subjects": {name: _accuracy(chosen) for name, chosen in sorted(by_subject.items())},
        "subject_groups": {name: _accuracy(chosen) for name, chosen in grouped.items() if chosen},
    }


def _accuracy(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    groups = [row["index"] for row in rows]
    estimate = grouped_mean([row["verdict"]["correct"] for row in rows], groups, bounds=(0, 1))
    return {"n": estimate.n_groups} | estimate.as_entry("pass@1")


def entropy_summary(rows: Sequence[dict[str, Any]], max_new_tokens: int) -> dict[str, Any]:
    """Mean entropy per token of completions drawn at temperature 1 (rows as in [`entropy_sums`], in nats), its 95 %
    interval, which treats the completions of a question as dependent, and how it was measured; empty without rows."""
    if not rows:
        return {}
    sums = entropy_sums(rows)
    totals, tokens = zip(*sums.values(), strict=True)
    protocol = {
        "questions": len(sums),
        "completions": len(rows),
        "tokens": sum(tokens),
        "temperature": 1.0,
        "top_p": 1.0,
        "max_new_tokens": max_new_tokens,
        "distribution": "whole vocabulary at temperature 1",
        "weighting": "token",
        "unit": "nats",
    }
    return grouped_ratio(totals, tokens).as_entry("entropy") | {"entropy_protocol": protocol}


def domain_averages(benchmarks: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Means over the benchmarks of each of their [`domain_members`], each counted the same: `benchmarks` (their
    names), `n` (questions), and each metric that all of them have, with its interval."""
    averages: dict[str, dict[str, Any]] = {}
    for label, members in domain_members(benchmarks).items():
        rows = [benchmarks[name] for name in members]
        average: dict[str, Any] = {"benchmarks": members, "n": sum(row["n"] for row in rows)}
        for name in rows[0]:
            if all(isinstance(row.get(name), float) for row in rows) and f"{name}_ci" in rows[0]:
                average |= mean_over_benchmarks(rows, name)
        averages[label] = average
    return averages


def domain_members(benchmarks: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Names of the benchmarks by their `group`, and by their `domain`: those `"in"` and those `"out"`."""
    return {
        label: [name for name, row in benchmarks.items() if row[key] == label]
        for key in ("group", "domain")
        for label in dict.fromkeys(row[key] for row in benchmarks.values())
    }


def mean_over_benchmarks(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """The mean of a metric that all of some benchmarks have, and its interval under the name plus `_ci`."""
    intervals = [row.get(f"{name}_ci") for row in rows]
    known = all(intervals)
    ends = intervals if known else [(row[name],) * 2 for row in rows]
    mean = combined([Estimate(row[name], *pair, 2) for row, pair in zip(rows, ends, strict=True)])
    return {name: mean.mean, f"{name}_ci": [mean.low, mean.high] if known else None}


def benchmark_label(name: str, row: Mapping[str, Any]) -> str:
    """A benchmark as tables name it, from its entry in `results.json`: `gsm8k v1 (in)`."""
    version = "" if row.get("version") is None else f" v{row['version']}"
    return f"{name}{version} ({row.get('domain')})"


def largest_k(rows: Iterable[Mapping[str, Any]]) -> int:
    """The largest k for which any entry of `results.json` has pass@k; at least 1."""
    return max((k for row in rows for k in points_by_k(row)), default=1)


def points_by_k(row: Mapping[str, Any], measure: str = "pass") -> dict[int, float]:
    """
    pass@k or majority@k by k, in ascending order. The majority of one is the one; that of two is left out: with tied
    answers sharing the win, it is that of one again.
    """
    prefix = f"{measure}@"
    suffixes = {key: key.removeprefix(prefix) for key in row if key.startswith(prefix)}
    points = {int(suffix): row[key] for key, suffix in suffixes.items() if suffix.isdigit() and row[key] is not None}
    if measure == "majority":
        points.pop(2, None)
        if points and row.get("pass@1") is not None:
            points[1] = row["pass@1"]
    return dict(sorted(points.items()))
