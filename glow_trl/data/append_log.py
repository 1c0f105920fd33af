"""Results kept as they come, so that a run that was killed computes none of them twice."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from ..errors import UserError


class AppendLog:
    """
    An append-only JSONL file. A last line that was cut off by a kill is dropped on opening.

    Args:
        path (`str` or `os.PathLike`): the file; it is made if it does not exist.

    Attributes:
        rows (`list[dict]`): what the file held when it was opened.

    Raises:
        UserError: the file cannot be read or written to, or holds something else.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.rows: list[dict[str, Any]] = []
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = self.path.open("a+b")
            self._file.seek(0)
            whole = 0
            for number, line in enumerate(self._file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise UserError(
                        f"{self.path}, line {number}: not valid JSON; delete the line, what it held is done again"
                    ) from error
                self.rows.append(row)
                whole += len(line)
            self._file.truncate(whole)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror or error})") from error

    def append(self, *rows: Mapping[str, Any]) -> None:
        """
        Save rows.

        Raises:
            OSError: the disk is full, or went away.
        """
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._file.write(text.encode())
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "AppendLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
