"""Numbered rows as they stand in a file (JSONL, JSON, Parquet) or on the Hub, one at a time."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from ..errors import UserError
from .jsonl import MalformedLine, read_jsonl
from .paths import FILE_SUFFIXES


_CHUNK = 1 << 20
# A number, a literal or an escape that the end of a chunk cuts is never longer
_TAIL = 32
_PARQUET_BATCH = 1024
_BLANK = " \t\n\r"

NumberedRows = Iterator[tuple[int, dict[str, Any]]]
OnMalformed = Callable[[MalformedLine], None] | None


def read_file(path: Path, on_malformed: OnMalformed = None) -> NumberedRows:
    """
    The rows of a `.jsonl`, `.json` or `.parquet` file with their line (JSONL) or row numbers, counted from 1. What is
    in memory at a time is a line, a megabyte and one row of a JSON list, or 1,024 rows of a Parquet file.

    Args:
        path (`Path`): the file.
        on_malformed (`Callable`, *optional*): called with each line or element that is not a JSON object, which is
            then skipped. What follows a syntax error in a JSON list cannot be read. By default the first is raised.

    Raises:
        UserError: the file is missing, unreadable or of no known kind.
        MalformedLine: something in it is not a JSON object, and `on_malformed` was not given.
    """
    if path.suffix == ".jsonl":
        return read_jsonl(path, on_malformed)
    if not path.is_file():
        raise UserError(f"{path}: cannot be read ({'Is a directory' if path.is_dir() else 'No such file'})")
    if path.suffix == ".json":
        return _read_json(path, on_malformed)
    if path.suffix == ".parquet":
        return _read_parquet(path)
    raise UserError(f"{path}: unknown kind of file; expected {', '.join(FILE_SUFFIXES)}")


def read_hub(name: str, split: str, config_name: str | None, streaming: bool) -> NumberedRows:
    """
    The rows of a data set on the Hub, numbered from 1.

    Args:
        name (`str`): the repository.
        split (`str`): the split.
        config_name (`str`, *optional*): the configuration.
        streaming (`bool`): read over the network row by row, rather than download all of it first.

    Raises:
        UserError: the data set or the split does not exist or cannot be reached.
    """
    import datasets

    try:
        dataset = datasets.load_dataset(name, config_name, split=split, streaming=streaming)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{name}: neither a local file nor a data set that the Hub gives us ({reason})") from error
    yield from enumerate(dataset, start=1)


def _read_parquet(path: Path) -> NumberedRows:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(batch_size=_PARQUET_BATCH):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error})") from error


def _read_json(path: Path, on_malformed: OnMalformed) -> NumberedRows:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, element in enumerate(_elements(path, _Window(file)), start=1):
                if isinstance(element, dict):
                    yield number, element
                    continue
                problem = f"expected an object, found {type(element).__name__}"
                malformed = MalformedLine(path, number, problem, json.dumps(element, ensure_ascii=False), unit="row")
                if on_malformed is None:
                    raise malformed
                on_malformed(malformed)
    except MalformedLine as error:
        if on_malformed is None:
            raise
        on_malformed(error)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not valid UTF-8 ({error.reason} at byte {error.start + 1})") from error


class _Window:
    """The part of a text file that is looked at: it grows at its end and is cut off at its start."""

    def __init__(self, file: TextIO):
        self._file = file
        self._lines = 0
        self._column = 0
        self.text = ""
        self.at_end = False

    def grow(self) -> None:
        more = self._file.read(max(_CHUNK, len(self.text)))
        self.at_end = not more
        self.text += more

    def cut(self, length: int) -> None:
        self._lines, self._column = self._place(length)
        self.text = self.text[length:]

    def skip_blanks(self, start: int) -> int:
        """The position of the next character that is not blank, `len(text)` at the end of the file."""
        while True:
            while start < len(self.text) and self.text[start] in _BLANK:
                start += 1
            if start < len(self.text) or self.at_end:
                return start
            self.grow()

    def _place(self, position: int) -> tuple[int, int]:
        lines = self.text.count("\n", 0, position)
        column = position - self.text.rfind("\n", 0, position) - 1 if lines else self._column + position
        return self._lines + lines, column

    def malformed(self, path: Path, problem: str, position: int, start: int) -> MalformedLine:
        line, column = self._place(min(position, len(self.text)))
        text = self.text[start : start + 1000]
        return MalformedLine(path, line + 1, f"not valid JSON ({problem} at column {column + 1})", text)


def _elements(path: Path, window: _Window) -> Iterator[Any]:
    """The elements of the list in a JSON file."""
    decoder = json.JSONDecoder()
    start = window.skip_blanks(0)
    if window.text[start : start + 1] != "[":
        found = {"{": "dict", '"': "str", "": "nothing"}.get(window.text[start : start + 1], "something else")
        lines = "; a file with one object per line is named .jsonl" if found == "dict" else ""
        raise UserError(f"{path}: expected a list of objects, found {found}{lines}")
    start = window.skip_blanks(start + 1)
    if window.text[start : start + 1] == "]":
        start += 1
    else:
        while True:
            element, end = _decode(path, window, decoder, start)
            yield element
            end = window.skip_blanks(end)
            mark = window.text[end : end + 1]
            if mark == "]":
                start = end + 1
                break
            if mark != ",":
                raise window.malformed(path, "Expecting ',' delimiter", end, end)
            start = window.skip_blanks(end + 1)
            if start > _CHUNK // 2:
                window.cut(start)
                start = 0
    start = window.skip_blanks(start)
    if start < len(window.text):
        raise window.malformed(path, "Extra data", start, start)


def _decode(path: Path, window: _Window, decoder: json.JSONDecoder, start: int) -> tuple[Any, int]:
    while True:
        try:
            element, end = decoder.raw_decode(window.text, start)
            if end < len(window.text) or window.at_end:
                return element, end
        except RecursionError as error:
            raise window.malformed(path, "nested too deeply", start, start) from error
        except json.JSONDecodeError as error:
            cut_off = error.msg.startswith("Unterminated string") or error.pos >= len(window.text) - _TAIL
            if window.at_end or not cut_off:
                raise window.malformed(path, error.msg, error.pos, start) from error
        except ValueError as error:
            raise window.malformed(path, str(error), start, start) from error
        window.grow()
