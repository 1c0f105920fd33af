"""Rows from local files (JSONL, JSON, Parquet) or from the Hub, with the columns named as this package names them."""

import difflib
import itertools
import json
import os
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from .jsonl import read_jsonl


_FILE_SUFFIXES = (".jsonl", ".json", ".parquet")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}|\$(\w+)")


def expand_path(path: str) -> str:
    """
    Expand `~`, `$NAME`, `${NAME}` and `${NAME:-default}` as a shell would.

    Raises:
        UserError: a variable is not set and has no default.
    """

    def value(match: re.Match) -> str:
        name, default = match[1] or match[3], match[2]
        if os.environ.get(name):
            return os.environ[name]
        if default is None:
            raise UserError(f"{path}: the environment variable {name} is not set")
        return default

    return os.path.expanduser(_VARIABLE.sub(value, path))


def is_local(name: str) -> bool:
    """Whether a data set's name means a local file rather than a repository on the Hub."""
    return name.endswith(_FILE_SUFFIXES) or name.startswith((".", "/", "~")) or Path(name).exists()


def load_rows(
    name: str | Sequence[str],
    *,
    split: str = "train",
    config_name: str | None = None,
    columns: Mapping[str, str] | None = None,
    required: Iterable[str] = (),
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """
    Load rows into memory.

    Args:
        name (`str` or `list[str]`):
            Local `.jsonl`, `.json` (a list of objects) or `.parquet` file, or a data set on the Hub; several are
            concatenated. Environment variables in paths are expanded, see [`expand_path`].
        split (`str`, *optional*, defaults to `"train"`):
            Split of a data set on the Hub.
        config_name (`str`, *optional*):
            Configuration of a data set on the Hub.
        columns (`dict[str, str]`, *optional*):
            Names in the data of columns that are named otherwise there: `{"answer": "gold"}` reads `answer` from
            the column `gold`.
        required (`Iterable[str]`, *optional*):
            Columns, after renaming, that every row must have with a value other than null.
        limit (`int`, *optional*):
            Number of rows to read at most, from the first on.

    Returns:
        `list[dict]`: the rows, with a `sample_id` that is unique over all of them: the one that they bring, or file
        name and line; prefixed with the number of the source where two sources share one. A number in `answer`
        becomes text: the letter of an option where the row has `choices`, which are counted from 0.

    Raises:
        UserError: a file is missing, unreadable or malformed (named by line), a required column is missing (the
            nearest is named), a source repeats a `sample_id`, or there are no rows.
    """
    sources = [name] if isinstance(name, str) else list(name)
    if not sources:
        raise UserError("no data set is named")
    rows: list[dict[str, Any]] = []
    taken: set[str] = set()
    for number, source in enumerate(sources, start=1):
        left = None if limit is None else limit - len(rows)
        if left is not None and left <= 0:
            break
        loaded = _load_source(expand_path(source), split, config_name, columns or {}, tuple(required), left)
        if not loaded:
            raise UserError(f"{source}: the data set is empty")
        ids = {row["sample_id"] for row in loaded}
        if taken & ids:
            for row in loaded:
                row["sample_id"] = f"{number}/{row['sample_id']}"
            ids = {row["sample_id"] for row in loaded}
        taken |= ids
        rows += loaded
    return rows


def _load_source(source, split, config_name, columns, required, limit) -> list[dict[str, Any]]:
    if is_local(source):
        label, numbered = Path(source).stem, _read_file(Path(source))

        def where(number):
            return f"{source}, {'line' if source.endswith('.jsonl') else 'row'} {number}"
    else:
        label, numbered = source, _read_hub(source, split, config_name, streaming=limit is not None)

        def where(number):
            return f"{source} (split {split}), row {number}"

    rows: list[dict[str, Any]] = []
    first_seen: dict[str, int] = {}
    for number, row in itertools.islice(numbered, limit):
        row = rename_columns(row, columns, lambda: where(number))  # noqa: B023 (called at once)
        require_columns(row, required, lambda: where(number))  # noqa: B023
        if isinstance(row.get("answer"), int | float):
            row["answer"] = _number_as_text(row["answer"], row.get("choices"))
        sample_id = row.get("sample_id")
        row["sample_id"] = f"{label}:{number}" if sample_id is None else str(sample_id)
        if row["sample_id"] in first_seen:
            raise UserError(
                f"{where(number)}: sample_id {row['sample_id']!r} was used at {first_seen[row['sample_id']]} already"
            )
        first_seen[row["sample_id"]] = number
        rows.append(row)
    return rows


def rename_columns(row: dict[str, Any], columns: Mapping[str, str], where: Callable[[], str]) -> dict[str, Any]:
    """
    `row` with the columns renamed: each key of `columns` takes the value of the column that it maps to.

    Args:
        row (`dict`): the row; not changed.
        columns (`dict[str, str]`): wanted name to the name in the data.
        where (`Callable`): says where the row comes from, for the error.

    Raises:
        UserError: the row lacks a column that is mapped.
    """
    if not columns:
        return dict(row)
    for given in columns.values():
        if given not in row:
            raise UserError(f"{where()}: no column {given!r}{_nearest(given, row)}; correct `columns`")
    renamed = {key: value for key, value in row.items() if key not in columns.values()}
    return renamed | {wanted: row[given] for wanted, given in columns.items()}


def require_columns(row: Mapping[str, Any], required: Iterable[str], where: Callable[[], str]) -> None:
    """
    Check that a row has the columns that are needed, and that those this package knows have the type it expects.

    Raises:
        UserError: a column is missing, null or of the wrong type.
    """
    for column in required:
        if row.get(column) is None:
            what = "is null" if column in row else f"is missing{_nearest(column, row)}"
            raise UserError(
                f"{where()}: column {column!r} {what}; name the right one with `columns: {{{column}: ...}}`"
            )
    for column in ("problem", "completion"):
        if column in row and row[column] is not None and not isinstance(row[column], str):
            raise UserError(f"{where()}: column {column!r} must be a string, found {type(row[column]).__name__}")
    if row.get("is_correct") is not None and not isinstance(row["is_correct"], bool):
        raise UserError(
            f"{where()}: column 'is_correct' must be true or false, found {type(row['is_correct']).__name__}"
        )


def _number_as_text(answer: int | float, choices: Sequence[str] | None) -> str:
    if choices and type(answer) is int and 0 <= answer < min(len(choices), len(string.ascii_uppercase)):
        return string.ascii_uppercase[answer]
    return str(answer)


def _nearest(name: str, row: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, row, n=1)
    return f" (nearest: {close[0]!r})" if close else f" (columns: {', '.join(map(repr, row)) or 'none'})"


def _read_file(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    if path.suffix == ".jsonl":
        return read_jsonl(path)
    if not path.is_file():
        raise UserError(f"{path}: cannot be read (No such file)")
    if path.suffix == ".json":
        return _read_json(path)
    if path.suffix == ".parquet":
        return _read_parquet(path)
    raise UserError(f"{path}: unknown kind of file; expected {', '.join(_FILE_SUFFIXES)}")


def _read_json(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg} at column {error.colno})"
        ) from error
    if not isinstance(rows, list):
        raise UserError(f"{path}: expected a list of objects, found {type(rows).__name__}")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{path}, row {number}: expected an object, found {type(row).__name__}")
        yield number, row


def _read_parquet(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error})") from error


def _read_hub(name: str, split: str, config_name: str | None, streaming: bool) -> Iterable[tuple[int, dict[str, Any]]]:
    import datasets

    try:
        dataset = datasets.load_dataset(name, config_name, split=split, streaming=streaming)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{name}: neither a local file nor a data set that the Hub gives us ({reason})") from error
    return enumerate(dataset, start=1)
