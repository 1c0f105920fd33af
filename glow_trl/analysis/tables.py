"""What the analyses found, as tables for the terminal."""

from typing import Any

from ..stages.console import FiguresTable
from ..statistics.numbers import number, percent


def dynamics_table(arm: str, results: dict[str, Any]) -> FiguresTable:
    """Losses by epoch and the last epoch's weights, for each value of each column, as a table for the terminal."""
    epochs = results["epochs"]
    shown = epochs[:1] if len(epochs) == 1 else [epochs[0], epochs[-1]]
    columns = ("count", *(f"loss {epoch}" for epoch in shown), "weight", "at min, %", "never better")
    table = FiguresTable("samples", numbers=columns, title=arm)
    for column, groups in results["groups"].items():
        if column != "all":
            table.add(f"by {column}", bold=True)
        for value, rows in groups.items():
            by_epoch = {row["epoch"]: row for row in rows}
            counts = results["data_map"]["groups"][column][value]
            cells = [value if column == "all" else f"  {value}", f"{counts['samples']:,}"]
            cells += [number(by_epoch[epoch]["loss"], 4) for epoch in shown]
            cells += [number(rows[-1].get("weight"), 3), percent(rows[-1].get("at_min"))]
            table.add(*cells, percent(counts["never_improved_share"]))
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
