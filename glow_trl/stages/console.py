"""What a command shows in the terminal while it works, and of what came out."""

import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.progress import Progress
    from rich.text import Text

# C0 but for tab and line break, DEL and C1, separators of lines, marks and overrides of direction, halves of pairs
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


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


def visible(text: str) -> str:
    """
    A text from data, a model or a server for the terminal: control characters, which could move the cursor, change
    what was printed before or the direction of writing, stand as `\\x1b`, line breaks and tabs as they are.
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def say_results(*paths: str | os.PathLike) -> None:
    """The last line of a command that writes: where its results lie."""
    print(visible("results: " + ", ".join(str(path) for path in paths)), flush=True)


class FiguresTable:
    """
    A table of results that is whole at any width: no name and no number of it is cut or broken. It has columns of
    `names`, then of `numbers`; its cells are texts, never markup.

    What is too wide gets headings of several lines and closer columns; then it is laid out in parts, one below the
    other, each with the names; and where the names leave no room, each stands on a line above its numbers.
    """

    def __init__(self, *names: str, numbers: Sequence[str] = (), title: str = "", caption: str = ""):
        self.headings = [*names, *numbers]
        self.num_names = len(names)
        self.title = title
        self.caption = caption
        self.rows: list[list[str]] = []
        self._bold: set[int] = set()
        self._sections: set[int] = set()

    def add(self, *cells: str, bold: bool = False) -> None:
        """Add a row; cells that are left out at its end are empty."""
        if bold:
            self._bold.add(len(self.rows))
        self.rows.append([one_line(cell) for cell in cells] + [""] * (len(self.headings) - len(cells)))

    def add_section(self) -> None:
        """Leave a line free below the last row."""
        self._sections.add(len(self.rows) - 1)

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from rich.text import Text

        if self.title:
            yield Text(one_line(self.title), style="italic")
        yield from self._layout(options.max_width, "-" if options.ascii_only else "─")
        if self.caption:
            yield Text(one_line(self.caption), style="dim italic")
        yield Text()

    def _layout(self, room: int, rule: str) -> "Iterator[Text]":
        from rich.text import Text

        names, numbers = range(self.num_names), range(self.num_names, len(self.headings))
        broken = self._widths(lambda heading: max(map(_width, heading.split()), default=0))
        for widths, gap in ((self._widths(_width), 2), (broken, 2), (broken, 1)):
            if _total(widths, gap) <= room:
                yield from self._part([*names, *numbers], widths, room, rule, gap)
                return
        gap = 2
        taken = _total([widths[index] for index in names], gap) + gap
        beside = _parts(numbers, widths, room - taken, gap)
        above = _parts(numbers, widths, room - gap * self.num_names, gap)
        fits = taken + max((_total([widths[index] for index in part], gap) for part in beside), default=0) <= room
        on_top = not fits or (taken > room / 2 and len(above) < len(beside))
        for position, part in enumerate(above if on_top else beside):
            if position:
                yield Text()
            yield from self._part(part if on_top else [*names, *part], widths, room, rule, gap, on_top)

    def _part(
        self, columns: list[int], widths: list[int], room: int, rule: str, gap: int, above: bool = False
    ) -> "Iterator[Text]":
        from rich.text import Text

        def line(cells: dict[int, str], style: str) -> Text:
            padded = []
            for index, cell in cells.items():
                space = " " * (widths[index] - _width(cell))
                padded.append(cell + space if index < self.num_names else space + cell)
            return Text((indent + (" " * gap).join(padded)).rstrip(), style, overflow="fold")

        indent = " " * gap * self.num_names if above else ""
        stacks = {index: textwrap.wrap(self.headings[index], widths[index]) for index in columns}
        height = max(map(len, stacks.values()), default=0)
        if above:
            yield Text(", ".join(self.headings[: self.num_names]), style="bold")
        for depth in range(-height, 0):
            yield line(
                {index: stack[depth] if -depth <= len(stack) else "" for index, stack in stacks.items()}, "bold"
            )
        yield Text(rule * min(room, len(indent) + _total([widths[index] for index in columns], gap)))
        before: list[str] = []
        for position, row in enumerate(self.rows):
            style = "bold" if position in self._bold else ""
            if any(row[self.num_names :]) and not any(row[index] for index in columns if index >= self.num_names):
                continue
            # What the row above said already is not said again, but for the last name
            names = [
                "" if depth < self.num_names - 1 and row[: depth + 1] == before[: depth + 1] else name
                for depth, name in enumerate(row[: self.num_names])
            ]
            before = row
            if above:
                for depth, name in enumerate(names):
                    pad = " " * gap * depth
                    if name:
                        yield Text(pad + name if _width(pad + name) <= room else name, style, overflow="fold")
            if not above or any(row[self.num_names :]):
                yield line({index: (names + row[self.num_names :])[index] for index in columns}, style)
            if position in self._sections and position + 1 < len(self.rows):
                yield Text()

    def _widths(self, heading_width: Callable[[str], int]) -> list[int]:
        return [
            max([heading_width(heading), 1, *(_width(row[index]) for row in self.rows)])
            for index, heading in enumerate(self.headings)
        ]


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _total(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * max(len(widths) - 1, 0)


def _parts(columns: Sequence[int], widths: Sequence[int], room: int, gap: int) -> list[list[int]]:
    """Columns in as many parts as it takes for each to have room; a part has at least one."""
    parts: list[list[int]] = [[]]
    for index in columns:
        if parts[-1] and _total([widths[other] for other in (*parts[-1], index)], gap) > room:
            parts.append([])
        parts[-1].append(index)
    return parts


def one_line(cell: str) -> str:
    """A cell without breaks of lines and other control characters; a name keeps what it is indented by."""
    text = " " * (len(cell) - len(cell.lstrip(" "))) + " ".join(cell.split())
    return visible(text)
