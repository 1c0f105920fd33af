"""JSON Lines, one object per line, streamed; faults are reported by file and line number."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..stages.files import open_input, replacing, write_errors


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


#: Called with each line or element that is left out.
OnMalformed = Callable[[MalformedLine], None] | None


def read_jsonl(path: str | os.PathLike, on_malformed: OnMalformed = None) -> Iterator[tuple[int, dict]]:
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
    with open_input(path) as file:
        yield from numbered_rows(path, file, on_malformed)


def numbered_rows(
    path: Path, lines: Iterable[bytes], on_malformed: OnMalformed = None, first: int = 1
) -> Iterator[tuple[int, dict]]:
    """[`read_jsonl`] of some lines of a file, from that of the number `first` on."""
    for number, line in enumerate(lines, start=first):
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

    def __enter__(self) -> "JsonlWriter":
        with ExitStack() as stack:
            partial = stack.enter_context(replacing(self.path))
            with write_errors(self.path):
                self._file = partial.open("wb")
            stack.callback(self._close)
            self._stack = stack.pop_all()
        return self

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row. Values that JSON does not know, such as dates, become text."""
        with write_errors(self.path):
            self._file.write(encode_row(row))
        self.count += 1

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._stack.__exit__(kind, error, trace)

    def _close(self) -> None:
        with write_errors(self.path):
            self._file.close()


def encode_row(row: Mapping[str, Any]) -> bytes:
    """A row as a line of JSON. Values that JSON does not know become text."""
    try:
        text = json.dumps(row, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:  # a lone surrogate: JSON can spell it, UTF-8 cannot
        text = json.dumps(row, default=str).encode()
    return text + b"\n"


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
