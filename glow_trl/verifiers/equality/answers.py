"""Reading an answer: from text to its shape."""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import product, repeat

from .amounts import COMMANDS_AND_NAMES, WHOLE_WORDS, WORD, compound_amount, plain_number, scalar
from .expression import GREEK, read
from .intervals import without_points
from .latex import MAX_LENGTH, TEXT, closing_brace, normalize, unwrap
from .numerals import date, plain_text, value_in_words
from .residues import approximate as approximate_value
from .shapes import Answer, Matrix, Named, Relation, Scalar, Several, Words


MAX_ITEMS = 64
# Signs that are chosen one by one in a tuple
MAX_SIGNS = 3
MAX_NESTING = 6


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
_REALS = re.compile(
    r"\\mathbb\s*(?:\{\s*R\s*\}|R)|(?:\\text\s*\{\s*)?(?:the\s+)?(?:set\s+of\s+)?all\s+real(?:s|\s+numbers)\s*\}?|\\R",
    re.IGNORECASE,
)
_REALS_WITHOUT = re.compile(r"(?:\\mathbb\s*\{?\s*R\s*\}?|\\R)\s*(?:-|\\setminus|\\backslash)\s*\\\{(.*)\\\}")
_SET_BUILDER = re.compile(r"\s*([a-zA-Z])\s*(?:\\in\s*\\mathbb\s*\{?\s*R\s*\}?\s*)?(?:\\mid|\\vert|\\\||\||:)\s*(.+)")
_SLASHED_DATE = re.compile(r"\d{1,2}/\d{1,2}/\d{4}")
_INFINITE_WORDS = re.compile(
    r"(?:positive\s+|plus\s+|(negative\s+|minus\s+|-))?(?:infinity|\\infty|infinite|infinitely\s+many)"
    r"(?:\s+(?:solutions?|many|number|values?|points?))?",
    re.IGNORECASE,
)
_GREEK = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(GREEK)))})(?![a-zA-Z])")
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


def split_relation(text: str) -> tuple[list[str], list[str]]:
    """The sides of a relation, and the operators between them: `=`, `<`, `!=` and the like."""
    sides, operators = split_top(text, _RELATION)
    return sides, [_OPERATOR_NAMES.get(operator, operator) for operator in operators]


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
    if text[:1] in "+-" and text[1:2] == "(" and isinstance(several := _bracketed(text[1:], depth), Several):
        sign = text[0].replace("+", "")
        inner = split_top(text[2:-1], _COMMA)[0]
        if several.brackets == "()" and len(inner) == len(several.items):
            return Several("()", tuple(_parse(f"{sign}({item})" if sign else item, depth + 1) for item in inner))
    if match := text.startswith("\\") and _REALS_WITHOUT.fullmatch(text):
        text = rf"(-\infty, \infty) \setminus \{{{match.group(1)}\}}"
    if "\\" in text:
        parts, separators = split_top(text, _WITHOUT)
        if len(parts) == 2 and all(parts):
            whole, points = (_parse(part, depth + 1) for part in parts)
            return without_points(whole, points) or scalar(text)
        parts, separators = split_top(text, _UNION)
        if separators and all(parts):
            return Several("U", tuple(_parse(part, depth + 1) for part in parts))
    if text.count(r"\pm") == 1 and r"\mp" not in text:
        return Several("", tuple(_parse(text.replace(r"\pm", sign), depth + 1) for sign in ("+", "-")))
    parts, separators = split_top(text, _COLON) if ":" in text else ([], [])
    if separators and all(parts) and len(parts) <= 4:
        return Several(":", tuple(_parse(part, depth + 1) for part in parts))
    return scalar(text)


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
        return scalar(("-" if infinite.group(1) else "") + r"\infty")
    if compound := compound_amount(text):
        return compound
    if (words := TEXT.fullmatch(text)) is not None:
        inner = unwrap(words.group(1))
        if not WORD.search(inner) and not WHOLE_WORDS.fullmatch(inner):
            return _parse(inner, depth + 1)
        counted = scalar(inner) if inner[:1].isdigit() else None
        return counted if isinstance(counted, Scalar) and counted.value is not None else Words(inner)
    return None


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
    prose = len(WORD.findall(text)) > 3 * len(parts)
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
    if any(isinstance(item, Relation) and item.operators == ("!=",) for item in items):
        if isinstance(items[0], Relation) and all(isinstance(item, Scalar) for item in items[1:]):  # x != 0, 1
            items[1:] = [Relation((items[0].sides[0], item.text), items[0].operators) for item in items[1:]]
        return Several("and", tuple(items))  # 0 < x < 2, x != 1
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
            return item if isinstance(item, Several) and item.items else Several("{}", (item,))
        if brackets in ("()", "[]") and not re.search(r"[<>=]", inner):
            inside = _parse(inner, depth + 1)
            return inside if isinstance(inside, Several | Words) or opening == "[" else scalar(text, inside)
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
        if not is_name(sides[0]) and len(set(sides)) == 1:
            return Relation(sides, operators)  # 0 = 0 says nothing
        # Of x = 1/3 = 0.333 the last value counts, of x = 1/3 \\approx 0.333 the exact one.
        if not approximate and contradicts(sides):
            return Relation(sides, operators)  # 7 = 5, x = 0 = 42
        value = sides[is_name(sides[0])] if approximate else sides[-1]
        name = _INSIGNIFICANT.sub("", sides[0]) if is_name(sides[0]) else ""
        return Named(name, _parse(value, depth + 1), (sides[0], value))
    return Relation(sides, operators)


def contradicts(sides: tuple[str, ...]) -> bool:
    """
    Whether numbers that are said to be equal are far apart, beyond rounding and a percent sign left out: of
    `1 = 2 = 3` any two, of `x = 1 = 2` the last and all before it.
    """
    named = is_name(sides[0])
    values = [approximate_value(tree) for side in sides[named:] if (tree := read(side)) is not None]
    if None in values or len(values) < max(2, len(sides) - named):
        return False
    *others, last = (abs(value) for value, _ in values)
    pairs = map(sorted, zip(others, repeat(last), strict=False))
    far = [high > 1.05 * low and not 95 * low < high < 105 * low for low, high in pairs]
    return all(far) if named else any(far)


def is_name(text: str) -> bool:
    """Whether `text` only names a quantity, so that `text = 5` says 5."""
    return _NAME.match(text) is not None


def has_variables(text: str) -> bool:
    """Whether there are letters in `text`, Latin or Greek, that may stand for unknown quantities."""
    text = TEXT.sub("", text)
    return _GREEK.search(text) is not None or re.search(r"[a-zA-Z]", COMMANDS_AND_NAMES.sub("", text)) is not None


def _matrix(body: str, text: str, depth: int) -> Matrix | None:
    rows = [
        row for row in re.split(r"\\\\(?:\s*\[[^\]]*\])?|\\cr(?![a-zA-Z])", body.replace(r"\hline", "")) if row.strip()
    ]
    if len(rows) > MAX_ITEMS or "\\begin" in body:
        return None
    cells = tuple(tuple(_parse(cell, depth + 1) for cell in row.split("&")) for row in rows)
    return Matrix(cells, text) if cells and len({len(row) for row in cells}) == 1 else None
