"""Policy entropy of arms and stages side by side, with the protocol that it was measured by."""

from typing import Any

from ..statistics.pairing import relative_change
from .run_data import STAGES, RunData, StageData, rows_of


POOLED = "all benchmarks"


def entropy_section(data: RunData) -> dict[str, Any] | None:
    """
    Entropy of each arm and stage on each benchmark, and relative changes with intervals by question.

    Returns:
        `dict`, or `None` where no evaluation measured it: `columns` of `(arm, stage)`; `rows` with `name`, `values`
        (nats per token, one a column) and `changes`; `pairs`, what the changes compare, as
        `((arm, stage), (arm, stage))`; `protocols`, in words, and the `protocols_differ`.
    """
    columns = [(name, stage) for name, arm in data.arms.items() for stage in STAGES if stage in arm.stages]
    measured = {column: _measured(data, *column) for column in columns}
    columns = [
        column for column in columns if any(row.get("entropy") is not None for row in measured[column].values())
    ]
    if not columns:
        return None
    names = [
        name for name in data.benchmarks if any("entropy" in measured[column].get(name, {}) for column in columns)
    ]
    tokens = {
        (column, name): _by_question(data.arms[column[0]].stages[column[1]], name)
        for column in columns
        for name in names
    }
    pairs = _pairs(columns)
    rows = []
    for name in names:
        values = [measured[column].get(name, {}).get("entropy") for column in columns]
        changes = [_change(tokens[first, name], tokens[second, name]) for first, second in pairs]
        rows.append({"name": name, "values": values, "changes": changes, "pooled": False})
    if len(names) > 1:
        pooled = {
            column: {(name, key): value for name in names for key, value in tokens[column, name].items()}
            for column in columns
        }
        values = [_mean(pooled[column]) for column in columns]
        changes = [_change(pooled[first], pooled[second]) for first, second in pairs]
        if any(value is not None for value in values):
            rows.append({"name": POOLED, "values": values, "changes": changes, "pooled": True})
    protocols = list(
        dict.fromkeys(
            text
            for column in columns
            for name in names
            if (text := _protocol(measured[column].get(name, {}).get("entropy_protocol")))
        )
    )
    return {"columns": columns, "rows": rows, "pairs": pairs, "protocols": protocols}


def _measured(data: RunData, arm: str, stage: str) -> dict[str, dict[str, Any]]:
    return (data.arms[arm].stages[stage].results or {}).get("benchmarks", {})


def _pairs(columns: list[tuple[str, str]]) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """What is compared: arms after SFT with the one trained on positives (or the first), then GRPO with SFT."""
    after_sft = [column for column in columns if column[1] == STAGES[0]]
    pairs = []
    if len(after_sft) > 1:
        reference = next((column for column in after_sft if column[0] == "positive"), after_sft[0])
        pairs += [(reference, column) for column in after_sft if column != reference]
    pairs += [(column, (column[0], STAGES[1])) for column in after_sft if (column[0], STAGES[1]) in columns]
    return pairs


def _by_question(stage: StageData, benchmark: str) -> dict[Any, tuple[float, float]]:
    """Sum of the entropies of a question's tokens, and their number, by the question's index."""
    sums: dict[Any, tuple[float, float]] = {}
    for row in rows_of(stage.evaluation_folder / f"entropy_{benchmark}.jsonl"):
        if isinstance(row.get("entropy"), int | float) and row.get("n_tokens"):
            total, count = sums.get(row.get("index"), (0.0, 0.0))
            sums[row.get("index")] = (total + row["entropy"] * row["n_tokens"], count + row["n_tokens"])
    return sums


def _mean(sums: dict[Any, tuple[float, float]]) -> float | None:
    tokens = sum(count for _, count in sums.values())
    return sum(total for total, _ in sums.values()) / tokens if tokens else None


def _change(first: dict[Any, tuple[float, float]], second: dict[Any, tuple[float, float]]) -> dict[str, Any] | None:
    common = [key for key in first if key in second]
    if len(common) < 2:
        return None
    one, two = ([side[key] for key in common] for side in (first, second))
    try:
        change = relative_change(tuple(zip(*one, strict=True)), tuple(zip(*two, strict=True)))
    except ValueError:
        return None
    return {"mean": change.mean, "interval": [change.low, change.high], "questions": len(common)}


def _protocol(protocol: dict[str, Any] | None) -> str | None:
    if not protocol:
        return None
    return (
        f"temperature {protocol.get('temperature')}, top-p {protocol.get('top_p')}, at most "
        f"{protocol.get('max_new_tokens')} new tokens"
    )
