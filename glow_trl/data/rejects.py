"""Rows that cannot be used: named, counted and put aside."""

import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from .jsonl import JsonlWriter


_LONGEST_TEXT = 10_000


class NoUsableRows(UserError):
    """Every row was rejected, or there was none."""


@dataclass(frozen=True, slots=True)
class Reject:
    """
    A row that cannot be used.

    Attributes:
        file (`str`): the file, or the data set on the Hub with its split.
        line (`int`): number of the line in a JSONL file, of the row otherwise, counted from 1.
        reason (`str`): what is wrong, in the same words for all rows of which it is true.
        detail (`str`): what is particular to this row.
        row (`dict`, *optional*): the row, if it is one.
        text (`str`, *optional*): what stands there otherwise.
        unit (`str`): `"line"` or `"row"`.
    """

    file: str
    line: int
    reason: str
    detail: str = ""
    row: dict[str, Any] | None = None
    text: str | None = None
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.line}: {self.reason}{self.detail}"

    def as_dict(self) -> dict[str, Any]:
        """The reject as a row of `rejects.jsonl`: `file`, `line`, `reason`, `detail`, and `row` or `text`."""
        content: dict[str, Any] = {"file": self.file, "line": self.line, "reason": self.reason}
        if self.detail:
            content["detail"] = self.detail.lstrip(";, ")
        if self.row is not None:
            content["row"] = self.row
        if self.text is not None:
            content["text"] = self.text[:_LONGEST_TEXT]
        return content


class RejectsFile:
    """
    The file of a stage's rejects, written inside a `with` block; call it with each [`Reject`]. It appears under its
    name when the block ends, also when that is by the error that no row is usable, [`NoUsableRows`].

    Args:
        path (`str` or `os.PathLike`): the file, usually `rejects.jsonl` in the stage's folder.

    Attributes:
        counts (`Counter`): number of rejects by reason.
    """

    def __init__(self, path: str | os.PathLike):
        self.counts: Counter[str] = Counter()
        self._writer = JsonlWriter(path)

    def __enter__(self) -> "RejectsFile":
        self._writer.__enter__()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, NoUsableRows):
            self._writer.__exit__(None, None, None)
        else:
            self._writer.__exit__(kind, error, trace)

    @property
    def count(self) -> int:
        """Number of rejects."""
        return self.counts.total()

    def __call__(self, reject: Reject) -> None:
        self.counts[reject.reason] += 1
        self._writer.write(reject.as_dict())
