"""Whether two answers are equal: structure here, leaves by exact arithmetic, what is left by computer algebra."""

import re
from collections.abc import Callable
from fractions import Fraction

from . import bound, congruences, numeric, residues
from .answers import balanced, has_variables, is_name, nesting, parse, plain_number
from .expression import INFINITY, exact, free_names, has_numbers_side_by_side, negated, read
from .intervals import intersection, is_backwards, merged
from .latex import MAX_LENGTH, RECURRING, normalize
from .shapes import Answer, Matrix, Named, Relation, Scalar, Several, Words
from .units import conversion, measure


# An approximate decimal is accepted for a number that no decimal can write, from this many significant digits on.
MIN_SIGNIFICANT_DIGITS = 6
# A gold answer that is rounded itself is met by an exact answer that rounds to it; a model cannot aim at that.
MIN_GOLD_DIGITS = 4
# What is nested deeper and not read here takes the computer algebra seconds to minutes: it is not equal.
MAX_NESTING = 12

_FLOAT_NOISE = Fraction(1, 2**50)

Algebra = Callable[[Answer, Answer], bool | None]
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,(?!0+$)\d+")
_THOUSANDS_COMMA = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+")
_INSIGNIFICANT_SPACE = re.compile(r"(?<!\w)\s+|\s+(?!\w)")
# The mean \\bar{x} is not x, but a segment \\overline{AB} is AB.
_DECORATION = re.compile(r"\\(?:overrightarrow|vec)(?![a-z])|\\(?:overline|hat|bar|widehat)(?=[A-Z]{2})")
_POINTS = re.compile(r"(\\angle)?([A-Z]{2,3})")
_OPERATIONS = re.compile(
    r"\\(?:i*int|oint|sum|prod|lim|gcd|lcm|det|max|min|bigcup|bigcap|ldots|cdots|dots)(?![a-zA-Z])"
    r"|\\begin\s*\{[vV]matrix\}|(?<![a-zA-Z\\])(?:gcd|lcm|GCD|LCM|max|min)\s*\("
)
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_PUNCTUATION = re.compile(r"[^\w\s+\-*/^=<>%.]")
_TO_SPACES = {code: " " for code in range(128) if _PUNCTUATION.match(chr(code))}
_POINT = re.compile(r"\.(?:(?<!\d\.)|(?!\d))")
_SUBSCRIPT = re.compile(r"_\s*\{[^{}]*\}")
_LETTERS = re.compile(r"[a-zA-Z]")
_DENOMINATORS = frozenset(("/", "^", "apply", "sum", "prod", r"\tan", r"\cot", r"\sec", r"\csc"))
_NO_SOLUTION = frozenset(("no solution", "no solutions", "no real solution", "no real solutions", "none", "empty set"))
_BARS = re.compile(r"\|\s*\\?[a-zA-Z]+\s*((?:[+-]\s*[\d./]+\s*)?)\|")
_VARIABLE = re.compile(
    r"(?:\\[a-z]+)?\\?[a-zA-Z]+'*(?:_\w+)?(?:\^-1)?(?:\([\w,+-]*\))?|\|\\?[a-zA-Z]+\||\\frac(?:[A-Za-z]\w*){2}|[A-Za-z]\w*(?:[:/][A-Za-z]\w*)+"
)
_LOGARITHM = re.compile(r"(?<![a-zA-Z\\])\\?log(?![a-zA-Z\d])(?!\s*_)")
_PRIMES = re.compile(r"[^\s']?'+")
_INFINITE = Scalar(r"-\infty", negated(INFINITY)), Scalar(r"\infty", INFINITY)
_DOLLARS = re.compile(r"^\$+([^$]*[^$\\\s])\s*\$+$")
_SPACES = re.compile(r"(?<![a-zA-Z\d\\])\s+|\s+(?![a-zA-Z\d])")
_HALVES = measure("am"), measure("pm")
_BROKEN = re.compile(r"^(?:[<>]=?)|[+\-*/^=<>]$|[^\x00-\x7f]|\\phantom|\\text\s*\{\s*\(|\\begin\s*\{cases\}.*\\\\")
_JOINTS = re.compile(r"\s*(?:,|;|\b(?:and|or)\b)\s*")
_SYNONYMS = {"dne": "does not exist", "doesn t exist": "does not exist"}
_FLIPPED = {">": "<", ">=": "<="}


def _no_algebra(prediction: Answer, gold: Answer) -> bool | None:
    return None


def equal_texts(prediction: str, gold: str, algebra: Algebra = _no_algebra) -> bool | None:
    """Whether two answers, given as text, are equal; `None` if only (more) computer algebra can tell."""
    prediction, gold = _without_dollars(prediction.strip()), _without_dollars(gold.strip())
    if prediction == gold or "\\" in gold and _differ_in_spaces(prediction, gold):
        return True
    numbers = plain_number(prediction), plain_number(gold)
    if None not in numbers:
        return _equal_numbers(*numbers)
    if len(prediction) > MAX_LENGTH or len(gold) > MAX_LENGTH:
        return normalize(prediction) == normalize(gold)
    (prediction, names, one_set), (gold, other_names, other_set) = (
        bound.without_tail(prediction),
        bound.without_tail(gold),
    )
    if one_set and other_set and one_set != other_set:
        return False
    verdict = _equal_texts(prediction, gold, _no_algebra)
    if verdict is True or verdict is False and not _LETTERS.search(gold):
        return verdict
    if verdict is None and nesting(prediction) > MAX_NESTING:
        return False
    if "log" in prediction and "ln" in gold and "log" not in gold:  # without a base it may be the natural one
        prediction = _LOGARITHM.sub(r"\\ln ", prediction)
        verdict = _equal_texts(prediction, gold, _no_algebra)
    if "mod" in gold or "mod" in prediction:
        classes = congruences.classes(prediction), congruences.classes(gold)
        if None in classes and any(side is not None and side[3] for side in classes) and _is_number(prediction, gold):
            return False
        if None not in classes and (classes[0][3] or classes[1][3]):
            return congruences.equal(*classes)
    if (other := bound.renamed(prediction, gold, names | other_names)) is not None:
        return _equal_texts(other, gold, algebra)
    if bound.equal_up_to_constant(prediction, gold):
        return True
    return _equal_texts(prediction, gold, algebra) if verdict is None and algebra is not _no_algebra else verdict


def _differ_in_spaces(one: str, other: str) -> bool:
    """Whether two texts are the same but for spaces that mean nothing."""
    return "".join(one.split()) == "".join(other.split()) and _SPACES.sub("", one) == _SPACES.sub("", other)


def _without_dollars(text: str) -> str:
    return _DOLLARS.sub(r"\1", text) if text.startswith("$") else text


def _is_number(*texts: str) -> bool:
    return any(isinstance(answer := parse(text), Scalar) and answer.value is not None for text in texts)


def _equal_texts(prediction: str, gold: str, algebra: Algebra) -> bool | None:
    one, other = parse(prediction), parse(gold)
    if one is None or other is None:
        return False
    if _unevaluated(prediction, gold):
        return normalize(prediction) == normalize(gold)
    verdict = equal(one, other, algebra)
    if verdict is False and isinstance(one, Several) != isinstance(other, Several):
        return _with_decimal_comma(prediction.strip(" $"), gold.strip(" $"), one, other, algebra)
    return verdict


def _unevaluated(prediction: str, gold: str) -> bool:
    """Whether an answer only says what is to be computed, an integral, a sum, a gcd, and the gold answer does not."""
    if "_" in prediction:
        prediction = _SUBSCRIPT.sub("", prediction)
    if "dots" in prediction:
        prediction = RECURRING.sub("", prediction)
    left = frozenset(_OPERATIONS.findall(prediction.rpartition("=")[2]))
    return bool(left) and not left <= frozenset(_OPERATIONS.findall(gold))


def _with_decimal_comma(prediction: str, gold: str, one: Answer, other: Answer, algebra: Algebra) -> bool | None:
    if isinstance(one, Several) and _decimal_comma(prediction):
        return equal(parse(prediction.replace(",", ".")), other, algebra)
    # In a gold answer "1,2" is rather a list; "1,22" is not.
    if isinstance(other, Several) and _decimal_comma(gold) and len(gold.split(",")[1]) >= 2:
        return equal(one, parse(gold.replace(",", ".")), algebra)
    return False


def _decimal_comma(text: str) -> bool:
    return _DECIMAL_COMMA.fullmatch(text) is not None and _THOUSANDS_COMMA.fullmatch(text) is None


def contains(prediction: Answer | None, gold: Answer | None) -> bool:
    """Whether `prediction` is a list of guesses with `gold` among them."""
    if not isinstance(prediction, Several) or isinstance(gold, Several) or gold is None:
        return False
    if prediction.brackets not in ("", "{}"):
        return False
    return any(equal(item, gold) is True for item in prediction.items)


def equal(prediction: Answer, gold: Answer, algebra: Algebra = _no_algebra) -> bool | None:
    """Whether two parsed answers are equal; `None` if undecided."""
    prediction, gold = _solved(prediction), _solved(gold)
    if isinstance(prediction, Named) or isinstance(gold, Named):
        return _equal_named(prediction, gold, algebra)
    if isinstance(prediction, Relation) or isinstance(gold, Relation):
        return _equal_relations(prediction, gold, algebra)
    if isinstance(prediction, Words) or isinstance(gold, Words):
        return _equal_words(prediction, gold)
    if isinstance(prediction, Matrix) or isinstance(gold, Matrix):
        return _equal_matrices(prediction, gold, algebra)
    if isinstance(prediction, Several) or isinstance(gold, Several):
        if _has_unsolved(prediction) and not _has_unsolved(gold):
            return False
        return _equal_several(prediction, gold, algebra)
    return _equal_scalars(prediction, gold, algebra)


def _solved(answer: Answer) -> Answer:
    """`x < 1 or x > 2` as a union, `x > 1 and x < 2` as an interval; anything else as it is."""
    if not isinstance(answer, Several) or answer.brackets not in ("and", "or"):
        return answer
    either = answer.brackets == "or"
    intervals = [
        (item.name, Several("{}", (item.value,)))
        if isinstance(item, Named) and either
        else _as_interval(item)
        if isinstance(item, Relation)
        else None
        for item in answer.items
    ]
    if None in intervals or len({name for name, _ in intervals}) > 1:
        return Several("", answer.items)
    parts = [interval for _, interval in intervals]
    if answer.brackets == "or":
        return Several("U", tuple(parts))
    return intersection(parts) or Several("", answer.items)


def _all(verdicts) -> bool | None:
    result: bool | None = True
    for verdict in verdicts:
        if verdict is False:
            return False
        result = result and verdict
    return result


def _elementwise(first, second, algebra: Algebra) -> bool | None:
    if len(first) != len(second):
        return False
    # Cheap elements first: one that differs settles the matter before any algebra.
    quick = [equal(a, b) for a, b in zip(first, second, strict=True)]
    if False in quick:
        return False
    return _all(
        known if known is not None else equal(a, b, algebra) for known, a, b in zip(quick, first, second, strict=True)
    )


def _unordered(first, second, algebra: Algebra) -> bool | None:
    if len(first) != len(second):
        return False
    left, undecided = list(second), []
    for item in first:
        match = next((index for index, other in enumerate(left) if equal(item, other) is True), None)
        if match is None:
            undecided.append(item)
        else:
            left.pop(match)
    for item in undecided:
        match, maybe = None, None
        for index, other in enumerate(left):
            verdict = equal(item, other, algebra)
            if verdict is True:
                match = index
                break
            maybe = index if verdict is None and maybe is None else maybe
        if match is None and maybe is None:
            return False
        if match is None:
            return None
        left.pop(match)
    return True


def _equal_named(prediction: Answer, gold: Answer, algebra: Algebra) -> bool | None:
    if isinstance(prediction, Named) and isinstance(gold, Named):
        names = _canonical_name(prediction.name), _canonical_name(gold.name)
        if (
            "" in names
            or names[0] == names[1]
            or _is_initial(*names)
            or not all(map(_is_variable, names))
            or set(names) == {"y", "f(x)"}
        ):
            return equal(_in_order_of(gold.name, prediction), gold.value, algebra)
        # y = 2x may be x = y/2: then each value has the other's name in it.
        values = prediction.value, gold.value
        if not all(isinstance(value, Scalar) and value.value is None for value in values):
            return False
        trees = [value.tree for value in values]
        if None not in trees and not (names[1] in free_names(trees[0]) and names[0] in free_names(trees[1])):
            return False
    elif not isinstance(prediction, Relation) and not isinstance(gold, Relation):
        if isinstance(gold, Named) and isinstance(prediction, Scalar) and len(gold.name) > 1:
            if _solves(prediction, Relation(gold.sides, ("=",))):
                return True  # 6/x for xy = 6
        prediction = _in_one(prediction, gold)
        return equal(*(side.value if isinstance(side, Named) else side for side in (prediction, gold)), algebra)
    relations = (Relation(side.sides, ("=",)) if isinstance(side, Named) else side for side in (prediction, gold))
    return _equal_relations(*relations, algebra)


def _is_initial(one: str, other: str) -> bool:
    """Whether one name is a word and the other its first letter: `radius = 2` and `r = 2`."""
    short, long = sorted((one, other), key=len)
    return len(short) == 1 and len(long) > 3 and long.isalpha() and long[0].lower() == short.lower()


def _is_variable(name: str) -> bool:
    return _VARIABLE.fullmatch(name) is not None


def _canonical_name(name: str) -> str:
    """A name without what only decorates it, `AB` for both `\\overline{BA}` and `AB`."""
    name = _DECORATION.sub("", name).replace(r"\measuredangle", r"\angle").replace(r"m\angle", r"\angle")
    if match := _POINTS.fullmatch(name):
        name = (match.group(1) or "") + min(match.group(2), match.group(2)[::-1])
    return name


def _in_one(prediction: Answer, gold: Answer) -> Answer:
    """`q = 5, p = 3` as a pair for `(p, q) = (3, 5)`; any other answer as it is."""
    if not isinstance(prediction, Several) or not isinstance(gold, Named) or not gold.name.startswith("("):
        return prediction
    values = {item.name: item.value for item in prediction.items if isinstance(item, Named)}
    names = gold.name.strip("()").split(",")
    if sorted(values) != sorted(names) or len(values) < len(prediction.items):
        return prediction
    return Several("()", tuple(values[name] for name in names))


def _in_order_of(names: str, named: Named) -> Answer:
    """The value of `(y, x) = (2, 1)` in the order of `(x, y)`; any other value as it is."""
    wanted, given = (text.strip("()").split(",") for text in (names, named.name))
    value = named.value
    if wanted == given or sorted(wanted) != sorted(given) or not isinstance(value, Several):
        return value
    if len(value.items) != len(given):
        return value
    return Several(value.brackets, tuple(value.items[given.index(name)] for name in wanted))


def _as_interval(relation: Relation) -> tuple[str, Several] | None:
    """`1 < x <= 2` as a name and an interval."""
    sides, operators = relation.sides, relation.operators
    if set(operators) <= {">", ">="}:
        sides, operators = sides[::-1], tuple(_FLIPPED[operator] for operator in operators[::-1])
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


def _is_solved(relation: Relation) -> bool:
    """Whether a relation says outright what a name is: `x = 3`, `1 < -x <= 2`, `x != 0`; not `2x = 6` or `|x| < 2`."""
    names = [side for side in relation.sides if is_name(side.lstrip("- ")) and not side.startswith(("|", r"\frac"))]
    others = [side for side in relation.sides if side not in names]
    return len(names) == 1 and not any(map(has_variables, others))


def _solves(value: Scalar, equation: Relation) -> bool:
    """Whether an equation in one more name says that this name is `value`: `-x^2 - 1` for `y + 1 = -x^2`."""
    difference = _difference(equation) if equation.operators == ("=",) else None
    if difference is None or value.tree is None:
        return False
    names = free_names(difference) - free_names(value.tree) - {r"\pi", "e", "i"}
    if len(names) != 1:
        return False
    name = ("name", *names)
    cleared = ("-", ("*", name, value.tree[2]), value.tree[1]) if value.tree[0] == "/" else ("-", name, value.tree)
    return residues.ratio(difference, cleared) is not None


def _has_unsolved(answer: Answer) -> bool:
    if isinstance(answer, Several):
        return any(map(_has_unsolved, answer.items))
    return isinstance(answer, Relation) and not _is_solved(answer)


def _without_bars(relation: Relation) -> Several | None:
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


def _difference(relation: Relation) -> tuple | None:
    """`left - right` of a relation with one operator, turned so that the operator is `=`, `!=`, `<` or `<=`."""
    left, right = (read(side) for side in relation.sides)
    if left is None or right is None:
        return None
    return ("-", right, left) if relation.operators[0] in _FLIPPED else ("-", left, right)


def _equal_relations(prediction: Answer, gold: Answer, algebra: Algebra) -> bool | None:
    if not isinstance(prediction, Relation) or not isinstance(gold, Relation):
        relation, other = (prediction, gold) if isinstance(prediction, Relation) else (gold, prediction)
        if isinstance(other, Several) and other.items:
            if relation is gold and (solved := _without_bars(relation)) is not None:
                return equal(other, solved, algebra)
            interval = _as_interval(relation)
            if interval is not None:
                return equal(*((interval[1], other) if relation is prediction else (other, interval[1])), algebra)
            return False if relation is prediction and not _is_solved(relation) else algebra(prediction, gold)
        if relation is gold and isinstance(other, Scalar) and _solves(other, relation):
            return True
        if relation is prediction and isinstance(other, Scalar) and set(relation.operators) == {"="}:
            # (x + y)^2 = 81 says that the quantity on the left is 81, but 2x = 6 is an equation.
            trees = [read(side) for side in (relation.sides[0], relation.sides[-1])]
            if None not in trees and residues.equal(*trees) is True:
                return equal(parse(relation.sides[-1]), gold, algebra)
            if re.search(r"\d", re.sub(r"[\^_]\s*(?:\{[^{}]*\}|\d)", "", relation.sides[0])) is None:
                return equal(parse(relation.sides[-1]), gold, algebra)
        return False
    if _is_solved(gold) and not _is_solved(prediction):
        return False
    intervals = _as_interval(prediction), _as_interval(gold)
    if None not in intervals:
        (name, one), (other_name, other) = intervals
        if name != other_name and _is_variable(name) and _is_variable(other_name):
            return False
        return equal(one, other, algebra)
    kinds = [tuple(_FLIPPED.get(operator, operator) for operator in side.operators) for side in (prediction, gold)]
    if len(kinds[0]) == len(kinds[1]) == 1:
        if kinds[0] != kinds[1]:
            return False
        one, other = _difference(prediction), _difference(gold)
        if one is not None and other is not None:
            factor = residues.ratio(one, other)
            if factor is not None:
                return factor > 0 or kinds[0][0] in ("=", "!=")
            if residues.is_polynomial(one) and residues.is_polynomial(other):
                return False
            sign = numeric.proportional(one, other)
            if sign is not None:
                return sign or kinds[0][0] in ("=", "!=")
            if not numeric.operators(one) & _DENOMINATORS and not numeric.operators(other) & _DENOMINATORS:
                return False
    elif prediction.operators == gold.operators:
        verdicts = [equal_texts(a, b) for a, b in zip(prediction.sides, gold.sides, strict=True)]
        if None not in verdicts:
            return all(verdicts)
    return algebra(prediction, gold)


def _plain_words(answer: Answer) -> str:
    text = answer.text if isinstance(answer, Words | Scalar) else ""
    if r"\text" in text:
        text = _TEXT.sub(r" \1 ", text)
    text = text.translate(_TO_SPACES) if text.isascii() else _PUNCTUATION.sub(" ", text)
    if "." in text:
        text = _POINT.sub(" ", text)
    text = " ".join(text.split())
    return text.lower() if len(text) > 1 else text


def _equal_words(prediction: Answer, gold: Answer) -> bool | None:
    if isinstance(prediction, Several | Matrix) or isinstance(gold, Several | Matrix):
        empty, words = (prediction, gold) if isinstance(gold, Words) else (gold, prediction)
        if isinstance(empty, Several) and empty.items and all(isinstance(item, Words) for item in empty.items):
            parts = [part for part in _JOINTS.split(_text(words)) if part]
            return _unordered(tuple(map(Words, parts)), empty.items, _no_algebra)
        return isinstance(empty, Several) and not empty.items and _plain_words(words) in _NO_SOLUTION
    one, other = (_SYNONYMS.get(words, words) for words in (_plain_words(prediction), _plain_words(gold)))
    if one in _NO_SOLUTION and other in _NO_SOLUTION:
        return True
    return bool(one) and (one == other or one.replace(" ", "") == other.replace(" ", ""))


def _equal_matrices(prediction: Answer, gold: Answer, algebra: Algebra) -> bool | None:
    if isinstance(prediction, Matrix) and isinstance(gold, Matrix):
        if [len(row) for row in prediction.rows] != [len(row) for row in gold.rows]:
            return False
        flat = [[cell for row in matrix.rows for cell in row] for matrix in (prediction, gold)]
        return _elementwise(*flat, algebra)
    matrix, other = (prediction, gold) if isinstance(prediction, Matrix) else (gold, prediction)
    if isinstance(other, Several) and other.brackets == "()" and len(matrix.rows[0]) == 1:
        return _elementwise([row[0] for row in matrix.rows], other.items, algebra)
    if isinstance(other, Several) and all(isinstance(row, Several) for row in other.items):
        rows = [row.items for row in other.items]  # [[1, 2], [3, 4]]
        if {other.brackets} == {row.brackets for row in other.items} == {"[]"} and list(map(len, rows)) == list(
            map(len, matrix.rows)
        ):
            cells = [[cell for row in side for cell in row] for side in (matrix.rows, rows)]
            return _elementwise(*(cells if matrix is prediction else cells[::-1]), algebra)
    unread = isinstance(other, Scalar) and other.tree is None and len(other.text) > 1
    return algebra(prediction, gold) if unread else False


def _equal_several(prediction: Answer, gold: Answer, algebra: Algebra) -> bool | None:
    if not isinstance(prediction, Several) or not isinstance(gold, Several):
        several, other = (prediction, gold) if isinstance(prediction, Several) else (gold, prediction)
        if several.brackets == ":" and measure(other.unit if isinstance(other, Scalar) else "") in _HALVES:
            times = _time(several), _time(Several(":", (other, Scalar("00"))))
            return None not in times and _same_time(*times)
        if several.brackets == ":" and len(several.items) == 2 and all(isinstance(i, Scalar) for i in several.items):
            top, bottom = several.items
            if top.tree is not None and bottom.tree is not None and other.tree is not None:
                return residues.equal(("/", top.tree, bottom.tree), other.tree)
            return False
        if several.brackets == "U":
            return False if _is_extended(several) and _is_read(other) else algebra(prediction, gold)
        if not several.items or several.brackets not in ("", "{}", "()", "[]"):
            return False
        if len(several.items) > 1 and not _one_answer_twice(several, several is prediction):
            return False
        return _all(
            equal(*((item, other) if several is prediction else (other, item)), algebra) for item in several.items
        )
    brackets = {prediction.brackets, gold.brackets}
    one, other = prediction.items, gold.items
    if "U" in brackets:
        intervals = merged(prediction), merged(gold)
        if None not in intervals:
            return intervals[0] == intervals[1]
        if intervals[1] is not None and is_backwards(prediction):
            return False
        for union, side in ((prediction, gold), (gold, prediction)):
            several = side.brackets in ("", "{}") or side.brackets == "()" and len(side.items) != 2
            if several and all(map(_is_read, side.items)) and _is_extended(union):
                return False
        verdict = _unordered(one, other, algebra) if brackets == {"U"} else False
        return verdict or algebra(prediction, gold)
    if brackets == {":"}:
        times = _time(prediction), _time(gold)
        if None not in times:
            return _same_time(*times)
        if len(one) == len(other) and all(isinstance(i, Scalar) and i.tree is not None for i in (*one, *other)):
            return _all(
                residues.equal(("*", one[0].tree, bottom.tree), ("*", top.tree, other[0].tree))
                for top, bottom in zip(one[1:], other[1:], strict=True)
            )
        return _elementwise(one, other, algebra)
    if brackets <= {"", "{}"}:
        # A set has every member once, a list may have one twice.
        one, other = (
            _without_repeats(side.items) if side.brackets == "{}" else side.items for side in (prediction, gold)
        )
        named = [all(isinstance(item, Named) for item in side) for side in (one, other)]
        different = len({item.name for item in other}) > 1 if named[1] else False
        if different and not any(isinstance(item, Named) for item in one):
            return _elementwise(one, other, algebra)  # k = 45, n = 2 against 45, 2
        return _unordered(one, other, algebra)
    if len(brackets) == 1 or brackets == {"", "()"}:
        return _elementwise(one, other, algebra)
    if brackets == {"", "[]"} and len(one) != 2:
        return _unordered(one, other, algebra)
    return False


def _is_extended(union: Several) -> bool:
    """Whether a union has more than a few points: then it is no number, and no list of numbers."""
    return union.brackets == "U" and any(low < high for low, high in merged(union) or ())


def _is_read(answer: Answer) -> bool:
    return isinstance(answer, Scalar) and answer.tree is not None


def _time(answer: Several) -> tuple[int, int, str] | None:
    """`2:30 pm` as minutes, seconds and the half of the day, if it is written as a time."""
    texts = [item.text if isinstance(item, Scalar) else "" for item in answer.items]
    if len(texts) > 3 or not re.fullmatch(r"(?:1?\d|0\d|2[0-4])(?::[0-5]\d){1,2}", ":".join(texts)):
        return None
    hour, minute, second = (*map(int, texts), 0)[:3]
    half = next((unit[0][0][0] for item in answer.items if (unit := measure(item.unit)) in _HALVES and unit), "")
    return hour * 60 + minute, second, half


def _same_time(one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
    """Times of day are no ratios; half of a day may be left out, and 15:00 is 3:00 pm."""
    if one == other or (one[:2] == other[:2] and "" in (one[2], other[2])):
        return True
    day = [
        (minutes % 720 + 720 * (half == "pm") if half else minutes, second) for minutes, second, half in (one, other)
    ]
    return day[0] == day[1] and one[2] != other[2]


def _one_answer_twice(several: Several, predicted: bool) -> bool:
    """Whether a list may be one answer in several forms, as in `1/2, 0.5`: a pair (5, 5) is not, nor a list 5, 5."""
    names = {item.name for item in several.items if isinstance(item, Named)}
    return predicted and several.brackets == "" and len(names) < 2 and len({_text(item) for item in several.items}) > 1


def _text(answer: Answer) -> str:
    return answer.text if isinstance(answer, Scalar | Words) else repr(answer)


def _without_repeats(items: tuple) -> tuple:
    distinct: list[Answer] = []
    for item in items:
        if not any(equal(item, other) is True for other in distinct):
            distinct.append(item)
    return tuple(distinct)


def _equal_scalars(prediction: Scalar, gold: Scalar, algebra: Algebra) -> bool | None:
    if {prediction.unit, gold.unit} in ({"deg", ""}, {"deg", "rad"}) and None not in (prediction.tree, gold.tree):
        angle, other = (prediction, gold) if prediction.unit == "deg" else (gold, prediction)
        radians = ("/", ("*", angle.tree, ("name", r"\pi")), ("number", Fraction(180)))
        if residues.equal(radians, other.tree):
            return True
    if "" in (prediction.unit, gold.unit) and len(prediction.unit + gold.unit) == 1:
        spelled, other = (prediction, gold) if prediction.unit else (gold, prediction)
        if None not in (spelled.tree, other.tree) and other.value is None:  # 5 m for 5m, a product
            return residues.equal(("*", spelled.tree, ("name", spelled.unit)), other.tree)
    factor = conversion(prediction.unit, gold.unit)
    if factor is None:
        return False
    if factor != 1:
        trees = prediction.tree, gold.tree
        return None not in trees and residues.equal(("*", trees[0], ("number", factor)), trees[1]) is True
    if prediction.digits or gold.digits:
        return _equal_in_bases(prediction, gold)
    if prediction.value is not None and gold.value is not None:
        return _equal_numbers(prediction, gold)
    if _INSIGNIFICANT_SPACE.sub("", prediction.text) == _INSIGNIFICANT_SPACE.sub("", gold.text):
        return True
    if prediction.tree is None or gold.tree is None:
        if _primes(prediction.text) != _primes(gold.text):
            return False
        broken = prediction.tree is None and (
            not prediction.text
            or INFINITY[1] in prediction.text
            or _BROKEN.search(prediction.text)
            or not balanced(prediction.text)
            or has_numbers_side_by_side(prediction.text)
        )
        return False if broken and gold.value is not None else algebra(prediction, gold)
    # Infinity less infinity, or zero divided by zero, is no number
    if gold.value is not None and (INFINITY[1] in free_names(prediction.tree) or _divides_by_zero(prediction.tree)):
        return False
    verdict = _same_trees(prediction.tree, gold.tree)
    if verdict is not True and (_approximates(prediction, gold) or _approximates(gold, prediction, MIN_GOLD_DIGITS)):
        return True
    return algebra(prediction, gold) if verdict is None else verdict


def _primes(text: str) -> set[str]:
    """What a text has derivatives of, with their marks; the reader of the computer algebra passes over these."""
    return set(_PRIMES.findall(text)) if "'" in text else set()


def _divides_by_zero(tree: tuple) -> bool:
    """Whether a term or factor is divided by zero, as in `0/0`: that is never a number."""
    operator = tree[0]
    if operator in ("+", "-", "*"):
        return _divides_by_zero(tree[1]) or _divides_by_zero(tree[2])
    return operator == "/" and (exact(tree[2]) == 0 or _divides_by_zero(tree[1]))


def _same_trees(one: tuple, other: tuple) -> bool | None:
    verdict = residues.equal(one, other)
    return numeric.agree(one, other) if verdict is None else verdict


def _equal_in_bases(prediction: Scalar, gold: Scalar) -> bool:
    """Numbers with a base: by value; a number without counts as written in the other's base, up to base ten.

    A base that is a letter has no value: the same digits with the same letter are equal, and with a known base.
    """
    if prediction.value is not None and prediction.value == gold.value:
        return True
    based = [side for side in (prediction, gold) if side.digits]
    if any(side.value is None and not _letter_base(side) for side in based):
        return False  # 33_2: no number has these digits
    if len(based) == 2:
        letters = [side.base for side in based if _letter_base(side)]
        return prediction.digits == gold.digits and (len(letters) == 1 or len(letters) == 2 and len(set(letters)) == 1)
    if not _letter_base(based[0]) and int(based[0].base) > 10:
        return False
    return (prediction.digits or prediction.text) == (gold.digits or gold.text)


def _letter_base(answer: Scalar) -> bool:
    return not answer.base.isdigit()


def _equal_numbers(prediction: Scalar, gold: Scalar) -> bool:
    if prediction.value == gold.value:
        return True
    if prediction.percent and not gold.percent and prediction.value == 100 * gold.value:
        return True
    if gold.percent and not prediction.percent and gold.value == 100 * prediction.value:
        return True
    return _approximates(prediction, gold) or _approximates(gold, prediction, MIN_GOLD_DIGITS)


def _terminates(value: Fraction) -> bool:
    denominator = value.denominator
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return denominator == 1


def _approximates(decimal: Scalar, other: Scalar, digits: int = MIN_SIGNIFICANT_DIGITS) -> bool:
    """Whether `decimal` is a rounded or cut-off form of a number that has no finite decimal form."""
    if decimal.value is None or not decimal.decimals or other.tree is None or other.decimals:
        return False
    mantissa = decimal.text.partition("\\")[0]
    if len(mantissa.strip().lstrip("-0.").replace(".", "")) < digits:
        return False
    if other.value is not None:
        return not _terminates(other.value) and _rounds(other.value, Fraction(0), decimal)
    approximation = residues.approximate(other.tree)
    if approximation is not None and 4 * Fraction(approximation[1]) < Fraction(10) ** -decimal.decimals:
        return _rounds(Fraction(approximation[0]), Fraction(approximation[1]), decimal)
    value = numeric.constant(other.tree)
    # What a program printed is right to about its last digit.
    noise = abs(decimal.value) * _FLOAT_NOISE if decimal.decimals >= 14 else Fraction(0)
    return value is not None and _rounds(value, noise, decimal)


def _rounds(value: Fraction, error: Fraction, decimal: Scalar) -> bool:
    """Whether `decimal` is `value` (known up to `error`), rounded or cut off at its last digit."""
    unit = Fraction(10) ** -decimal.decimals
    if abs(decimal.value - value) <= unit / 2 + error:
        return True
    return -error <= abs(value) - abs(decimal.value) < unit + error and (value < 0) == (decimal.value < 0)
