"""What the analyses found, as tables for the terminal."""

from typing import Any

from ..stages.console import FiguresTable
from ..statistics.numbers import number, percent
from .weights import described


def dynamics_table(arm: str, results: dict[str, Any]) -> FiguresTable:
    """Losses by epoch and the last epoch's weights, for each value of each column, as a table for the terminal."""
    epochs = results["epochs"]
    shown = epochs[:1] if len(epochs) == 1 else [epochs[0], epochs[-1]]
    # What says nothing of any sample has no column
    last = [rows[-1] for groups in results["groups"].values() for rows in groups.values()]
    shares = {"at_min": "at min, %", "at_max": "at max, %", "dropped": "dropped, %"}
    shares = {key: title for key, title in shares.items() if any(row.get(key) for row in last)}
    shares |= {"effective_sample_size": "effective, %"}
    columns = ("count", *(f"loss {epoch}" for epoch in shown), "weight", *shares.values(), "never better")
    names, parameters = results["weighting"]["names"], results["weighting"]["parameters"]
    weighting = ", ".join([" × ".join(names), *described(parameters)])
    table = FiguresTable("samples", numbers=columns, title=arm, caption=f"weighting: {weighting}")
    for column, groups in results["groups"].items():
        if column != "all":
            table.add(f"by {column}", bold=True)
        for value, rows in groups.items():
            by_epoch = {row["epoch"]: row for row in rows}
            counts = results["data_map"]["groups"][column][value]
            cells = [value if column == "all" else f"  {value}", f"{counts['samples']:,}"]
            cells += [number(by_epoch[epoch]["loss"], 4) for epoch in shown]
            cells += [number(rows[-1].get("weight"), 3), *(percent(rows[-1].get(key)) for key in shares)]
            table.add(*cells, percent(counts["never_improved_share"]))
    return table


def token_weights_table(results: dict[str, Any]) -> FiguresTable | None:
    """Mean weight of the last epoch's tokens by label and position; `None` where no tokens were weighted."""
    if not results["token_weights"]:
        return None
    epoch, labels = list(results["token_weights"].items())[-1]
    places = range(1, 11)
    table = FiguresTable("tokens", numbers=("count", "weight", *(f"{10 * place} %" for place in places)))
    table.title = f"mean weight of tokens in epoch {epoch}, by tenths of a sample"
    for label, rows in labels.items():
        count = sum(row["tokens"] for row in rows)
        means = {row["position"]: row["weight"] for row in rows}
        mean = sum(row["weight"] * row["tokens"] for row in rows) / count
        table.add(label, f"{count:,}", number(mean, 3), *(number(means.get(place), 3) for place in places))
    return table


def loss_table(results: dict[str, Any]) -> FiguresTable:
    """The losses by column, as a table for the terminal."""
    table = FiguresTable("trajectories", numbers=("count", "loss", "95 %", "median", "per token"))
    for column, groups in results["groups"].items():
        if column != "all":
            table.add(f"by {column}", bold=True)
        for value, row in groups.items():
            ends = "" if row["loss_ci"] is None else "–".join(number(end, 4) for end in row["loss_ci"])
            cells = [value if column == "all" else f"  {value}", f"{row['samples']:,}", number(row["loss"], 4), ends]
            table.add(*cells, number(row["loss_median"], 4), number(row["token_loss"], 4))
    return table
