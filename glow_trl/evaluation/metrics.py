"""From judged completions to the numbers of `results.json`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..verifiers.verdict import BAD_GOLD, ERROR, NO_ANSWER, TIMEOUT
from .statistics import Estimate, grouped_mean, majority_at_k, pass_at_k


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
        `dict`: the metrics, each share and length with its 95 % interval under the name plus `_ci`.
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
        _add(metrics, f"pass@{k}", grouped_mean(pass_at_k(drawn, right, k), bounds=(0, 1)))
        if votes is not None and k > 1:
            accuracies = [
                majority_at_k(
                    [votes[position] for position in positions], [correct[position] for position in positions], k
                )
                for positions in kept
            ]
            _add(metrics, f"majority@{k}", grouped_mean(accuracies, bounds=(0, 1)))
    _add(metrics, "response_length", grouped_mean([row["n_tokens"] for row in rows], groups))
    shares = {
        "truncated": [row["finish_reason"] == "length" for row in rows],
        "no_answer": [row["verdict"]["reason"] == NO_ANSWER for row in rows],
        "unjudged": [row["verdict"]["reason"] in _UNJUDGED for row in rows],
    }
    for name, values in shares.items():
        metrics[name] = float(np.mean(values))
    return metrics


def _add(metrics: dict[str, Any], name: str, estimate: Estimate) -> None:
    metrics[name] = estimate.mean
    metrics[f"{name}_ci"] = [estimate.low, estimate.high] if estimate.n_groups > 1 else None
