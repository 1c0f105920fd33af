"""JSON Lines, one object per line, streamed; faults are reported by file and line number."""

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError


_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class MalformedLine(UserError):
    """A line of a JSONL file, or an element of a JSON list, that is not one JSON object.

    Attributes:
        path (`Path`): the file.
        line (`int`): the line's or element's number, counted from 1.
        unit (`str`): `"line"`, or `"row"` for an element of a list.
        problem (`str`): what is wrong with it.
        text (`str`, *optional*): what stands there, as far as it is text.
    """

    def __init__(self, path: Path, line: int, problem: str, text: str | None = None, unit: str = "line"):
        super().__init__(f"{path}, {unit} {line}: {problem}")
        self.path = path
        self.line = line
        self.unit = unit
        self.problem = problem
        self.text = text


def read_jsonl(
    path: str | os.PathLike, on_malformed: Callable[[MalformedLine], None] | None = None
) -> Iterator[tuple[int, dict]]:
    """Yield `(line_number, row)` for every non-blank line of a UTF-8 JSONL file, with one line in memory at a time.

    Args:
        path (`str` or `os.PathLike`): the file.
        on_malformed (`Callable`, *optional*): called with the [`MalformedLine`] of each bad line, which is then
            skipped. By default the first bad line is raised.

    Raises:
        UserError: the file is missing or unreadable.
        MalformedLine: a line is not valid UTF-8, not JSON, or not an object, and `on_malformed` was not given.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    with file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"))
                problem = None if isinstance(row, dict) else f"expected an object, found {type(row).__name__}"
            except UnicodeDecodeError as error:
                problem = f"not valid UTF-8 (byte {error.start + 1} of the line)"
            except json.JSONDecodeError as error:
                problem = f"not valid JSON ({error.msg} at column {error.colno})"
            except RecursionError:
                problem = "nested too deeply"
            except ValueError as error:
                problem = f"not valid JSON ({error})"
            if problem is None:
                yield number, row
                continue
            malformed = MalformedLine(path, number, problem, line.decode("utf-8", "replace").rstrip("\r\n"))
            if on_malformed is None:
                raise malformed
            on_malformed(malformed)


class JsonlWriter:
    """A JSONL file that is written row by row inside a `with` block.

    The file appears under its name only when the block ends without an error: a reader, or a run that is started
    again, never sees a torn one. What there is of it until then has `.partial` behind its name.

    Args:
        path (`str` or `os.PathLike`): the file; its folder is made if need be.

    Attributes:
        count (`int`): number of rows written.

    Raises:
        UserError: the folder cannot be made or written to.
        OSError: the disk is full.

    Example:
    ```python
    >>> with JsonlWriter("rows.jsonl") as file:
    ...     file.write({"problem": "1+1=?"})
    ```
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.count = 0
        self._partial = self.path.with_name(self.path.name + ".partial")

    def __enter__(self) -> "JsonlWriter":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._partial.open("w", encoding="utf-8")
        except OSError as error:
            raise self._failure(error) from error
        return self

    def write(self, row: dict[str, Any]) -> None:
        """Write one row. Values that JSON does not know, such as dates, become text."""
        try:
            try:
                self._file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
            except UnicodeEncodeError:
                # A lone surrogate: JSON can spell it, UTF-8 cannot
                self._file.write(json.dumps(row, default=str) + "\n")
        except OSError as error:
            raise self._failure(error) from error
        self.count += 1

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None:
                self._file.flush()
                os.fsync(self._file.fileno())
            self._file.close()
            if error is None:
                os.replace(self._partial, self.path)
        except OSError as fault:
            if error is None:
                raise self._failure(fault) from fault

    def _failure(self, error: OSError) -> Exception:
        if error.errno in _FULL_DISK:
            return OSError(error.errno, os.strerror(error.errno), str(self.path))
        return UserError(f"{self.path}: cannot be written ({error.strerror or error})")


def write_jsonl(path: str | os.PathLike, rows: Iterable[dict]) -> int:
    """Write `rows` to `path`, one object per line, and return how many there were.

    The file appears under its name only when it is whole, see [`JsonlWriter`].

    Raises:
        UserError: the folder cannot be made or written to.
        OSError: the disk is full.
    """
    with JsonlWriter(path) as file:
        for row in rows:
            file.write(row)
    return file.count
