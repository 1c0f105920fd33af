"""Answers in a format for machines: a JSON object with a field `answer`, a fenced block."""

import json
import re


MAX_FIELD_TEXT = 4000
MAX_OBJECTS = 16

_FENCE_LINE = re.compile(
    r"^[ \t]*+```[ \t]*+(?:text|plaintext|latex|tex|math|json|markdown|md)?[ \t]*+$", re.MULTILINE
)
_KEY = re.compile(r"(?:final|correct)?[ _-]?(?:answer|result|solution|choice)", re.IGNORECASE)
_QUOTED_KEY = re.compile(rf'"{_KEY.pattern}"\s*+:', re.IGNORECASE)
_LATEX_BACKSLASH = re.compile(r"(?<!\\)\\(?=[a-zA-Z]{2}|[()\[\]{}!,;:])")
_SEPARATORS = " \n\t,[]"


def without_fences(text: str) -> str:
    """The text without the lines that open and close blocks of text; blocks of code stay as they are."""
    fences = _FENCE_LINE.findall(text)
    return _FENCE_LINE.sub("", text).strip() if fences and len(fences) == text.count("```") else text


def answer_field(text: str) -> str | None:
    """What the field `answer` holds of the JSON object that the text ends with; several differing ones with "or"."""
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
