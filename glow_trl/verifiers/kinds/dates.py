"""Dates, compared by their parts."""

import re


_MONTHS = {
    name[:length]: month
    for month, name in enumerate(
        """january february march april may june july august september october november december""".split(), start=1
    )
    for length in (3, 4, len(name))
    if length != 4 or len(name) == 4 or name == "september"
}
_WEEKDAYS = frozenset(f"{name}day" for name in "mon tues wednes thurs fri satur sun".split())
_ISO_DATE = re.compile(r"(\d{4}) - (\d{1,2}) - (\d{1,2})")
# By 1990 is not in 1990, and the 1990s are not 1990
_BOUNDING = frozenset("s by since until till from to through".split())
_DAY = re.compile(r"(\d{1,2})(?:th)?")
_YEAR = re.compile(r"1\d{3}|20\d{2}")


def _date(text: str) -> dict[str, int] | None:
    """Year, month and day, as far as a normalized text gives them and nothing else."""
    if match := _ISO_DATE.fullmatch(text):
        return dict(zip(("year", "month", "day"), map(int, match.groups()), strict=True))
    found: dict[str, int] = {}
    for word in text.split():
        if word in ("in", "on", "of") or word in _WEEKDAYS:
            continue
        if word in _MONTHS:
            key, value = "month", _MONTHS[word]
        elif _YEAR.fullmatch(word):
            key, value = "year", int(word)
        elif (match := _DAY.fullmatch(word)) and 0 < int(match.group(1)) < 32:
            key, value = "day", int(match.group(1))
        else:
            return None
        if key in found:
            return None
        found[key] = value
    return found if "year" in found or "month" in found and "day" in found else None


def same_date(found: str, expected: str) -> bool:
    """Whether all that the gold answer says of a date is said; a prediction may say more: the day, for a year."""
    if (wanted := _date(expected)) is None:
        return False
    date = _date(found)
    return date is not None and wanted.items() <= date.items()


def gives_date(words: list[str], expected: str) -> bool:
    """Whether a sentence, given as its words, has one date and no other number, and that is the expected one."""
    if _date(expected) is None or not _BOUNDING.isdisjoint(words):
        return False
    where = [index for index, word in enumerate(words) if word in _MONTHS or any(map(str.isdigit, word))]
    return bool(where) and same_date(" ".join(words[where[0] : where[-1] + 1]), expected)
