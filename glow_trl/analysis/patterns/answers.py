"""What a judge may answer, and how it is read."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .taxonomy import Taxonomy


CUT_OFF = "cut_off"
NO_JSON = "no_json"
WRONG_FORM = "wrong_form"
UNKNOWN_PATTERN = "unknown_pattern"
NO_QUOTE = "no_quote"
QUOTE_NOT_FOUND = "quote_not_found"
REFUSED = "refused"

_THINK_END = "</think>"
_SPACE = re.compile(r"\s+")


class InvalidAnswer(ValueError):
    """An answer that is not of the required form.

    Attributes:
        reason (`str`): `"cut_off"`, `"no_json"`, `"wrong_form"`, `"unknown_pattern"`, `"no_quote"`,
            `"quote_not_found"` or `"refused"`.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class Found:
    """A pattern that a judge found, its evidence, and whether that stands in the trajectory, up to white space."""

    id: str
    quote: str
    in_text: bool


def parse_answer(
    text: str, taxonomy: Taxonomy, completion: str, finish_reason: str = "stop", require_quotes: bool = False
) -> list[Found]:
    """
    Read a judge's answer: the last JSON object in it that has `patterns`, after any reasoning in `<think>` tags.

    Args:
        text (`str`):
            The answer.
        taxonomy ([`Taxonomy`]):
            The patterns that may be named.
        completion (`str`):
            The trajectory that was judged.
        finish_reason (`str`, *optional*, defaults to `"stop"`):
            `"length"` for an answer that was cut.
        require_quotes (`bool`, *optional*, defaults to `False`):
            Whether a quote that does not stand in the trajectory makes the answer invalid.

    Returns:
        `list[Found]`: in the order of the taxonomy; of a pattern that is named several times the first mention.

    Raises:
        InvalidAnswer: the answer is not of the form `{"patterns": [{"id": ..., "quote": ...}, ...]}`, or names a
            pattern that the taxonomy does not have.
    """
    if finish_reason == REFUSED:
        raise InvalidAnswer(REFUSED, text)
    answer = text.rpartition(_THINK_END)[2]
    objects = [item for item in _json_objects(answer) if "patterns" in item]
    if not objects:
        if finish_reason == "length":
            raise InvalidAnswer(CUT_OFF, "the answer was cut before its JSON object")
        raise InvalidAnswer(NO_JSON, 'no JSON object with "patterns"')
    entries = objects[-1]["patterns"]
    if set(objects[-1]) != {"patterns"} or not isinstance(entries, list):
        raise InvalidAnswer(WRONG_FORM, 'expected {"patterns": [...]} and nothing else')
    haystack = _plain(completion)
    found: dict[str, Found] = {}
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) != {"id", "quote"} or not isinstance(entry["id"], str):
            raise InvalidAnswer(WRONG_FORM, 'expected {"id": ..., "quote": ...} for each pattern')
        if entry["id"] not in taxonomy.ids:
            raise InvalidAnswer(UNKNOWN_PATTERN, f"the taxonomy has no {entry['id']!r}")
        quote = entry["quote"]
        if not isinstance(quote, str) or not quote.strip():
            raise InvalidAnswer(NO_QUOTE, f"no quote for {entry['id']!r}")
        in_text = _plain(quote) in haystack
        if require_quotes and not in_text:
            raise InvalidAnswer(QUOTE_NOT_FOUND, f"the quote for {entry['id']!r} does not stand in the trajectory")
        found.setdefault(entry["id"], Found(entry["id"], quote, in_text))
    return [found[pattern] for pattern in taxonomy.ids if pattern in found]


def _plain(text: str) -> str:
    return _SPACE.sub(" ", text).strip()


def _json_objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text that are not inside another."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield value
        start = text.find("{", end)
