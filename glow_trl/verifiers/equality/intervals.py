"""Unions of intervals with rational ends, in one normal form."""

import math
from fractions import Fraction

from .expression import INFINITY, negated
from .residues import approximate
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
    if answer.value is not None:
        return 0, answer.value
    value = None if answer.tree is None else approximate(answer.tree)
    # An end that is no rational number, to more digits than two different ends of an answer share.
    return None if value is None or value[1] > 1e-12 else (0, Fraction(round(value[0], 10)).limit_denominator(10**10))


def _interval(answer: Answer) -> tuple[End, End] | None:
    if isinstance(answer, Scalar) and (point := _position(answer)) is not None and not point[0]:
        return (point, 0), (point, 0)  # the point of \\{1\\}
    if not isinstance(answer, Several) or len(answer.items) != 2 or answer.brackets not in ("()", "[]", "(]", "[)"):
        return None
    low, high = map(_position, answer.items)
    if low is None or high is None or low > high:
        return None
    return (low, 0 if answer.brackets[0] == "[" else 1), (high, 0 if answer.brackets[1] == "]" else -1)


def is_backwards(answer: Answer) -> bool:
    """Whether an interval, or one of a union, ends before it begins, as in (2, 1)."""
    if isinstance(answer, Several) and answer.brackets == "U":
        return any(map(is_backwards, answer.items))
    ends = [_position(item) for item in answer.items] if isinstance(answer, Several) else []
    return len(ends) == 2 and None not in ends and ends[0] > ends[1]


def merged(answer: Answer) -> list[tuple[End, End]] | None:
    """The intervals of a union, sorted and with touching ones joined; `None` if they cannot be told."""
    parts: list[Answer] = []
    for part in answer.items if isinstance(answer, Several) and answer.brackets == "U" else (answer,):
        parts.extend(part.items if isinstance(part, Several) and part.brackets == "{}" else [part])
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


def without_points(whole: Answer, points: Answer) -> Several | None:
    """An interval or union without some points of it, as a union."""
    intervals = merged(whole)
    if intervals is None or not isinstance(points, Several) or points.brackets != "{}" or not points.items:
        return None
    parts = list(whole.items) if isinstance(whole, Several) and whole.brackets == "U" else [whole]
    for point in points.items:
        position = _position(point)
        if position is None or position[0]:
            return None
        for part in parts:
            interval = _interval(part)
            if interval is None or not isinstance(part, Several) or len(part.items) != 2:
                return None
            if interval[0] <= (position, 0) <= interval[1]:
                parts.remove(part)
                parts += [
                    Several(part.brackets[0] + ")", (part.items[0], point)),
                    Several("(" + part.brackets[1], (point, part.items[1])),
                ]
                break
    return Several("U", tuple(parts))


def intersection(parts: list[Several]) -> Several | None:
    """What intervals have in common, as one interval; `None` if their ends cannot be compared."""
    intervals = [_interval(part) for part in parts]
    if None in intervals:
        return None
    lowest = max(range(len(parts)), key=lambda index: intervals[index][0])
    highest = min(range(len(parts)), key=lambda index: intervals[index][1])
    brackets = parts[lowest].brackets[0] + parts[highest].brackets[1]
    return Several(brackets, (parts[lowest].items[0], parts[highest].items[1]))


def closed_in_integers(answer: Answer | None) -> Several | None:
    """An interval with rational ends, with the first and last integer in it as its ends; `None` for anything else."""
    ends = _interval(answer) if isinstance(answer, Several) else None
    if ends is None:
        return None
    (low, low_side), (high, high_side) = ends
    first = low if low[0] else (0, Fraction(math.floor(low[1]) + 1 if low_side else math.ceil(low[1])))
    last = high if high[0] else (0, Fraction(math.ceil(high[1]) - 1 if high_side else math.floor(high[1])))
    items = tuple(
        original if infinite else Scalar(str(number), ("number", number), number)
        for original, (infinite, number) in zip(answer.items, (first, last), strict=True)
    )
    return Several("(["[not first[0]] + ")]"[not last[0]], items)
