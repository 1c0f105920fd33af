"""Answers that only say what is to be computed: integrals, sums, limits, greatest common divisors."""

import re

from .latex import RECURRING


_OPERATIONS = re.compile(
    r"\\(?:i*int|oint|sum|prod|lim|gcd|lcm|det|max|min|bigcup|bigcap|ldots|cdots|dots)(?![a-zA-Z])"
    r"|\\begin\s*\{[vV]matrix\}|(?<![a-zA-Z\\])(?:gcd|lcm|GCD|LCM|max|min)\s*\("
)
_DOTS = re.compile(r"\\[lc]?dots")
_SUBSCRIPT = re.compile(r"_\s*\{[^{}]*\}")


def is_unevaluated(prediction: str, gold: str) -> bool:
    """Whether an answer only says what is to be computed, an integral, a sum, a gcd, and the gold answer does not."""
    if "_" in prediction:
        prediction = _SUBSCRIPT.sub("", prediction)
    if "dots" in prediction:
        prediction = RECURRING.sub("", prediction)
    left, there = (
        frozenset(_DOTS.sub("dots", found) for found in _OPERATIONS.findall(text))
        for text in (prediction.rpartition("=")[2], gold)
    )
    return bool(left) and not left <= there
