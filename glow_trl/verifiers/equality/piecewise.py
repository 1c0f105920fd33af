"""Answers by cases, `n/2` for even n and `(n+1)/2` for odd n, compared at sample points."""

import re
from fractions import Fraction

from . import congruences, residues
from .answers import parse, split_relation
from .bound import letters, rename
from .expression import read
from .latex import normalize
from .scalars import equal_scalars
from .shapes import Named, Scalar


MAX_LENGTH = 400
MIN_POINTS = 4

_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textrm)\s*\{([^{}]*)\}")
_CASES = re.compile(r"(?:[^=]*=)?\s*\\begin\s*\{cases\}(.*)\\end\s*\{cases\}\s*\.?", re.DOTALL)
_ROW = re.compile(r"\\\\(?:\s*\[[^\]]*\])?")
_IF = re.compile(r"\s*,?\s*\b(?:if|when|for|where)\b\s*(?!all\b|every\b|any\b)|[\s,]+(?=otherwise\b|else\b)")
_JOINT = re.compile(r"\s*(?:,\s*and\b|,\s*or\b|\band\b|\bor\b|;|,)\s*")
_ELSE = re.compile(r"\s*(?:otherwise|else)\W*")
_PARITY = re.compile(r"\s*(?:all\s+)?([a-zA-Z])?\s*(?:is\s+)?(?:an?\s+)?(even|odd)\s*([a-zA-Z])?\W*")
_NUMBER = re.compile(r"-?\d{1,4}")

Branches = list[tuple[str, str]]


def equal(prediction: str, gold: str) -> bool | None:
    """Whether two answers of which one goes by cases have the same values; `None` where that cannot be told."""
    if len(prediction) > MAX_LENGTH or len(gold) > MAX_LENGTH:
        return None
    one, other = _branches(prediction), _branches(gold)
    if one is None and other is None:
        return None
    conditions = " ".join(condition for _, condition in (*(one or ()), *(other or ())))
    names = letters(_TEXT.sub("", re.sub(r"[a-zA-Z]{2,}", "", conditions.replace("\\", " \\"))))
    if len(names) != 1:
        return None
    (name,) = names
    sides = [
        branches or [(text.rpartition("=")[2], "otherwise")] for branches, text in ((one, prediction), (other, gold))
    ]
    verdicts = [_at(sides, name, point) for point in _points(conditions)]
    if False in verdicts:
        return False
    return True if verdicts.count(True) >= MIN_POINTS else None


def _branches(text: str) -> Branches | None:
    if match := _CASES.fullmatch(text.strip()):
        rows = [row.split("&") for row in _ROW.split(match[1]) if row.strip()]
        found = [(row[0], _TEXT.sub(r" \1 ", "&".join(row[1:]))) for row in rows]
    else:
        flat = " ".join(_TEXT.sub(r" \1 ", text.replace("$", " ")).split())
        pieces = _IF.split(flat)
        if len(pieces) < 3:
            return None
        found = [(pieces[0], "")]
        for piece in pieces[1:-1]:  # the condition of one value, and the next value
            condition, *rest = _JOINT.split(piece)
            if len(rest) != 1:
                return None
            found[-1] = (found[-1][0], condition)
            found.append((rest[0], ""))
        found[-1] = (found[-1][0], pieces[-1])
    found = [
        (value.strip(" ,;.").rpartition("=")[2], _IF.sub(" ", " " + condition).strip(" ,;."))
        for value, condition in found
    ]
    return found if len(found) > 1 and all(value and condition for value, condition in found) else None


def _points(conditions: str) -> list[Fraction]:
    if "even" in conditions or "odd" in conditions or "mod" in conditions:
        return [Fraction(number) for number in range(1, 25)]
    bounds = {Fraction(number) for number in _NUMBER.findall(conditions)} | {Fraction(0)}
    return sorted({bound + step for bound in bounds for step in (-3, Fraction(-2, 3), 0, Fraction(3, 7), 2)})


def _at(sides: list[Branches], name: str, point: Fraction) -> bool | None:
    """Whether both sides have the same value at a point; `None` where one has none."""
    values = []
    for branches in sides:
        value = None
        for text, condition in branches:
            holds = _holds(condition, name, point)
            if holds is None:
                return None
            if holds:
                value = parse(rename(text, name, _written(point)))
                break
        if isinstance(value, Named):
            value = value.value
        if not isinstance(value, Scalar):
            return None
        values.append(value)
    return equal_scalars(*values, lambda *unknown: None)


def _written(point: Fraction) -> str:
    return f"({point})" if point.denominator == 1 else rf"(\frac{{{point.numerator}}}{{{point.denominator}}})"


def _holds(condition: str, name: str, point: Fraction) -> bool | None:
    if _ELSE.fullmatch(condition):
        return True
    if parity := _PARITY.fullmatch(condition):
        return point.denominator == 1 and point.numerator % 2 == (parity[2] == "odd")
    if (found := congruences.classes(condition)) is not None and found[3]:
        return point.denominator == 1 and point.numerator % found[1] in found[2]
    sides, operators = split_relation(normalize(condition))
    values = [read(rename(side, name, _written(point))) for side in sides]
    if not operators or None in values:
        return None
    numbers = [residues.approximate(value) for value in values]
    if None in numbers:
        return None
    tests = {
        "<": float.__lt__,
        "<=": float.__le__,
        ">": float.__gt__,
        ">=": float.__ge__,
        "=": float.__eq__,
        "!=": float.__ne__,
    }
    if not set(operators) <= tests.keys():
        return None
    plain = [float(number[0]) for number in numbers]
    return all(tests[how](a, b) for how, a, b in zip(operators, plain, plain[1:], strict=False))
