"""Rows kept as they come, so that a run that was killed computes none of them twice."""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import UserError
from ..stages.files import write_errors
from .jsonl import MalformedLine, OnMalformed, encode_row, read_jsonl


# A power failure costs what was appended in so many seconds; a killed process costs nothing
_SYNC_SECONDS = 5.0
_BLOCK = 1 << 16


class AppendLog:
    """
    An append-only JSONL file, made if it does not exist. A last line that was cut off by a kill is dropped on opening.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._synced = time.monotonic()
        with write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = self.path.open("a+b", buffering=0)
            _cut_torn_line(self._file)

    def rows(self, on_malformed: OnMalformed = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """What the file holds, with the lines' numbers; see [`~glow_trl.data.read_jsonl`]."""
        try:
            yield from read_jsonl(self.path, on_malformed)
        except MalformedLine as error:
            raise UserError(f"{error}; delete the line, what it held is done again") from error

    def append(self, *rows: Mapping[str, Any]) -> None:
        """Save rows: all of them, or, where there is no room for all, none."""
        text = memoryview(b"".join(map(encode_row, rows)))
        end = os.fstat(self._file.fileno()).st_size
        try:
            # A disk that is full takes the first part of a line
            while text:
                text = text[self._file.write(text) :]
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(end)
            raise
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self._sync()

    def close(self) -> None:
        """Have the disk keep what was written, and close the file."""
        with self._file:
            self._sync()

    def __enter__(self) -> "AppendLog":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        # A full disk must not hide the error that it was found by
        with contextlib.suppress(OSError) if error is not None else contextlib.nullcontext():
            self.close()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


def _cut_torn_line(file: BinaryIO) -> None:
    end = file.seek(0, os.SEEK_END)
    for stop in range(end, 0, -_BLOCK):
        start = max(0, stop - _BLOCK)
        file.seek(start)
        newline = file.read(stop - start).rfind(b"\n")
        if newline >= 0:
            file.truncate(start + newline + 1)
            return
    file.truncate(0)
