"""
JSON Lines read in columns, which takes a third of the time. A block of lines is read so only where each row is what
Python's `json` makes of it; the caller reads the others row by row.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.json

from ..stages.files import open_input


_BLOCK = 8 << 20
# Others that look like dates Arrow makes dates. Each that a file lacks costs time
_TEXTS = ("problem", "completion", "answer", "sample_id")
_SCHEMA = pyarrow.schema([(name, pyarrow.string()) for name in _TEXTS])
_OPTIONS = pyarrow.json.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="infer")
_LIST = "list of str"
# Of each column the types that no fault is found in, whatever its values
_USABLE = (
    ("is_correct", "bool"),
    ("choices", _LIST),
    ("n_tokens", "int", "float"),
    *((name, "str") for name in ("gold", "kind", "finish_reason")),
)
_DEEP = 1000


def read_blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, some megabytes at a time, with the number of the first, from 1."""
    number = 1
    with open_input(path) as file:
        while block := file.read(_BLOCK) + file.readline():
            yield number, block
            number += block.count(b"\n")


def parse_lines(lines: bytes) -> pyarrow.Table | None:
    """
    The rows of JSON Lines in columns, one row for each line, all of which end with a line break; `None` where they may
    not be what `json.loads` makes of each line, or have other values than texts, truth values, numbers and lists of
    texts. What a row lacks is null.
    """
    count = lines.count(b"\n")
    # No object goes over the end of a line, as none of its parts may end in } and be followed by {
    if not lines.startswith(b"{") or lines.count(b"}\n{") != count - 1 or _may_be_deep(lines):
        return None
    try:
        table = pyarrow.json.read_json(pyarrow.BufferReader(lines), parse_options=_OPTIONS)
        # Arrow takes the bytes of a text as they are
        table.validate(full=True)
    except (pyarrow.ArrowException, UnicodeDecodeError):
        return None
    return table if len(table) == count and all(map(_is_exact, table.columns)) else None


def column_types(table: pyarrow.Table) -> dict[str, str]:
    """What `type(value).__name__` says of the values in the columns, nulls aside, and of those of lists."""
    return {name: _name(table[name].type) for name in table.column_names if table[name].null_count < len(table)}


def is_usable(table: pyarrow.Table, required: Sequence[str]) -> bool:
    """Whether [`~glow_trl.data.columns.find_fault`] surely finds none in any of the rows, and none of them has to be
    changed for its answer to be a text."""
    types = column_types(table)
    if any(name not in types or table[name].null_count for name in required):
        return False
    return all(types.get(name, kind) in (kind, *others) for name, kind, *others in _USABLE)


def split_lines(lines: bytes) -> pyarrow.LargeStringArray:
    """The lines with their ends, as an array over the same bytes."""
    offsets = _offsets(lines)
    buffers = pyarrow.py_buffer(offsets), pyarrow.py_buffer(lines)
    return pyarrow.LargeStringArray.from_buffers(len(offsets) - 1, *buffers)


def join_lines(array: pyarrow.LargeStringArray) -> bytes:
    """The bytes of an array of lines."""
    _, offsets, lines = array.buffers()
    start, end = np.frombuffer(offsets, dtype=np.int64)[[array.offset, array.offset + len(array)]]
    return lines[int(start) : int(end)].to_pybytes()


def conversations(turns: Sequence[tuple[str, str | pyarrow.StringArray]], count: int) -> pyarrow.ListArray:
    """Lists of messages, one for each of `count` rows, of the roles of their turns and what is said in each."""
    roles, contents = zip(*turns, strict=True)
    texts = [pyarrow.repeat(text, count) if isinstance(text, str) else text for text in contents]
    order = np.arange(count * len(turns))
    said = pyarrow.concat_arrays(texts).take(pyarrow.array(order.reshape(len(turns), count).T.ravel()))
    role = pyarrow.array(roles).take(pyarrow.array(order % len(turns)))
    messages = pyarrow.StructArray.from_arrays([role, said], names=["role", "content"])
    return pyarrow.ListArray.from_arrays(pyarrow.array(np.arange(0, len(order) + 1, len(turns)), "int32"), messages)


def _offsets(lines: bytes) -> np.ndarray:
    """Where each line begins, and where the last ends."""
    return np.append(0, np.flatnonzero(np.frombuffer(lines, dtype=np.uint8) == ord("\n")) + 1)


def _may_be_deep(lines: bytes) -> bool:
    """Whether a line has so many brackets that its values might be nested deeper than Arrow's stack goes."""
    offsets = _offsets(lines)
    if np.diff(offsets).max() < 2 * _DEEP:
        return False
    content = np.frombuffer(lines, dtype=np.uint8)
    opening = (content == ord("[")) | (content == ord("{"))
    return bool(np.add.reduceat(opening, offsets[:-1], dtype=np.int64).max() > _DEEP)


def _is_exact(column: pyarrow.ChunkedArray) -> bool:
    kind = column.type
    if pyarrow.types.is_floating(kind):
        # Of whole numbers so large, and of NaN, Arrow makes other numbers
        sizes = pyarrow.compute.abs(column)
        return bool(pyarrow.compute.all(pyarrow.compute.less(sizes, 2.0**63), min_count=0).as_py())
    if pyarrow.types.is_list(kind):
        return pyarrow.types.is_string(kind.value_type) and not pyarrow.compute.list_flatten(column).null_count
    return kind in (pyarrow.string(), pyarrow.bool_(), pyarrow.int64(), pyarrow.null()) or (
        # What looks like a date is a text that nobody asks for by its column
        pyarrow.types.is_timestamp(kind)
    )


def _name(kind: pyarrow.DataType) -> str:
    if pyarrow.types.is_list(kind):
        return _LIST
    return {pyarrow.bool_(): "bool", pyarrow.int64(): "int", pyarrow.float64(): "float"}.get(kind, "str")
