"""Policy entropy of arms and stages side by side, with the protocol that it was measured by."""

from typing import Any

from ..evaluation.paired import EntropyPair, entropy_change
from .run_data import STAGES, RunData
from .scores import ScoreBook


POOLED = "all benchmarks"


def entropy_section(data: RunData, book: ScoreBook) -> dict[str, Any] | None:
    """
    Entropy of each arm and stage on each benchmark, and relative changes with intervals by question.

    Returns:
        `dict`, or `None` where no evaluation measured it: `columns` of `(arm, stage)`; `rows` with `name`, `values`
        (nats per token, one a column) and `changes`; `pairs`, what the changes compare, as
        `((arm, stage), (arm, stage))`, and the arm that is the `reference` after SFT (`None` for a single one);
        `protocols`, in words.
    """
    columns = [(name, stage) for name, arm in data.arms.items() for stage in STAGES if stage in arm.stages]
    measured = {
        (name, stage): {benchmark: data.arms[name].stages[stage].summary(benchmark) for benchmark in data.benchmarks}
        for name, stage in columns
    }
    columns = [
        column for column in columns if any(row.get("entropy") is not None for row in measured[column].values())
    ]
    if not columns:
        return None
    names = [name for name in data.benchmarks if any("entropy" in measured[column][name] for column in columns)]
    pairs = _pairs(data, columns)
    rows = []
    for name in names:
        values = [measured[column][name].get("entropy") for column in columns]
        changes = [_change(book.entropies(name, *pair)) for pair in pairs]
        rows.append({"name": name, "values": values, "changes": changes, "pooled": False})
    if len(names) > 1:
        values = [book.mean_entropy(names, column) for column in columns]
        changes = [_change([item for name in names for item in book.entropies(name, *pair)]) for pair in pairs]
        if any(value is not None for value in values):
            rows.append({"name": POOLED, "values": values, "changes": changes, "pooled": True})
    protocols = list(
        dict.fromkeys(
            text
            for column in columns
            for name in names
            if (text := _protocol(measured[column][name].get("entropy_protocol")))
        )
    )
    reference = next((first[0] for first, second in pairs if first[0] != second[0]), None)
    return {"columns": columns, "rows": rows, "pairs": pairs, "reference": reference, "protocols": protocols}


def _pairs(data: RunData, columns: list[tuple[str, str]]) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """What is compared: arms after SFT with the one trained on positives (or the first), then GRPO with SFT."""
    after_sft = [column for column in columns if column[1] == STAGES[0]]
    pairs = []
    if len(after_sft) > 1:
        reference = next((column for column in after_sft if _is_of_positives(data, column[0])), after_sft[0])
        pairs += [(reference, column) for column in after_sft if column != reference]
    pairs += [(column, (column[0], STAGES[1])) for column in after_sft if (column[0], STAGES[1]) in columns]
    return pairs


def _is_of_positives(data: RunData, arm: str) -> bool:
    return (data.arms[arm].stages[STAGES[0]].run.get("config") or {}).get("trajectories") == "positive"


def _change(pairs: list[EntropyPair]) -> dict[str, Any] | None:
    change = entropy_change(pairs)
    return change if change is not None and "relative_change" in change else None


def _protocol(protocol: dict[str, Any] | None) -> str | None:
    if not protocol:
        return None
    return (
        f"temperature {protocol.get('temperature')}, top-p {protocol.get('top_p')}, at most "
        f"{protocol.get('max_new_tokens')} new tokens"
    )
