"""Unions of intervals with rational ends, in one normal form."""

from fractions import Fraction

from .expression import INFINITY, negated
from .shapes import Answer, Scalar, Several


# An end as a sortable pair: where it is, and whether it lies just before (-1), at (0) or just behind (1) the point.
End = tuple[tuple[int, Fraction], int]


def _position(answer: Answer) -> tuple[int, Fraction] | None:
    if not isinstance(answer, Scalar):
        return None
    if answer.tree == INFINITY:
        return 1, Fraction(0)
    if answer.tree == negated(INFINITY):
        return -1, Fraction(0)
    return None if answer.value is None else (0, answer.value)


def _interval(answer: Answer) -> tuple[End, End] | None:
    if not isinstance(answer, Several) or len(answer.items) != 2 or answer.brackets not in ("()", "[]", "(]", "[)"):
        return None
    low, high = map(_position, answer.items)
    if low is None or high is None or low > high:
        return None
    return (low, 0 if answer.brackets[0] == "[" else 1), (high, 0 if answer.brackets[1] == "]" else -1)


def merged(answer: Answer) -> list[tuple[End, End]] | None:
    """The intervals of a union, sorted and with touching ones joined; `None` if they cannot be told."""
    parts = answer.items if isinstance(answer, Several) and answer.brackets == "U" else (answer,)
    intervals = [_interval(part) for part in parts]
    if None in intervals:
        return None
    result: list[tuple[End, End]] = []
    for low, high in sorted(intervals):
        if low > high:
            continue  # (1, 1)
        if result:
            (point, side), end = result[-1][1], result[-1]
            if low <= (point, side + 1):
                result[-1] = (end[0], max(end[1], high))
                continue
        result.append((low, high))
    return result


def intersection(parts: list[Several]) -> Several | None:
    """What intervals have in common, as one interval; `None` if their ends cannot be compared."""
    intervals = [_interval(part) for part in parts]
    if None in intervals:
        return None
    lowest = max(range(len(parts)), key=lambda index: intervals[index][0])
    highest = min(range(len(parts)), key=lambda index: intervals[index][1])
    brackets = parts[lowest].brackets[0] + parts[highest].brackets[1]
    return Several(brackets, (parts[lowest].items[0], parts[highest].items[1]))
