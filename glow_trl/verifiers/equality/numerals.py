"""Numbers and dates in words: `forty-two`, `3 tenths`, `5 squared`, `half of 12`, `January 5, 2024`."""

import math
import re
from fractions import Fraction

from .latex import TEXT


_ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen""".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
SMALL = {**{word: n for n, word in enumerate(_ONES)}, **{word: 10 * n for n, word in enumerate(_TENS, 2)}}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {
    **{"half": 2, "halves": 2, "quarter": 4, "quarters": 4},
    **{
        word + plural: n
        for n, word in enumerate("third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split(), 3)
        for plural in ("", "s")
    },
    **{word + plural: n for word, n in (("hundredth", 100), ("thousandth", 1000)) for plural in ("", "s")},
}
MAX_WORDS = 12
MAX_FACTORIAL = 60
_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+|\d{1,15}(?:\.\d{1,15})?")
_WORD = re.compile("[a-z]{3,}")
_KEYWORDS = frozenset(
    (*"squared cubed factorial negative minus square cube twice double dozen out".split(), *_PARTS, *SMALL)
)
_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = r"(jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec|" + "|".join(_MONTHS) + r")\.?"
_IN_DATE = re.compile(r"jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|\d{4}-\d")
_DATES = (
    re.compile(r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"),
    re.compile(rf"(?P<name>{_MONTH})\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(?P<year>\d{{4}}))?", re.IGNORECASE),
    re.compile(
        rf"(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<name>{_MONTH})(?:,?\s+(?P<year>\d{{4}}))?", re.IGNORECASE
    ),
)


def plain_text(text: str) -> str:
    """The text without `\\\\text{}` around its words."""
    if r"\text" in text:
        text = TEXT.sub(r" \1 ", text)
    return " ".join(text.replace("~", " ").split())


def date(text: str) -> str | None:
    """A date as `2024-1-5`, or `-1-5` where no year is given; `None` for everything else."""
    if len(text) > 60 or not _IN_DATE.search(text.lower()):
        return None
    text = plain_text(text)
    for pattern in _DATES:
        if match := pattern.fullmatch(text):
            found = match.groupdict()
            name = found.get("name")
            month = int(found["month"]) if name is None else 1 + [m[:3] for m in _MONTHS].index(name[:3].lower())
            day = int(found["day"])
            return f"{found['year'] or ''}-{month}-{day}" if 1 <= month <= 12 and 1 <= day <= 31 else None
    return None


def value_in_words(text: str) -> Fraction | None:
    """The number that words say, alone or with digits; `None` for everything else."""
    if len(text) > 120 or "\\" in text and r"\text" not in text:
        return None
    if _KEYWORDS.isdisjoint(_WORD.findall(text.lower())):
        return None
    text = plain_text(text).lower().rstrip(".")
    if re.search(r"[^a-z\d\s.,\-]", text) or re.search(r"-\s*\d", text):
        return None
    words = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text).split()
    return _value(words) if 0 < len(words) <= MAX_WORDS else None


def _value(words: list[str]) -> Fraction | None:
    if words[:1] in (["negative"], ["minus"]):
        value = _value(words[1:])
        return None if value is None or value < 0 else -value
    if words[:1] == ["the"]:
        return _value(words[1:])
    for start, function in _PREFIXES.items():
        if words[: len(start)] == list(start):
            value = _value(words[len(start) :])
            return None if value is None else function(value)
    if "of" in words and words[(at := words.index("of")) - 1] in _PARTS:  # a quarter of 48
        part, whole = _value(words[:at]), _value(words[at + 1 :])
        return None if part is None or whole is None else part * whole
    if words == ["a", "dozen"]:
        return Fraction(12)
    if "out" in words and words[(at := words.index("out")) + 1 :][:1] == ["of"]:  # 1 out of 6
        part, whole = _whole(words[:at]), _whole(words[at + 2 :])
        return None if part is None or not whole or part > whole else part / whole
    if words and words[-1] in _SUFFIXES:
        value = _value(words[:-1])
        return None if value is None else _SUFFIXES[words[-1]](value)
    if words[-3:-1] == ["and", "a"] and words[-1] in ("half", "quarter", "third"):  # two and a half
        value = _whole(words[:-3])
        return None if value is None else value + Fraction(1, _PARTS[words[-1]])
    if words and words[-1] in _PARTS:
        count = Fraction(1) if words[:-1] in ([], ["a"]) and words[-1] in ("half",) else _whole(words[:-1])
        if words[:-1] == ["a"]:
            count = Fraction(1)
        return None if count is None else count / _PARTS[words[-1]]
    return _whole(words)


def _root(value: Fraction, degree: int) -> Fraction | None:
    if value < 0 or max(value.numerator, value.denominator) > 10**12:
        return None
    top, bottom = (round(part ** (1 / degree)) for part in (value.numerator, value.denominator))
    root = Fraction(top, bottom) if bottom else None
    return root if root is not None and root**degree == value else None


_PREFIXES = {
    ("twice",): lambda value: value * 2,
    ("double",): lambda value: value * 2,
    ("square", "root", "of"): lambda value: _root(value, 2),
    ("cube", "root", "of"): lambda value: _root(value, 3),
}
_SUFFIXES = {
    "squared": lambda value: value**2,
    "dozen": lambda value: value * 12,
    "cubed": lambda value: value**3,
    "factorial": lambda value: (
        Fraction(math.factorial(int(value))) if value.denominator == 1 and 0 <= value <= MAX_FACTORIAL else None
    ),
}


def _whole(words: list[str]) -> Fraction | None:
    """`forty two`, `one hundred and five`, or digits."""
    if len(words) == 1 and _NUMBER.fullmatch(words[0]):
        return Fraction(words[0].replace(",", ""))
    total, current, previous = 0, 0, ""
    for word in words:
        if word in SMALL:
            ones_behind_tens = previous in _TENS and 0 < SMALL[word] < 10
            if not ones_behind_tens and previous not in ("", "and", "hundred", *_SCALES):
                return None
            current += SMALL[word]
        elif word == "hundred" and 0 < current < 10:
            current *= 100
        elif word in _SCALES and current:
            total, current = total + current * _SCALES[word], 0
        elif word != "and" or previous not in ("hundred", *_SCALES):
            return None
        previous = word
    return Fraction(total + current) if words and previous != "and" else None
