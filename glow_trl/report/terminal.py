"""The results of a run as a table in the terminal."""

from typing import TYPE_CHECKING, Any

from ..evaluation.metrics import benchmark_label
from ..stages.console import FiguresTable, one_line
from ..statistics.numbers import interval, number, percent, points, span
from .changes import BETTER, NEITHER, WORSE, chief_changes, counts, level
from .summary import k_values


if TYPE_CHECKING:
    from rich.console import Console


def print_summary(summary: dict[str, Any], console: "Console") -> None:
    """Print stage x benchmark (accuracy, pass@k, response length, entropy and seconds), what GRPO made better and what
    worse, and what is not as it should be.

    Args:
        summary (`dict`): the content of `summary.json`.
        console (`rich.console.Console`): where to print.
    """
    from rich.text import Text

    several_arms = len(summary["arms"]) > 1
    k = max(k_values(summary), default=1)
    columns = ("accuracy", "95 %", *([f"pass@{k}"] if k > 1 else []), "tokens", "entropy", "seconds")
    table = FiguresTable("stage", "benchmark", numbers=columns, title=f"{summary['recipe']}: results")
    for arm, stages in summary["arms"].items():
        for stage, content in stages.items():
            label = f"{arm} {stage.upper()}" if several_arms else stage.upper()
            rows = list(content["benchmarks"].items()) or [(None, {})]
            for position, (name, row) in enumerate(rows):
                first = position == 0
                benchmark = "not evaluated" if name is None else benchmark_label(name, row)
                cells = [label, benchmark, percent(row.get("pass@1")), interval(row.get("pass@1_ci"))]
                cells += [percent(row.get(f"pass@{k}"))] if k > 1 else []
                cells += [number(row.get("response_length"), 1), number(row.get("entropy"), 3)]
                cells.append(number(content.get("seconds"), 0) if first else "")
                table.add(*cells)
            table.add_section()
    console.print(table)
    for arm, changes in summary["changes"].items():
        if changes:
            console.print(_changes_table(arm if several_arms else "", changes))
    if len(summary["arms"]) == 1:
        console.print("One arm alone compares with nothing: what its SFT was worth shows only beside other arms.\n")
    for trouble in summary["troubles"]:
        console.print(Text(one_line(f"{trouble['mark']}: {trouble['stage']}: {trouble['why']}"), "bold"))


def _changes_table(arm: str, changes: list[dict[str, Any]]) -> FiguresTable:
    """The chief changes of an arm by GRPO, the better and the worse by the same rule."""
    found = counts(changes)
    of_arm = f" of {arm}" if arm else ""
    title = (
        f"Of {found['measures']} measures{of_arm} {found[BETTER]} are better after GRPO and {found[WORSE]} worse; the "
        f"95 % interval excludes zero for {found['better_clear']} and {found['worse_clear']}"
    )
    table = FiguresTable("by GRPO", "measure", numbers=("SFT", "GRPO", "change", "95 %"), title=title)
    for verdict in (WORSE, BETTER, NEITHER):
        for place, item in enumerate(chief_changes(changes, verdict)):
            others = f" and {item['others']} other{'s' * (item['others'] > 1)}" if item["others"] else ""
            unit = " %" if item["relative"] else ""
            table.add(
                "" if place else verdict,
                f"{item['measure']}, {item['benchmark']}{others}",
                level(item, item["before"]),
                level(item, item["after"]),
                f"{points(item['change'])}{unit}",
                span(*item["ci"]) if item["ci"] else "unknown",
            )
    return table
