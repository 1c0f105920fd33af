"""JSON Lines, one object per line, streamed; faults are reported by file and line number."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..errors import UserError


class MalformedLine(UserError):
    """A line of a JSONL file that is not one JSON object.

    Attributes:
        path (`Path`): the file.
        line (`int`): the line's number, counted from 1.
    """

    def __init__(self, path: Path, line: int, problem: str):
        super().__init__(f"{path}, line {line}: {problem}")
        self.path = path
        self.line = line


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
            elif on_malformed is None:
                raise MalformedLine(path, number, problem)
            else:
                on_malformed(MalformedLine(path, number, problem))


def write_jsonl(path: str | os.PathLike, rows: Iterable[dict]) -> int:
    """Write `rows` to `path`, one object per line, and return how many there were.

    The file appears under its name only when it is whole: a reader, or a run that is started again, never sees a
    torn one.

    Raises:
        UserError: the folder cannot be made or written to, or the disk is full.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    count = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    return count
