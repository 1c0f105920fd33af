"""Answers in a format for machines: a JSON object with a field `answer`, a fenced block."""

import json
import re

from .piece import Piece


MAX_FIELD_TEXT = 4000
MAX_OBJECTS = 16

_FENCE_LINE = re.compile(
    r"^[ \t]*+```[ \t]*+(?:text|plaintext|latex|tex|math|json|markdown|md)?[ \t]*+$", re.MULTILINE
)
_KEY = re.compile(r"(?:final|correct)?[ _-]?(?:answer|result|solution|choice)", re.IGNORECASE)
_QUOTED_KEY = re.compile(rf'"{_KEY.pattern}"\s*+:', re.IGNORECASE)
_LATEX_BACKSLASH = re.compile(r"(?<!\\)\\(?=[a-zA-Z]{2}|[()\[\]{}!,;:])")
_SEPARATORS = " \n\t,[]"


def without_fences(text: Piece) -> Piece:
    """The text without the lines that open and close blocks of text; blocks of code stay as they are."""
    fences = _FENCE_LINE.findall(text.text)
    return text.sub(_FENCE_LINE, "").strip() if fences and len(fences) == text.text.count("```") else text


def answer_field(piece: Piece) -> Piece | None:
    """What the field `answer` holds of the JSON object that the text ends with; several differing ones with "or"."""
    text = piece.text
    field = _answer_field(text)
    return None if field is None else piece.read(field, lambda: _values_region(text))


def _values_region(text: str) -> tuple[int, int]:
    """From the first to the last value of a field `answer`, without the quotes around them."""
    tail = Piece(text)[max(0, len(text) - MAX_FIELD_TEXT) :].sub(_LATEX_BACKSLASH, r"\\\\")
    decoder = json.JSONDecoder(strict=False)
    spans = []
    for match in _QUOTED_KEY.finditer(tail.text):
        start = match.end() + len(tail.text[match.end() :]) - len(tail.text[match.end() :].lstrip())
        try:
            _, end = decoder.raw_decode(tail.text, start)
        except (ValueError, RecursionError):
            continue
        quoted = tail.text[start] == '"'
        spans.append((start + quoted, end - quoted))
    return tail.origin(spans[0][0], spans[-1][1]) if spans else (0, len(text))


def _answer_field(text: str) -> str | None:
    if not text.endswith(("}", "]")) or not _QUOTED_KEY.search(text, max(0, len(text) - MAX_FIELD_TEXT)):
        return None
    tail = _LATEX_BACKSLASH.sub(r"\\\\", text[-MAX_FIELD_TEXT:])
    start = tail.find("{")
    for _ in range(MAX_OBJECTS):
        if start < 0:
            return None
        answers = _answers(tail, start)
        if answers is not None:
            return None if "boxed" in tail[:start] else " or ".join(dict.fromkeys(answers)) or None
        start = tail.find("{", start + 1)
    return None


def _answers(text: str, start: int) -> list[str] | None:
    """The answers of the objects that fill the text from `start` on, `None` if anything else is there."""
    answers: list[str] = []

    def collect(pairs: list[tuple[str, object]]) -> dict:
        answers.extend(_as_text(value) for key, value in pairs if _KEY.fullmatch(key) and _as_text(value))
        return dict(pairs)

    decoder = json.JSONDecoder(object_pairs_hook=collect, parse_int=str, parse_float=str, strict=False)
    while start < len(text):
        try:
            _, start = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            return None
        while start < len(text) and text[start] in _SEPARATORS:
            start += 1
    return answers


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(_as_text, value))
    return value.strip() if isinstance(value, str) else ""
