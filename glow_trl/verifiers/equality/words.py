"""Whether answers in words say the same: case, spaces and punctuation aside, and that there is nothing."""

import re

from .latex import TEXT
from .shapes import Answer, Scalar, Words


_PUNCTUATION = re.compile(r"[^\w\s+\-*/^=<>%.]")
_TO_SPACES = {code: " " for code in range(128) if _PUNCTUATION.match(chr(code))}
_POINT = re.compile(r"\.(?:(?<!\d\.)|(?!\d))")
_SOUGHT = (
    r"(?:(?:real|positive|integer|natural|valid|possible|prime|rational)s? )*(?:solutions?|integers?|functions?|"
    r"numbers?|values?|pairs?|triples?|triplets?|tuples?|polynomials?|primes?|sequences?|answers?)(?: [a-z])?"
)
_NO_SOLUTION = re.compile(
    rf"none(?: exists?)?|(?:the )?empty set|(?:there )?(?:is |are |exists? )?no (?:such )?{_SOUGHT}(?: exists?)?|"
    rf"(?:such )?{_SOUGHT} (?:does|do) not exist"
)
_SYNONYMS = {"dne": "does not exist", "doesn t exist": "does not exist"}


def plain_words(answer: Answer) -> str:
    text = answer.text if isinstance(answer, Words | Scalar) else ""
    if r"\text" in text:
        text = TEXT.sub(r" \1 ", text)
    text = text.translate(_TO_SPACES) if text.isascii() else _PUNCTUATION.sub(" ", text)
    if "." in text:
        text = _POINT.sub(" ", text)
    text = " ".join(text.split())
    return text.lower() if len(text) > 1 else text


def is_none(words: str) -> bool:
    return _NO_SOLUTION.fullmatch(words) is not None


def same_words(prediction: Answer, gold: Answer) -> bool:
    """Whether two answers say the same in words."""
    one, other = (
        _SYNONYMS.get(words, words).removeprefix("all ") for words in (plain_words(prediction), plain_words(gold))
    )
    if is_none(one) and is_none(other):
        return True
    return bool(one) and (one == other or one.replace(" ", "") == other.replace(" ", ""))
