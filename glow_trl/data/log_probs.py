"""
Log-probabilities that travel with trajectories: a column `log_probs` of two bytes a token, and beside it
`completion_ids`, the tokens that they belong to.

A log-probability is that of the model itself, at temperature 1 and over the whole vocabulary, in nats. It is kept in
steps of 1/2048: what is read differs from what was written by 0.00025 at most, and is never below -32.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import UserError


LOG_PROBS, COMPLETION_IDS = "log_probs", "completion_ids"
#: The code of a token whose log-probability is not known.
UNKNOWN = 65535
#: Codes count in steps of one nat divided by this.
STEPS = 2048

# A sum in float32 may end this much above 0
_ROUNDING = 1e-4
_CODE, _ID = np.dtype("<u2"), np.dtype("<u4")

#: A column's value: base64 of its numbers, or the numbers themselves (as JSON, too).
Numbers = str | bytes | Sequence[float | None] | np.ndarray


def encode_log_probs(values: Sequence[float | None] | np.ndarray) -> str:
    """Log-probabilities as text; `None` for one that is not known. Raises `UserError` for NaN and what is above 0."""
    return _to_text(_codes(values))


def encode_token_ids(ids: Sequence[int] | np.ndarray) -> str:
    """Token ids as text."""
    return _to_text(_ids(ids))


def decode_log_probs(column: Numbers) -> np.ndarray:
    """Log-probabilities of a row's `log_probs`, float32; NaN where one is not known. Raises `UserError` for none."""
    return log_probs_of(read_codes(column))


def decode_token_ids(column: Numbers) -> np.ndarray:
    """Token ids of a row's `completion_ids`, int64. Raises `UserError` for what are none."""
    numbers = _from_text(column, _ID, COMPLETION_IDS)
    return (_ids(column) if numbers is None else numbers).astype(np.int64)


def read_codes(column: Numbers) -> np.ndarray:
    """The codes of a row's `log_probs`, uint16: see [`log_probs_of`]. Raises `UserError` for what are none."""
    numbers = _from_text(column, _CODE, LOG_PROBS)
    return (_codes(column) if numbers is None else numbers).astype(np.uint16, copy=False)


def log_probs_of(codes: np.ndarray) -> np.ndarray:
    """The log-probabilities that codes stand for, float32; NaN for [`UNKNOWN`]."""
    return np.where(codes == UNKNOWN, np.float32(np.nan), codes.astype(np.float32) / -STEPS)


def row_columns(ids: Sequence[int] | np.ndarray, log_probs: Sequence[float | None] | np.ndarray) -> dict[str, str]:
    """The two columns of a row, of a completion's tokens and their log-probabilities. Raises `UserError` where these
    are not as many as those."""
    _check_lengths(len(log_probs), len(ids))
    return {LOG_PROBS: encode_log_probs(log_probs), COMPLETION_IDS: encode_token_ids(ids)}


def read_row(row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The token ids (int64) of a row's two columns and the codes (uint16) of their log-probabilities. Raises
    `UserError` where they cannot be read, or one has more than the other."""
    codes, ids = read_codes(row[LOG_PROBS]), decode_token_ids(row[COMPLETION_IDS])
    _check_lengths(len(codes), len(ids))
    return ids, codes


def _check_lengths(log_probs: int, ids: int) -> None:
    if log_probs != ids:
        raise UserError(f"{LOG_PROBS} has {log_probs} values and {COMPLETION_IDS} {ids}: there must be one for each")


def _to_text(numbers: np.ndarray) -> str:
    return base64.b64encode(numbers.tobytes()).decode("ascii")


def _from_text(column: Numbers, kind: np.dtype, name: str) -> np.ndarray | None:
    """The numbers of a text in base64; `None` for a column that is a list of them."""
    if isinstance(column, str | bytes):
        try:
            return np.frombuffer(base64.b64decode(column, validate=True), kind)
        except (binascii.Error, ValueError) as error:
            # A table keeps lists in a column of texts as JSON
            if column[:1] in ("[", b"["):
                return None
            raise UserError(
                f"{name}: the text {_shown(column)} is damaged ({error}); expected base64 of {kind.itemsize} bytes a "
                "token, or a list of numbers"
            ) from error
    return None


def _codes(values: Any) -> np.ndarray:
    given, numbers = _read_list(values, LOG_PROBS)
    gaps = np.array([value is None for value in given], dtype=bool) if given.dtype == object else np.False_
    wrong = ~(numbers <= _ROUNDING) & ~gaps
    if wrong.any():
        place = int(wrong.argmax())
        raise UserError(
            f"{LOG_PROBS}: the value of token {place + 1} is {numbers[place]}; a log-probability is at most 0, and "
            "null where it is not known"
        )
    codes = np.rint(np.clip(np.where(gaps, 0.0, numbers), -(UNKNOWN - 1) / STEPS, 0.0) * -STEPS)
    return np.where(gaps, UNKNOWN, codes).astype(_CODE)


def _ids(values: Any) -> np.ndarray:
    _, numbers = _read_list(values, COMPLETION_IDS)
    wrong = ~((numbers >= 0) & (numbers < 2**32) & (numbers == np.floor(numbers)))
    if wrong.any():
        raise UserError(f"{COMPLETION_IDS}: {numbers[int(wrong.argmax())]:g} is no token id")
    return numbers.astype(_ID)


def _read_list(values: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The values of a list of numbers and `None`, which may be JSON: as they are, and as float64 (`None` as NaN)."""
    try:
        given = np.asarray(json.loads(values) if isinstance(values, str | bytes) else values)
        if given.ndim == 1 and (given.dtype.kind in "iufO" or not len(given)):
            return given, given.astype(np.float64)
    except (TypeError, ValueError, OverflowError):  # no JSON, lists of several lengths, texts
        pass
    raise UserError(f"{name}: {_shown(values)} is no list of numbers")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
