"""What a row says about how it wants to be judged."""

import math
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from ..data.columns import Fault, find_unusable
from ..errors import UserError
from .kinds.registry import KINDS


def find_judging_fault(row: Mapping[str, Any], kind: str) -> Fault | None:
    """What is wrong with a row's `kind` (`kind` where it has none), `choices` or `tolerance`."""
    try:
        KINDS.find(row.get("kind") or kind)
    except UserError as error:
        return Fault("column 'kind' names no verifier", f": {error}")
    answer, choices, tolerance = row.get("answer"), row.get("choices"), row.get("tolerance")
    if answer is not None and not isinstance(answer, str | int | float):
        return Fault("column 'answer' must be a string or a number", f", found {type(answer).__name__}")
    if choices is not None and not isinstance(choices, list | tuple):
        return Fault("column 'choices' must be a list", f", found {type(choices).__name__}")
    if choices is not None and len(choices) > len(ascii_uppercase):
        return Fault("column 'choices' has more options than letters", f": {len(choices)}")
    if tolerance is not None and (
        isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < math.inf
    ):
        return Fault("column 'tolerance' must be a number of 0 or more", f", found {tolerance!r:.40}")
    return find_unusable(row)
