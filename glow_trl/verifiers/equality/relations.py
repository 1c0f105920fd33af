"""What an equation or inequality says by itself: an interval, the value of a name, or something still to be solved."""

import re

from . import residues
from .answers import has_variables, is_name, parse
from .expression import INFINITY, free_names, negated, read
from .shapes import Answer, Relation, Scalar, Several


FLIPPED = {">": "<", ">=": "<="}
_BARS = re.compile(r"\|\s*\\?[a-zA-Z]+\s*((?:[+-]\s*[\d./]+\s*)?)\|")
_INFINITE = Scalar(r"-\infty", negated(INFINITY)), Scalar(r"\infty", INFINITY)
REAL_LINE = Several("()", _INFINITE)


def as_interval(relation: Relation) -> tuple[str, Several] | None:
    """`1 < x <= 2` as a name and an interval."""
    sides, operators = relation.sides, relation.operators
    if set(operators) <= {">", ">="}:
        sides, operators = sides[::-1], tuple(FLIPPED[operator] for operator in operators[::-1])
    if operators == ("!=",) and is_name(sides[0]) and (point := parse(sides[1])) is not None:
        parts = (Several("()", (_INFINITE[0], point)), Several("()", (point, _INFINITE[1])))
        return sides[0].replace(" ", ""), Several("U", parts)
    if not set(operators) <= {"<", "<="}:
        return None
    if len(sides) == 2:
        if is_name(sides[0]):
            sides, operators = (r"-\infty", *sides), ("<", *operators)
        elif is_name(sides[1]):
            sides, operators = (*sides, r"\infty"), (*operators, "<")
    if len(sides) != 3 or not is_name(sides[1]) or "^" in sides[1]:
        return None
    brackets = ("[" if operators[0] == "<=" else "(") + ("]" if operators[1] == "<=" else ")")
    ends = parse(sides[0]), parse(sides[2])
    return None if None in ends else (sides[1].replace(" ", ""), Several(brackets, ends))


def is_solved(relation: Relation) -> bool:
    """Whether a relation says outright what a name is: `x = 3`, `1 < -x <= 2`, `x != 0`; not `2x = 6` or `|x| < 2`."""
    names = [side for side in relation.sides if is_name(side.lstrip("- ")) and not side.startswith(("|", r"\frac"))]
    others = [side for side in relation.sides if side not in names]
    return len(names) == 1 and not any(map(has_variables, others))


def solves(value: Scalar, equation: Relation) -> bool:
    """Whether an equation in one more name says that this name is `value`: `-x^2 - 1` for `y + 1 = -x^2`."""
    difference = difference_of(equation) if equation.operators == ("=",) else None
    if difference is None or value.tree is None:
        return False
    names = free_names(difference) - free_names(value.tree) - {r"\pi", "e", "i"}
    if len(names) != 1:
        return False
    name = ("name", *names)
    cleared = ("-", ("*", name, value.tree[2]), value.tree[1]) if value.tree[0] == "/" else ("-", name, value.tree)
    return residues.ratio(difference, cleared) is not None


def has_unsolved(answer: Answer) -> bool:
    if isinstance(answer, Several):
        return any(map(has_unsolved, answer.items))
    return isinstance(answer, Relation) and not is_solved(answer)


def without_bars(relation: Relation) -> Several | None:
    """`|x - 1| < 2` as the interval (-1, 3), `|x| > 2` as a union."""
    match = _BARS.fullmatch(relation.sides[0]) if len(relation.operators) == 1 else None
    if match is None:
        return None
    center, radius = f"-({match.group(1) or 0})", relation.sides[1]
    low, high = parse(f"{center}-({radius})"), parse(f"{center}+({radius})")
    operator = relation.operators[0]
    if low is None or high is None or operator not in ("<", "<=", ">", ">="):
        return None
    opening, closing = ("[", "]") if "=" in operator else ("(", ")")
    if operator[0] == "<":
        return Several(opening + closing, (low, high))
    return Several("U", (Several("(" + closing, (_INFINITE[0], low)), Several(opening + ")", (high, _INFINITE[1]))))


def difference_of(relation: Relation) -> tuple | None:
    """`left - right` of a relation with one operator, turned so that the operator is `=`, `!=`, `<` or `<=`."""
    left, right = (read(side) for side in relation.sides)
    if left is None or right is None:
        return None
    return ("-", right, left) if relation.operators[0] in FLIPPED else ("-", left, right)
