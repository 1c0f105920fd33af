"""What a command shows in the terminal while it works, and of what came out."""

import sys
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table


def progress(shown: bool | None = None, console: "Console | None" = None) -> "Progress":
    """Progress bars on standard error; by default where that is a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    shown = sys.stderr.isatty() if shown is None else shown
    return Progress(
        TextColumn("{task.description}"), *columns, console=console or Console(stderr=True), disable=not shown
    )


def figures_table(*names: str, numbers: tuple[str, ...] = (), **options: Any) -> "Table":
    """
    A table for results: columns of `names`, the last of which may be folded, then of `numbers`. Its cells are texts,
    never markup; see [`add_texts`].
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left", **options)
    for name in names[:-1]:
        table.add_column(name, no_wrap=True)
    table.add_column(names[-1], min_width=12, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def add_texts(table: "Table", *cells: str, style: str | None = None) -> None:
    """Add a row of texts, in which brackets stand for themselves."""
    from rich.text import Text

    table.add_row(*map(Text, cells), style=style)
