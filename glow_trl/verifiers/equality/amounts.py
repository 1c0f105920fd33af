"""Reading a single value: a number or formula, with its unit, base, percent sign or the words behind it."""

import re
from fractions import Fraction

from .expression import INFINITY, exact, negated, read
from .latex import TEXT
from .numerals import SMALL, plain_text
from .shapes import Answer, Scalar, Words
from .units import changes_value, conversion, measure, split_unit


_NUMBER = re.compile(r"([+-]?)\s*(?:(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d*))?|\.(\d+))(?:[eE]([+-]?\d{1,2}))?")
_MIXED = re.compile(r"([+-]?)\s*(\d+)(?:\s+|\s*-\s*|\s+and\s+)(\d+)\s*/\s*(\d+)")
WORD = re.compile(r"[a-zA-Z]{4,}")
_LETTERS = re.compile("[a-zA-Z]")
_SHORT_WORD = re.compile(r"(?<![a-zA-Z])(?:of|is|to|the|by|if|at|per|or|for|than)(?![a-zA-Z])")
_BASED = re.compile(
    r"([+-]?)\s*\(?([0-9a-zA-Z]+)\)?(?:_\s*(?:\{\s*\(?(?:\\text\s*\{)?\s*(?:base\s*)?(\d+|[a-z]+)\s*\)?[\s}]*\}|(\d+|[a-z]))"
    r"|\s*(?:\\text\s*\{)?\s*\(?\s*(?:in\s+)?base[\s}]+(\d+|[a-z]+)[\s)}]*)"
)
_PROGRAMMED = re.compile(r"0(?:x[0-9a-fA-F]{2,12}|b[01]{2,40}|o[0-7]{2,16})")
_ORDINAL = re.compile(
    r"([\d,]*\d)\s*(?:\^\s*)?\{?\s*(?:\\text\s*\{\s*)?(?:st|nd|rd|th)\s*\}*"
    r"(?:\s+(?:day|week|month|year|century|grade|floor|place|term|row)\s*\}?)?",
    re.IGNORECASE,
)
_INFINITE = re.compile(r"([+-]?)\s*\\infty")
_SCIENTIFIC = re.compile(r"([+-]?\d+\.\d+)\s*(?:\\cdot|\*)\s*10\s*\^\s*(?:\{\s*([+-]?\d{1,3})\s*\}|(\d))")
_REPEATING = re.compile(r"(\d*)\.(\d*)(?:\\(?:overline|bar|dot)\s*\{(\d+)\}|\((\d+)\))")
_MULTIPLIED = re.compile(
    r"([+-]?[\d.,]*\d)\s*(?:\\text\s*\{\s*)?(hundred|thousand|million|billion|trillion|dozen)s?\s*\}?(?=\s|$)"
)
WHOLE_WORDS = re.compile(r"[A-Z][a-z]{2,}|(?:yes|no|odd|true)", re.ASCII)
_COUNTED = re.compile(r"([+-]?[\d.,/ ]*\d)\s+([a-zA-Z][a-zA-Z'\-]+(?:\s+[a-zA-Z'\-]{2,}){0,4})")
_COMPOUND = re.compile(r"(\d{1,6})\s*([a-zA-Z]+)\.?,?\s*(?:and\s+)?(\d{1,6}(?:\.\d{1,6})?)\s*([a-zA-Z]+)\.?")
_PAIRS = [{one, other} for one in ("ft", "foot", "feet") for other in ("in", "inch", "inches")]
_PAIRS += [{one, other} for one in ("lb", "lbs", "pound", "pounds") for other in ("oz", "ounce", "ounces")]
_PER_MILLE = re.compile(r"(-?\d{1,9}(?:\.\d{1,9})?)\s*‰")
_MULTIPLES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
COMMANDS_AND_NAMES = re.compile(r"\\(?:begin|end)\s*\{[a-zA-Z]+\}|\\[a-zA-Z]+")


def plain_number(text: str) -> Scalar | None:
    """A number in digits, `-1,234.5` or `1e3`; `None` for everything else."""
    first, last = text[:1], text[-1:]
    if not (last.isdecimal() or last == ".") or not (first.isdecimal() or first in "+-.") or len(text) > 400:
        return None
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, whole, decimals, only_decimals, exponent = match.groups()
    whole = (whole or "0").replace(",", "")
    decimals = only_decimals or decimals or ""
    value = Fraction(int(whole + decimals), 10 ** len(decimals))
    if sign == "-":
        value = -value
    written = f"{sign.replace('+', '')}{whole}" + (f".{decimals}" if decimals else "")
    if exponent:
        value *= Fraction(10) ** int(exponent)
        return Scalar(rf"{written} \cdot 10^{{{exponent}}}", ("number", value), value)
    return Scalar(written, ("number", value), value, len(decimals))


def compound_amount(text: str) -> Scalar | None:
    """`1 hour 30 minutes` as minutes, `6 ft 2 in` as inches: the larger unit first, then less than one of it."""
    if len(text) > 100 or not (text[:1].isdigit() or text.startswith(("\\text", "~"))):
        return None
    found = _COMPOUND.fullmatch(plain_text(text))
    if found is None:
        return None
    whole, first, rest, second = found.groups()
    factor = conversion(first, second)
    one, other = measure(first), measure(second)
    if (
        None in (factor, one, other)
        or dict(one[0]).keys() & {"time", "year", "$"} == set()
        and {first, second} not in _PAIRS
    ):
        return None
    amount = Fraction(rest)
    if factor <= amount or factor <= 1:
        return None
    value = int(whole) * factor + amount
    return Scalar(str(value), ("number", value), value, unit=second)


def _based(match: re.Match) -> Scalar | None:
    """A number written with its base, `1011_2`; the base may be a letter, as in `1011_b`."""
    sign, digits, base = match.group(1), match.group(2), match.group(3) or match.group(4) or match.group(5)
    base = str(SMALL.get(base, base))
    if len(digits) > 64 or not (digits[0].isdigit() or base == "16" and re.fullmatch(r"[A-F][0-9A-F]+", digits)):
        return None
    number = None
    if base.isdigit() and 2 <= int(base) <= 36 and all(int(digit, 36) < int(base) for digit in digits):
        number = Fraction(int(sign + digits, int(base)))
    tree = ("number", number) if number is not None else None
    return Scalar(match.group(0), tree, number, digits=sign.replace("+", "") + digits, base=base)


def scalar(text: str, inside: Answer | None = None) -> Answer:
    if WHOLE_WORDS.fullmatch(text):
        return Words(text)
    worded = _LETTERS.search(text) is not None
    match = _MULTIPLIED.match(text.removeprefix(r"\$").strip()) if worded else None
    if match and (number := plain_number(match.group(1))):
        value = number.value * _MULTIPLES[match.group(2)]
        return Scalar(match.group(0), ("number", value), value)
    if text.endswith("‰") and (match := _PER_MILLE.fullmatch(text)):
        value = Fraction(match.group(1)) / 1000
        return Scalar(text, ("number", value), value)
    unitless, unit = split_unit(text)
    percent = unitless.endswith("%")
    if percent:
        unitless = unitless.rstrip("% ").strip()
    if unitless != text:
        plain = plain_number(unitless)
        if plain is not None:
            return Scalar(plain.text, plain.tree, plain.value, plain.decimals, percent, unit)
    if worded and (match := _ORDINAL.fullmatch(unitless)):
        return plain_number(match.group(1)) or Scalar(unitless)
    if "infty" in unitless and (match := _INFINITE.fullmatch(unitless)):
        return Scalar(unitless.removeprefix("+"), negated(INFINITY) if match.group(1) == "-" else INFINITY)
    if ("_" in unitless or "base" in unitless) and (match := _BASED.fullmatch(unitless)) and (based := _based(match)):
        return based
    if worded and _PROGRAMMED.fullmatch(unitless):
        return plain_number(str(int(unitless, 0))) or Scalar(unitless)
    if "10" in unitless and (match := _SCIENTIFIC.fullmatch(unitless)):
        mantissa, power = plain_number(match.group(1)), int(match.group(2) or match.group(3))
        value = mantissa.value * Fraction(10) ** power
        return Scalar(unitless, ("number", value), value, mantissa.decimals - power, percent, unit)
    if "." in unitless and (match := _REPEATING.fullmatch(unitless)):
        whole, fixed, period = match[1], match[2], match[3] or match[4]
        if len(fixed) + len(period) < 40:
            nines = int("9" * len(period)) * 10 ** len(fixed)
            value = int(whole or 0) + Fraction(int(fixed + period) - int(fixed or 0), nines)
            return Scalar(unitless, ("number", value), value, 0, percent, unit)
    if "/" in unitless and (match := _MIXED.fullmatch(unitless)):
        sign, whole, top, bottom = match.groups()
        if int(bottom) and int(top) < int(bottom) and len(unitless) < 100:
            value = int(whole) + Fraction(int(top), int(bottom))
            value = -value if sign == "-" else value
            return Scalar(rf"{sign}{whole}\frac{{{top}}}{{{bottom}}}", ("number", value), value, 0, percent, unit)
    if worded and (match := _COUNTED.fullmatch(unitless)):
        words = match.group(2).lower().split()
        number = scalar(match.group(1).strip())
        if isinstance(number, Scalar) and number.value is not None and not changes_value(match.group(2)):
            value = number.value * _MULTIPLES.get(words[0], 1)
            return Scalar(number.text, ("number", value), value, 0, percent, unit)
    if worded:
        bare = TEXT.sub(r" \1 ", unitless) if r"\text" in unitless else unitless
        bare = COMMANDS_AND_NAMES.sub(" ", bare)
        if WORD.search(bare) or _SHORT_WORD.search(bare):
            return Words(text)
    tree = read(unitless)
    return Scalar(unitless, tree, exact(tree) if tree is not None else None, 0, percent, unit)
