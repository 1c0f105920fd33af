"""Reading an answer: from text to its shape."""

import re
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from itertools import product

from .expression import GREEK, INFINITY, exact, negated, read
from .intervals import without_points
from .latex import MAX_LENGTH, closing_brace, normalize, unwrap
from .numerals import SMALL, date, plain_text, value_in_words
from .residues import approximate as approximate_value
from .shapes import Answer, Matrix, Named, Relation, Scalar, Several, Words
from .units import changes_value, conversion, measure, split_unit


MAX_ITEMS = 64
# Signs that are chosen one by one in a tuple
MAX_SIGNS = 3
MAX_NESTING = 6


_NUMBER = re.compile(r"([+-]?)\s*(?:(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d*))?|\.(\d+))(?:[eE]([+-]?\d{1,2}))?")
_MIXED = re.compile(r"([+-]?)\s*(\d+)(?:\s+|\s*-\s*|\s+and\s+)(\d+)\s*/\s*(\d+)")
_OUTWARD = re.compile(r"([\[\]])([^\[\]]*[,;][^\[\]]*)([\[\]])")  # ]1, 2[ is the open interval
_THREE_DIGITS = re.compile(r"[, ]\d\d\d")
_SPACED_COMMA = re.compile(r",\s")
_THOUSANDS = re.compile(r"\d(?<![\d.,]\d)\d{0,2}(?:,\d{3})+(?![\d])(?!,\d)")
_SPACED_THOUSANDS = re.compile(r"(\d(?<![\d.,]\d)\d{0,2}(?: \d{3})+)(?![\d])")
_AND = re.compile(
    r"(?:\\text\s*\{\s*,?\s*(?:and|or)\s*,?\s*\}|and(?<![a-zA-Z\\]and)(?![a-zA-Z])|or(?<![a-zA-Z\\]or)(?![a-zA-Z]))\s*"
)
_AND_OR = re.compile(r"(?<![a-zA-Z])(?:and|or)(?![a-zA-Z])")
_MATRIX = re.compile(
    r"^\\begin\s*\{(?:[pbB]?matrix|smallmatrix|array)\}(?:\s*\{[lcr| ]*\})?(.*)\\end\s*\{[a-zA-Z]+\}$", re.DOTALL
)
_OPERATOR = r"<=|>=|!=|=|<|>|\\(?:neq|approx|equiv|in|to)(?![a-zA-Z])"
_OPERATOR_NAMES = {r"\neq": "!=", r"\approx": "=", r"\equiv": "="}
_INSIGNIFICANT = re.compile(r"\s|\\text(?=\s*\{)|[{}]")
_NAME = re.compile(
    r"""^(?:
        \\?[a-zA-Z]+'*(?:\s*_\s*(?:\{[^{}]*\}|\w))?(?:\s*\^\s*(?:\{\s*-1\s*\}|\\circ))?         # x, x_1, alpha, AB
        (?:\s*\([a-zA-Z0-9,+\- ]*\))?                                                       # f(x)
        | \\text\s*\{[^{}]*\}(?:\s*\([a-zA-Z0-9, ]*\))?
        | \\(?:overline|overrightarrow|vec|angle|triangle|hat|bar|widehat)\s*\{?\s*\\?[a-zA-Z]+\s*\}?
        | \\(?:sin|cos|tan|cot|sec|csc)\s*\(?\s*\\?[a-zA-Z]+\s*\)?
        | \\Delta\s*[a-zA-Z](?:_\w)?
        | m?\s*\\(?:angle|measuredangle)\s*[A-Za-z]+
        | \|\s*\\?[a-zA-Z]+\s*\|
        | [a-zA-Z](?:\s*[a-zA-Z])+                                                          # words
        | \(?\s*\\?[a-zA-Z]+(?:_\w)?(?:\([a-z]\))?                                            # (p, q), (P(x), Q(x))
          (?:\s*,\s*\\?[a-zA-Z]+(?:_\w)?(?:\([a-z]\))?)+\s*\)?
        | \\frac\s*\{\s*[A-Za-z][A-Za-z_0-9]*\s*\}\s*\{\s*[A-Za-z][A-Za-z_0-9]*\s*\}
        | [A-Za-z](?:_(?:\{\w+\}|\w))?(?:\s*[:/]\s*[A-Za-z](?:_(?:\{\w+\}|\w))?)+                  # V_1:V_2
    )$""",
    re.VERBOSE,
)
_WORD = re.compile(r"[a-zA-Z]{4,}")
_LETTERS = re.compile("[a-zA-Z]")
_SHORT_WORD = re.compile(r"(?<![a-zA-Z])(?:of|is|to|the|by|if|at|per|or|for|than)(?![a-zA-Z])")
_BASED = re.compile(
    r"([+-]?)\s*\(?([0-9a-zA-Z]+)\)?(?:_\s*(?:\{\s*\(?(?:\\text\s*\{)?\s*(?:base\s*)?(\d+|[a-z]+)\s*\)?[\s}]*\}|(\d+|[a-z]))"
    r"|\s*(?:\\text\s*\{)?\s*\(?\s*(?:in\s+)?base[\s}]+(\d+|[a-z]+)[\s)}]*)"
)
_PROGRAMMED = re.compile(r"0(?:x[0-9a-fA-F]{2,12}|b[01]{2,40}|o[0-7]{2,16})")
_REALS = re.compile(
    r"\\mathbb\s*(?:\{\s*R\s*\}|R)|(?:\\text\s*\{\s*)?(?:the\s+)?(?:set\s+of\s+)?all\s+real(?:s|\s+numbers)\s*\}?|\\R",
    re.IGNORECASE,
)
_REALS_WITHOUT = re.compile(r"(?:\\mathbb\s*\{?\s*R\s*\}?|\\R)\s*(?:-|\\setminus|\\backslash)\s*\\\{(.*)\\\}")
_SET_BUILDER = re.compile(r"\s*([a-zA-Z])\s*(?:\\in\s*\\mathbb\s*\{?\s*R\s*\}?\s*)?(?:\\mid|\\vert|\\\||\||:)\s*(.+)")
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
_WHOLE_WORDS = re.compile(r"[A-Z][a-z]{2,}|(?:yes|no|odd|true)", re.ASCII)
_COUNTED = re.compile(r"([+-]?[\d.,/ ]*\d)\s+([a-zA-Z][a-zA-Z'\-]+(?:\s+[a-zA-Z'\-]{2,}){0,4})")
_COMPOUND = re.compile(r"(\d{1,6})\s*([a-zA-Z]+)\.?,?\s*(?:and\s+)?(\d{1,6}(?:\.\d{1,6})?)\s*([a-zA-Z]+)\.?")
_PAIRS = [{one, other} for one in ("ft", "foot", "feet") for other in ("in", "inch", "inches")]
_PAIRS += [{one, other} for one in ("lb", "lbs", "pound", "pounds") for other in ("oz", "ounce", "ounces")]
_PER_MILLE = re.compile(r"(-?\d{1,9}(?:\.\d{1,9})?)\s*‰")
_SLASHED_DATE = re.compile(r"\d{1,2}/\d{1,2}/\d{4}")
_INFINITE_WORDS = re.compile(
    r"(?:positive\s+|plus\s+|(negative\s+|minus\s+|-))?(?:infinity|\\infty|infinite|infinitely\s+many)"
    r"(?:\s+(?:solutions?|many|number|values?|points?))?",
    re.IGNORECASE,
)
_MULTIPLES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_COMMANDS_AND_NAMES = re.compile(r"\\(?:begin|end)\s*\{[a-zA-Z]+\}|\\[a-zA-Z]+")
_GREEK = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(GREEK)))})(?![a-zA-Z])")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_OPEN = {"(": ")", "[": "]", "{": "}"}
_BRACKETS = re.compile(r"[()\[\]{}]|\\(?:begin|end|langle|rangle|lfloor|rfloor|lceil|rceil)")
_OPENING = frozenset((*_OPEN, r"\{"))
_CLOSING = frozenset((*_OPEN.values(), r"\}"))
_OPENING_COMMANDS = (r"\begin", r"\langle", r"\lfloor", r"\lceil")
_CLOSING_COMMANDS = (r"\end", r"\rangle", r"\rfloor", r"\rceil")


class _Separator:
    """What separates the parts of an answer, as a pattern that also finds all brackets."""

    def __init__(self, pattern: str):
        self.alone = re.compile(pattern)
        self.or_bracket = re.compile(rf"({pattern})|\\(?:[{{}}]|[a-zA-Z]*)|[()\[\]{{}}]")


def split_top(text: str, separator: _Separator) -> tuple[list[str], list[str]]:
    """Split at separators outside all brackets; returns the parts and the separators between them."""
    if separator.alone.search(text) is None:
        return [text.strip()], []
    if not _BRACKETS.search(text):
        parts = [part.strip() for part in separator.alone.split(text)]
        return parts, [found.strip() for found in separator.alone.findall(text)]
    parts, separators = [], []
    depth = start = 0
    for match in separator.or_bracket.finditer(text):
        found = match[0]
        if match[1] is not None:
            if depth == 0:
                parts.append(text[start : match.start()].strip())
                separators.append(found.strip())
                start = match.end()
        elif found in _OPENING or found.startswith(_OPENING_COMMANDS):
            depth += 1
        elif depth and (found in _CLOSING or found.startswith(_CLOSING_COMMANDS)):
            depth -= 1
    parts.append(text[start:].strip())
    return parts, separators


_RELATION = _Separator(_OPERATOR)
_COMMA = _Separator("[,;]")
_COLON = _Separator(":")
_UNION = _Separator(r"\\cup")
_WITHOUT = _Separator(r"\\setminus(?![a-zA-Z])|\\backslash(?![a-zA-Z])")


@lru_cache(maxsize=2048)
def parse(text: str) -> Answer | None:
    """The answer that `text` states, or `None` if it is empty."""
    plain = plain_number(text.strip())
    if plain is not None:
        return plain
    text = normalize(text)
    if len(text) > MAX_LENGTH:
        return Words(text)
    return _parse(text, 0) if text else None


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


def _parse(text: str, depth: int) -> Answer:
    text = text.strip()
    plain = plain_number(text)
    if plain is not None:
        return plain
    if depth > MAX_NESTING:
        return Scalar(text)
    if text.startswith("]") or text.endswith("["):
        text = _OUTWARD.sub(lambda found: "[("[found[1] == "]"] + found[2] + "])"[found[3] == "["], text)
    if text.startswith(r"\begin") and (match := _MATRIX.match(text)):
        return _matrix(match.group(1), text, depth) or Scalar(text)
    text = text.replace(r"\langle", "(").replace(r"\rangle", ")")
    if (text.startswith("\\") or "real" in text.lower()) and _REALS.fullmatch(text):
        return _parse(r"(-\infty, \infty)", depth + 1)
    if (said := _said(text, depth)) is not None:
        return said

    if listed := _listed(text, depth):
        return listed
    sides, operators = split_top(text, _RELATION)
    if operators and all(sides):
        return _relation(tuple(sides), tuple(operators), depth)
    if text == r"\emptyset":
        return Several("{}", ())
    if bracketed := _bracketed(text, depth):
        return bracketed
    if match := text.startswith("\\") and _REALS_WITHOUT.fullmatch(text):
        text = rf"(-\infty, \infty) \setminus \{{{match.group(1)}\}}"
    if "\\" in text:
        parts, separators = split_top(text, _WITHOUT)
        if len(parts) == 2 and all(parts):
            whole, points = (_parse(part, depth + 1) for part in parts)
            return without_points(whole, points) or _scalar(text)
        parts, separators = split_top(text, _UNION)
        if separators and all(parts):
            return Several("U", tuple(_parse(part, depth + 1) for part in parts))
    if text.count(r"\pm") == 1 and r"\mp" not in text:
        return Several("", tuple(_parse(text.replace(r"\pm", sign), depth + 1) for sign in ("+", "-")))
    parts, separators = split_top(text, _COLON) if ":" in text else ([], [])
    if separators and all(parts) and len(parts) <= 4:
        return Several(":", tuple(_parse(part, depth + 1) for part in parts))
    return _scalar(text)


def _said(text: str, depth: int) -> Answer | None:
    """What is written in words or as a date: `forty-two`, `January 5`, `infinitely many`, `1 hour 30 minutes`."""
    if (number := value_in_words(text)) is not None:
        return Scalar(text, ("number", number), number)
    if day := date(text):
        return Words(day)
    if "/" in text and _SLASHED_DATE.fullmatch(text):
        return Words(text)
    if ("infinit" in text.lower() or "infty" in text) and (
        infinite := _INFINITE_WORDS.fullmatch(plain_text(text))
    ) is not None:
        return _scalar(("-" if infinite.group(1) else "") + r"\infty")
    if compound := _compound(text):
        return compound
    if (words := _TEXT.fullmatch(text)) is not None:
        inner = unwrap(words.group(1))
        if not _WORD.search(inner) and not _WHOLE_WORDS.fullmatch(inner):
            return _parse(inner, depth + 1)
        counted = _scalar(inner) if inner[:1].isdigit() else None
        return counted if isinstance(counted, Scalar) and counted.value is not None else Words(inner)
    return None


def _compound(text: str) -> Scalar | None:
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


def _listed(text: str, depth: int) -> Answer | None:
    """`1, 2 and 3`, `x=1 or x=2`, `k=45, n=2`; also `1,22`: the comparison decides if that is a decimal."""
    joined = _drop_thousands(text)
    if "and" in text or "or" in text:
        first, *others = _AND.split(joined)
        if others:
            *before, last = first, *others
            joined = "".join(part.rstrip().removesuffix(",").rstrip() + "," for part in before) + last
    if "," not in joined and ";" not in joined:
        return None if joined == text else _parse(joined, depth + 1)
    parts, separators = split_top(joined, _COMMA)
    parts = [part for part in parts if part]
    if not parts or not separators or len(parts) > MAX_ITEMS:
        return None if joined == text or len(parts) > MAX_ITEMS else _parse(joined, depth + 1)
    if len(parts) == 1:
        return _parse(parts[0], depth + 1)
    prose = len(_WORD.findall(text)) > 3 * len(parts)
    items = []
    for part in parts:
        items.append(_parse(part, depth + 1))
        if prose and isinstance(items[-1], Words):
            return Words(text)
    if isinstance(items[0], Named) and not any(isinstance(item, Named | Relation) for item in items[1:]):
        items[0] = items[0].value  # n = 1, 2, 3
    if prose and isinstance(items[0], Words):
        return Words(text)
    if (
        joined != text
        and "or" in text
        and all(isinstance(item, Scalar) and item.text == items[0].text for item in items)
    ):
        return items[0]  # 2 or 2
    solved = all(isinstance(item, Relation | Named) for item in items)
    if solved and any(isinstance(item, Relation) for item in items) and (word := _AND_OR.search(text)):
        return Several(word.group(0), tuple(items))  # x < 1 or x > 2
    return Several("", _without_bare_lists(items))


def _without_bare_lists(items: Iterable[Answer]) -> tuple[Answer, ...]:
    """The items, with those of a bare list in its place."""
    flat: list[Answer] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Several) and item.brackets == "" else [item])
    return tuple(flat)


def _drop_thousands(text: str) -> str:
    """Remove commas (and spaces) that separate thousands, outside brackets."""
    if "," not in text and " " not in text or not _THREE_DIGITS.search(text):
        return text
    if not _THOUSANDS.search(text) and not _SPACED_THOUSANDS.search(text):
        return text
    pieces, depth, start = [], 0, 0

    def drop(piece: str) -> str:
        piece = _THOUSANDS.sub(lambda match: match.group(0).replace(",", ""), piece)
        return _SPACED_THOUSANDS.sub(lambda match: match.group(1).replace(" ", ""), piece)

    for position, character in enumerate(text):
        if character in "([" or (character == "{" and text[position - 1 : position] == "\\"):
            if depth == 0:
                pieces.append(drop(text[start:position]))
                start = position
            depth += 1
        elif depth and (character in ")]" or (character == "}" and text[position - 1 : position] == "\\")):
            depth -= 1
            if depth == 0:
                pieces.append(text[start : position + 1])
                start = position + 1
    pieces.append(drop(text[start:]) if depth == 0 else text[start:])
    return "".join(pieces)


def _bracketed(text: str, depth: int) -> Answer | None:
    """`(1, 2)`, `[0, 1)`, `\\{1, 2\\}`, `(x)`."""
    opening, inner = None, None
    if text.startswith(r"\{") and text.endswith(r"\}"):
        opening, closing, inner = "{", "}", text[2:-2]
    elif text[:1] in _OPEN and text[-1:] in (")", "]", "}") and len(text) > 1:
        opening, closing, inner = text[0], text[-1], text[1:-1]
        if opening == "{" and closing_brace(text, 0) != len(text) - 1:
            return None
    if inner is None or not balanced(inner):
        return None
    brackets = opening + closing
    if opening == "{" and (match := _SET_BUILDER.fullmatch(inner)):
        return _parse(match.group(2), depth + 1)
    parts, separators = split_top(inner, _COMMA)
    if separators and brackets == "()" and 0 < (count := inner.count(r"\pm")) <= MAX_SIGNS and r"\mp" not in inner:
        pieces = text.split(r"\pm")
        return Several(
            "",
            tuple(
                _parse(pieces[0] + "".join(map("".join, zip(signs, pieces[1:], strict=True))), depth + 1)
                for signs in product("+-", repeat=count)
            ),
        )
    if separators and _SPACED_COMMA.search(inner) and _THOUSANDS.search(inner):
        parts, separators = split_top(_drop_thousands(inner), _COMMA)
    if not inner.strip():
        return Several(brackets, ())
    if not separators:
        if brackets == "{}":
            item = _parse(inner, depth + 1)
            return item if isinstance(item, Several) else Several("{}", (item,))
        if brackets in ("()", "[]") and not re.search(r"[<>=]", inner):
            inside = _parse(inner, depth + 1)
            return inside if isinstance(inside, Several | Words) or opening == "[" else _scalar(text, inside)
        return _parse(inner, depth + 1) if brackets == "()" and "=" in inner else None
    if len(parts) > MAX_ITEMS or not all(parts):
        return None
    if opening != closing and _OPEN[opening] != closing and {opening, closing} & {"{", "}"}:
        return None
    items = tuple(_parse(part, depth + 1) for part in parts)
    return Several(brackets, _without_bare_lists(items) if brackets == "{}" else items)


def balanced(text: str) -> bool:
    """Whether no bracket closes that was not opened in `text`; `(1,2),(3,4)` without its ends is not balanced."""
    depth = 0
    for character in text:
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth < 0:
                return False
    return depth == 0


def nesting(text: str) -> int:
    """How deep brackets of all kinds are nested in a text."""
    deepest = depth = 0
    for bracket in _BRACKETS.findall(text):
        depth = depth + 1 if bracket in _OPENING or bracket in _OPENING_COMMANDS else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


def _relation(sides: tuple[str, ...], operators: tuple[str, ...], depth: int) -> Answer:
    if operators in (("\\in",), ("\\to",)) and is_name(sides[0]):
        return _parse(sides[1], depth + 1)
    approximate = "\\approx" in operators
    operators = tuple(_OPERATOR_NAMES.get(operator, operator) for operator in operators)
    if operators == ("=",) and is_name(sides[1]) and not has_variables(sides[0]):
        sides = sides[::-1]
    if set(operators) == {"="} and len(sides) > 2 and not is_name(sides[0]) and is_name(sides[-2]):
        sides = sides[-2:]  # 1 = y = x = 0
    if set(operators) == {"="} and (is_name(sides[0]) or not any(has_variables(side) for side in sides)):
        # Of x = 1/3 = 0.333 the last value counts, of x = 1/3 \\approx 0.333 the exact one.
        if not approximate and not is_name(sides[0]) and (len(set(sides)) == 1 or _contradicts(sides)):
            return Relation(sides, operators)  # 7 = 5, 0 = 0
        value = sides[is_name(sides[0])] if approximate else sides[-1]
        name = _INSIGNIFICANT.sub("", sides[0]) if is_name(sides[0]) else ""
        return Named(name, _parse(value, depth + 1), (sides[0], value))
    return Relation(sides, operators)


def _contradicts(sides: tuple[str, ...]) -> bool:
    """Whether numbers that are said to be equal are far apart, beyond rounding and a percent sign left out."""
    values = [approximate_value(tree) for side in sides if (tree := read(side)) is not None]
    if None in values or len(values) < len(sides):
        return False
    low, *_, high = sorted(abs(value) for value, _ in values)
    return high > 1.05 * low and not 95 * low < high < 105 * low


def is_name(text: str) -> bool:
    """Whether `text` only names a quantity, so that `text = 5` says 5."""
    return _NAME.match(text) is not None


def has_variables(text: str) -> bool:
    """Whether there are letters in `text`, Latin or Greek, that may stand for unknown quantities."""
    text = _TEXT.sub("", text)
    return _GREEK.search(text) is not None or re.search(r"[a-zA-Z]", _COMMANDS_AND_NAMES.sub("", text)) is not None


def _matrix(body: str, text: str, depth: int) -> Matrix | None:
    rows = [
        row for row in re.split(r"\\\\(?:\s*\[[^\]]*\])?|\\cr(?![a-zA-Z])", body.replace(r"\hline", "")) if row.strip()
    ]
    if len(rows) > MAX_ITEMS or "\\begin" in body:
        return None
    cells = tuple(tuple(_parse(cell, depth + 1) for cell in row.split("&")) for row in rows)
    return Matrix(cells, text) if cells and len({len(row) for row in cells}) == 1 else None


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


def _scalar(text: str, inside: Answer | None = None) -> Answer:
    if _WHOLE_WORDS.fullmatch(text):
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
        number = _scalar(match.group(1).strip())
        if isinstance(number, Scalar) and number.value is not None and not changes_value(match.group(2)):
            value = number.value * _MULTIPLES.get(words[0], 1)
            return Scalar(number.text, ("number", value), value, 0, percent, unit)
    if worded:
        bare = _TEXT.sub(r" \1 ", unitless) if r"\text" in unitless else unitless
        bare = _COMMANDS_AND_NAMES.sub(" ", bare)
        if _WORD.search(bare) or _SHORT_WORD.search(bare):
            return Words(text)
    tree = read(unitless)
    return Scalar(unitless, tree, exact(tree) if tree is not None else None, 0, percent, unit)
