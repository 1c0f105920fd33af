"""Numbered rows as they stand in a file (JSONL, JSON, Parquet) or on the Hub, one at a time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import MissingDataError, UserError
from ..stages.files import open_input, read_text
from .jsonl import MalformedLine, OnMalformed, read_jsonl
from .paths import FILE_SUFFIXES


_PARQUET_BATCH = 1024
_NOT_LINES = "; a file with one object per line is named .jsonl"

NumberedRows = Iterator[tuple[int, dict[str, Any]]]


def read_file(path: Path, on_malformed: OnMalformed = None) -> NumberedRows:
    """
    The rows of a `.jsonl`, `.json` or `.parquet` file with their line (JSONL) or row numbers, counted from 1. What is
    in memory at a time is a line, 1,024 rows of a Parquet file, or the whole of a JSON file: big ones belong in JSONL.
    What is not a JSON object is treated as in [`~glow_trl.data.read_jsonl`].
    """
    if path.suffix == ".jsonl":
        return read_jsonl(path, on_malformed)
    with open_input(path):
        pass
    if path.suffix == ".json":
        return _read_json(path, on_malformed)
    if path.suffix == ".parquet":
        return _read_parquet(path)
    raise UserError(f"{path}: unknown kind of file; expected {', '.join(FILE_SUFFIXES)}")


def read_hub(name: str, split: str, config_name: str | None, streaming: bool) -> NumberedRows:
    """
    The rows of a data set on the Hub, numbered from 1. With `streaming` they are read over the network one by one,
    rather than downloaded first.
    """
    yield from enumerate(load_hub(name, split, config_name, streaming), start=1)


def load_hub(name: str, split: str, config_name: str | None, streaming: bool = False) -> Any:
    """A data set on the Hub. Raises `UserError` where there is none."""
    import datasets

    try:
        return datasets.load_dataset(name, config_name, split=split, streaming=streaming)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MissingDataError(
            f"{name}: neither a local file nor a data set that the Hub gives us ({reason})"
        ) from error


def _read_parquet(path: Path) -> NumberedRows:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path, pre_buffer=False)
        number = 0
        for batch in file.iter_batches(batch_size=_PARQUET_BATCH, use_threads=False):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error})") from error


def _read_json(path: Path, on_malformed: OnMalformed) -> NumberedRows:
    text = read_text(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        hint = _NOT_LINES if error.msg == "Extra data" else ""
        problem = f"not valid JSON ({error.msg} at column {error.colno})"
        raise UserError(f"{path}, line {error.lineno}: {problem}{hint}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(content, list):
        raise UserError(f"{path}: expected a list of objects, found {type(content).__name__}{_NOT_LINES}")
    for number, element in enumerate(content, start=1):
        if isinstance(element, dict):
            yield number, element
            continue
        problem = f"expected an object, found {type(element).__name__}"
        malformed = MalformedLine(path, number, problem, json.dumps(element, ensure_ascii=False), unit="row")
        if on_malformed is None:
            raise malformed
        on_malformed(malformed)
