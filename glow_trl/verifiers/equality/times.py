"""Times of day and durations, as `2:30 pm`."""

import re

from .shapes import Scalar, Several
from .units import measure


HALVES = measure("am"), measure("pm")


def time_of(answer: Several) -> tuple[int, int, str] | None:
    """`2:30 pm` as minutes, seconds and the half of the day, if it is written as a time."""
    texts = [item.text if isinstance(item, Scalar) else "" for item in answer.items]
    if len(texts) > 3 or not re.fullmatch(r"(?:1?\d|0\d|2[0-4])(?::[0-5]\d){1,2}", ":".join(texts)):
        return None
    hour, minute, second = (*map(int, texts), 0)[:3]
    half = next((unit[0][0][0] for item in answer.items if (unit := measure(item.unit)) in HALVES and unit), "")
    return hour * 60 + minute, second, half


def same_time(one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
    """Times of day are no ratios; half of a day may be left out, and 15:00 is 3:00 pm."""
    if one == other or (one[:2] == other[:2] and "" in (one[2], other[2])):
        return True
    day = [
        (minutes % 720 + 720 * (half == "pm") if half else minutes, second) for minutes, second, half in (one, other)
    ]
    return day[0] == day[1] and one[2] != other[2]
