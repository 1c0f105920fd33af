"""The results of a run as a table in the terminal."""

from typing import TYPE_CHECKING, Any

from ..evaluation.metrics import benchmark_label
from ..stages.console import FiguresTable
from ..statistics.numbers import interval, number, percent
from .summary import k_values


if TYPE_CHECKING:
    from rich.console import Console


def print_summary(summary: dict[str, Any], console: "Console") -> None:
    """Print stage x benchmark: accuracy, pass@k, response length, entropy and seconds.

    Args:
        summary (`dict`): the content of `summary.json`.
        console (`rich.console.Console`): where to print.
    """
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
