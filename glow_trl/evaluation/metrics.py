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
        add_estimate(metrics, f"pass@{k}", grouped_mean(pass_at_k(drawn, right, k), bounds=(0, 1)))
        if votes is not None and k > 1:
            accuracies = [
                majority_at_k(
                    [votes[position] for position in positions], [correct[position] for position in positions], k
                )
                for positions in kept
            ]
            add_estimate(metrics, f"majority@{k}", grouped_mean(accuracies, bounds=(0, 1)))
    lengths = np.array([row["n_tokens"] for row in rows], dtype=float)
    _add_lengths(metrics, "response_length", lengths, groups, list(range(len(rows))))
    for name, outcome in (("correct", True), ("incorrect", False)):
        chosen = [position for position in range(len(rows)) if correct[position] is outcome]
        if chosen:
            _add_lengths(metrics, f"response_length_{name}", lengths, groups, chosen)
    shares = {
        "truncated": [row["finish_reason"] == "length" for row in rows],
        "no_answer": [row["verdict"]["reason"] == NO_ANSWER for row in rows],
        "unjudged": [row["verdict"]["reason"] in _UNJUDGED for row in rows],
    }
    for name, values in shares.items():
        add_estimate(metrics, name, grouped_mean(values, groups, bounds=(0, 1)))
    return metrics


def subject_metrics(
    rows: Sequence[dict[str, Any]], subject_groups: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Accuracy for each `subject` of the rows, and for each named group of subjects that has any question.

    Returns:
        `dict`: `{"subjects": {NAME: {"n", "pass@1", "pass@1_ci"}}, "subject_groups": {NAME: {...}}}`.
    """
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
    metrics: dict[str, Any] = {"n": len(set(groups))}
    add_estimate(metrics, "pass@1", grouped_mean([row["verdict"]["correct"] for row in rows], groups, bounds=(0, 1)))
    return metrics


def entropy_summary(rows: Sequence[dict[str, Any]], max_new_tokens: int) -> dict[str, Any]:
    """Mean entropy per token of completions drawn at temperature 1, and how it was measured.

    Args:
        rows (`Sequence[dict]`): completions with `index` (the question's number), `n_tokens`, and `entropy`, the mean
            over its tokens in nats.
        max_new_tokens (`int`): where completions were cut.

    Returns:
        `dict`: `entropy`, the mean over all tokens; `entropy_ci`, its 95 % interval, which treats the completions of a
        question as dependent; and `entropy_protocol`. Empty if there are no rows.
    """
    if not rows:
        return {}
    sums = entropy_sums(rows)
    totals, tokens = zip(*sums.values(), strict=True)
    metrics: dict[str, Any] = {}
    add_estimate(metrics, "entropy", grouped_ratio(totals, tokens))
    metrics["entropy_protocol"] = {
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
    return metrics


def domain_averages(benchmarks: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Means over the benchmarks of each domain group, and of those in and out of domain, each counted the same.

    Args:
        benchmarks (`dict[str, dict]`): the metrics of each, with `group` and `domain`.

    Returns:
        `dict`: by group, `"in"` and `"out"`: `benchmarks` (their names), `n` (questions), and each metric that all of
        them have, with its interval.
    """
    averages: dict[str, dict[str, Any]] = {}
    for key in ("group", "domain"):
        for label in dict.fromkeys(row[key] for row in benchmarks.values()):
            members = {name: row for name, row in benchmarks.items() if row[key] == label}
            rows = list(members.values())
            average: dict[str, Any] = {"benchmarks": list(members), "n": sum(row["n"] for row in rows)}
            for name in rows[0]:
                if all(isinstance(row.get(name), float) for row in rows) and f"{name}_ci" in rows[0]:
                    average |= mean_over_benchmarks(rows, name)
            averages[label] = average
    return averages


def mean_over_benchmarks(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """The mean of a metric that all of some benchmarks have, and its interval under the name plus `_ci`."""
    intervals = [row.get(f"{name}_ci") for row in rows]
    known = all(intervals)
    ends = intervals if known else [(row[name],) * 2 for row in rows]
    mean = combined([Estimate(row[name], *pair, 2) for row, pair in zip(rows, ends, strict=True)])
    return {name: mean.mean, f"{name}_ci": [mean.low, mean.high] if known else None}


def _add_lengths(
    metrics: dict[str, Any], name: str, lengths: np.ndarray, groups: Sequence[int], chosen: Sequence[int]
) -> None:
    """Mean and median of the lengths of some of the rows."""
    values, owners = lengths[chosen], [groups[position] for position in chosen]
    add_estimate(metrics, name, grouped_mean(values, owners))
    add_estimate(metrics, f"{name}_median", grouped_median(values, owners))


def add_estimate(metrics: dict[str, Any], name: str, estimate: Estimate) -> None:
    """Put an estimate into `metrics` as `name`, and its interval as `name` plus `_ci`."""
    metrics[name] = estimate.mean
    metrics[f"{name}_ci"] = [estimate.low, estimate.high] if estimate.n_groups > 1 else None


def benchmark_label(name: str, row: Mapping[str, Any]) -> str:
    """A benchmark as tables name it, from its entry in `results.json`: `gsm8k v1 (in)`."""
    version = "" if row.get("version") is None else f" v{row['version']}"
    return f"{name}{version} ({row.get('domain')})"


def largest_k(rows: Iterable[Mapping[str, Any]]) -> int:
    """The largest k for which any entry of `results.json` has pass@k; at least 1."""
    keys = [key.removeprefix("pass@") for row in rows for key in row if key.startswith("pass@")]
    return max((int(k) for k in keys if k.isdigit()), default=1)
