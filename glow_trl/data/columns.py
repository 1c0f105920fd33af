"""What a row's columns are called, and what they must hold."""

import math
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import UserError
from ..stages.config import nearest


class Fault(NamedTuple):
    """What is wrong with a row. `reason` names the fault and is the same for all rows that have it; `detail`, what is
    particular to this one and what to do about it."""

    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return self.reason + self.detail


# What trajectories and questions for stage 2 take over from the rows that they are made of
QUESTION_COLUMNS = ("problem", "answer", "kind", "choices", "tolerance", "source")

_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "problem": ((str,), "a string"),
    "completion": ((str,), "a string"),
    "is_correct": ((bool,), "true or false"),
}
_FURTHER_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "answer": ((str, int, float, list), "a string or a number"),
    "choices": ((list, tuple), "a list"),
    "kind": ((str,), "a string"),
    "sample_id": ((str, int, float), "a string or a number"),
    "finish_reason": ((str,), "a string"),
    # A data frame with gaps has made numbers of a column real
    "n_tokens": ((int, float), "a number"),
}


def is_missing(value: Any) -> bool:
    """
    Whether a cell is a gap: `None`, or what a data frame and JSON have in its place, such as NaN, `pandas.NA` and
    `NaT`. The text "nan" is a text.
    """
    if value is None or isinstance(value, str | bool | int) or hasattr(value, "__len__"):
        return value is None
    try:
        return bool(value != value)
    except TypeError:  # pandas.NA is neither equal to itself nor different
        return True


def without_gaps(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with `None` for what is missing, see [`is_missing`]."""
    return {column: None if is_missing(value) else value for column, value in row.items()}


def rename_columns(row: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any] | Fault:
    """
    `row` with the columns renamed: each key of `columns` takes the value of the column that it maps to. Where the row
    lacks such a column, the [`Fault`].
    """
    if not columns:
        return row
    for given in columns.values():
        if given not in row:
            return Fault(f"no column {given!r}", f"{nearest_column(given, row)}; correct `columns`")
    renamed = {key: value for key, value in row.items() if key not in columns.values()}
    return renamed | {wanted: row[given] for wanted, given in columns.items()}


def cut_columns(row: dict[str, Any], patterns: Mapping[str, str]) -> dict[str, Any] | Fault:
    """
    `row` with the texts of some columns cut out, see [`cut`]. Where a pattern does not match, the [`Fault`]. A column
    that is missing or null stays so.
    """
    cuts = {}
    for column, pattern in patterns.items():
        if row.get(column) is not None:
            text = str(row[column])
            cuts[column] = cut(text, pattern)
            if cuts[column] is None:
                return Fault(f"column {column!r} lacks what `patterns` cuts out", f" ({pattern!r}): {text[-60:]!r}")
    return row | cuts


def cut(text: str, pattern: str) -> str | None:
    """What the pattern's last match in a text gives, its first group if there is one; `None` if nothing matches."""
    matches = list(re.finditer(pattern, text))
    if not matches:
        return None
    return (matches[-1].group(1) if matches[-1].re.groups else matches[-1].group()).strip()


def check_pattern(pattern: Any, where: str) -> re.Pattern:
    """The compiled pattern. Raises `UserError` if it is no regular expression."""
    try:
        return re.compile(pattern)
    except (re.error, TypeError) as error:
        raise UserError(f"{where}: {pattern!r} is not a regular expression ({error})") from error


def find_fault(row: Mapping[str, Any], required: Sequence[str], strict: bool = False) -> Fault | None:
    """
    What is wrong with a row: a column that is missing, null or of the wrong type. Of the columns that rows need not
    have, those are looked at too where any is required: a row may have any shape otherwise. With `strict`, required
    texts must not be blank.
    """
    for column in required:
        value = row.get(column)
        if value is None:
            detail = f"; name the right one with `columns: {{{column}: ...}}`"
            if column in row:
                return Fault(f"column {column!r} is null", detail)
            return Fault(f"column {column!r} is missing", nearest_column(column, row) + detail)
    fault = _wrong_type(row, _TYPES)
    if fault is not None or not required:
        return fault
    for column in required:
        value = row[column]
        if strict and isinstance(value, str) and not value.strip():
            return Fault(f"column {column!r} is empty")
    return _wrong_type(row, _FURTHER_TYPES) or find_unusable(row)


def find_unusable(row: Mapping[str, Any]) -> Fault | None:
    """What is wrong with a gold answer or an option that is of the right type."""
    for column in ("answer", "gold"):
        value = row.get(column)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, float) and not math.isfinite(item):
                return Fault(f"column {column!r} must be a finite number", f", found {item}")
            if isinstance(value, list) and not isinstance(item, str | int | float):
                return Fault(f"column {column!r} must be a text, a number or a list of them", f", found {item!r:.40}")
    for option in row.get("choices") or ():
        if is_missing(option) or not isinstance(option, str | int | float):
            return Fault("column 'choices' must be a list of texts", f", found {option!r:.40} in it")
    return None


def _wrong_type(row: Mapping[str, Any], types: Mapping[str, tuple[tuple[type, ...], str]]) -> Fault | None:
    for column, (expected, name) in types.items():
        value = row.get(column)
        if value is not None and not isinstance(value, expected):
            return Fault(f"column {column!r} must be {name}", f", found {type(value).__name__}")
    return None


def present(row: Mapping[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    """What the row has in some columns; those that it lacks, or where it has null, are left out."""
    return {column: row[column] for column in columns if row.get(column) is not None}


def answer_as_text(answer: int | float, choices: Sequence[str] | None) -> str:
    """A number as an answer: the letter of an option where there are `choices`, which are counted from 0."""
    if choices and type(answer) is int and 0 <= answer < min(len(choices), len(string.ascii_uppercase)):
        return string.ascii_uppercase[answer]
    return str(answer)


def nearest_column(name: str, row: Mapping[str, Any]) -> str:
    """The column most like `name`, or else all of them, for an error."""
    return nearest(name, row.keys()) or f"; there are {', '.join(map(repr, row)) or 'none'}"
