"""Whether two answers are equal: structure here, leaves by exact arithmetic, what is left by computer algebra."""

import math
import re
from itertools import product

from . import bound, congruences, described, numeric, piecewise, residues
from .amounts import plain_number
from .answers import contradicts, nesting, parse
from .expression import free_names, read
from .intervals import closed_in_integers, intersection, is_backwards, merged, without_points
from .latex import MAX_LENGTH, normalize
from .names import canonical_name, in_one, in_order_of, is_initial, is_variable
from .relations import FLIPPED, REAL_LINE, as_interval, difference_of, has_unsolved, is_solved, solves, without_bars
from .scalars import equal_numbers, equal_scalars
from .shapes import Algebra, Answer, Matrix, Named, Relation, Scalar, Several, Words
from .times import HALVES, same_time, time_of
from .unevaluated import is_unevaluated
from .units import measure
from .words import is_none, plain_words, same_words


# What is nested deeper and not read here takes the computer algebra seconds to minutes: it is not equal.
MAX_NESTING = 12

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,(?!0+$)\d+")
_THOUSANDS_COMMA = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+")
_CHAIN = re.compile(r"\s*[a-zA-Z](?:_\w)?(?:\s*=\s*[a-zA-Z](?:_\w)?)+\s*=\s*([^=,]{1,40})")
_LETTERS = re.compile(r"[a-zA-Z]")
_DENOMINATORS = frozenset(("/", "^", "apply", "sum", "prod", r"\tan", r"\cot", r"\sec", r"\csc"))
_LOGARITHM = re.compile(r"(?<![a-zA-Z\\])\\?log(?![a-zA-Z\d])(?!\s*_)")
_DOLLARS = re.compile(r"^\$+([^$]*[^$\\\s])\s*\$+$")
_SPACES = re.compile(r"(?<![a-zA-Z\d\\])\s+|\s+(?![a-zA-Z\d])")
_JOINTS = re.compile(r"\s*(?:,|;|\b(?:and|or)\b)\s*")


def _no_algebra(prediction: Answer, gold: Answer) -> bool | None:
    return None


def equal_texts(prediction: str, gold: str, algebra: Algebra = _no_algebra) -> bool | None:
    """Whether two answers, given as text, are equal; `None` if only (more) computer algebra can tell."""
    prediction, gold = _without_dollars(prediction.strip()), _without_dollars(gold.strip())
    if prediction == gold or "\\" in gold and _differ_in_spaces(prediction, gold):
        return True
    numbers = plain_number(prediction), plain_number(gold)
    if None not in numbers:
        return equal_numbers(*numbers)
    if len(prediction) > MAX_LENGTH or len(gold) > MAX_LENGTH:
        return normalize(prediction) == normalize(gold)
    described_sets = ["", ""]
    if "text" in prediction + gold or " " in prediction + gold or "|" in gold:
        (prediction, described_sets[0]), (gold, described_sets[1]) = map(described.in_symbols, (prediction, gold))
    (prediction, names, one_set), (gold, other_names, other_set) = (
        bound.without_tail(prediction),
        bound.without_tail(gold),
    )
    if one_set and other_set and one_set != other_set:
        return False
    verdict = _equal_texts(prediction, gold, _no_algebra)
    if verdict is True or verdict is False and not _LETTERS.search(prediction + gold):
        return verdict
    sets = {one_set, other_set, *described_sets}
    if not sets.isdisjoint(("Z", "N")) and _same_integers(prediction, gold):
        return True
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
    declared = names | other_names
    readings = [prediction, *bound.renamings(prediction, gold, declared)]
    verdicts = [_equal_texts(other, gold, algebra) for other in readings[1:]]
    if True in verdicts:
        return True
    if "Z" in (one_set, other_set) and any(
        _equal_texts(other, gold, _no_algebra) for reading in readings for other in bound.shifted(reading, declared)
    ):
        return True
    if verdicts:
        return None if None in verdicts else False
    if (chain := _CHAIN.fullmatch(prediction)) and (value := parse(chain[1])) is not None:  # x = y = 1 for (1, 1)
        wanted = other.value if isinstance(other := parse(gold), Named) else other
        if isinstance(wanted, Several) and wanted.brackets == "()" and len(wanted.items) == prediction.count("="):
            return equal(Several("()", (value,) * len(wanted.items)), wanted)
    if (by_cases := piecewise.equal(prediction, gold)) is not None:
        return by_cases
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


def _same_integers(prediction: str, gold: str) -> bool:
    """Whether two intervals have the same integers: `n > 2` and `n >= 3`."""
    sides = [parse(text) for text in (prediction, gold)]
    named = [as_interval(side) if isinstance(side, Relation) else ("", side) for side in sides]
    if None in named or len({name for name, _ in named} - {""}) > 1:
        return False
    one, other = (closed_in_integers(side) for _, side in named)
    return one is not None and other is not None and equal(one, other) is True


def _equal_texts(prediction: str, gold: str, algebra: Algebra) -> bool | None:
    one, other = parse(prediction), parse(gold)
    if one is None or other is None:
        return False
    if is_unevaluated(prediction, gold):
        return normalize(prediction) == normalize(gold)
    verdict = equal(one, other, algebra)
    if verdict is None and "dots" in prediction and "dots" in gold:
        return False  # computer algebra knows nothing of what is left out
    if verdict is False and isinstance(one, Several) != isinstance(other, Several):
        return _with_decimal_comma(prediction.strip(" $"), gold.strip(" $"), one, other, algebra)
    return verdict


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


def equal(prediction: Answer | None, gold: Answer | None, algebra: Algebra = _no_algebra) -> bool | None:
    """Whether two parsed answers are equal; `None` if undecided. A side that states nothing equals nothing."""
    if prediction is None or gold is None:
        return False
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
        if has_unsolved(prediction) and not has_unsolved(gold):
            return False
        return _equal_several(prediction, gold, algebra)
    return equal_scalars(prediction, gold, algebra)


def _punctured(items: tuple) -> Several | None:
    """`-1 < x < 1, x != 0` as a union; `None` where nothing is said of what x is not."""
    excluded = [item for item in items if isinstance(item, Relation) and item.operators == ("!=",)]
    intervals = [
        ("", item) if isinstance(item, Several) else as_interval(item) if isinstance(item, Relation) else None
        for item in items
        if item not in excluded
    ]
    points = [parse(item.sides[1]) for item in excluded]
    if not excluded or None in intervals or None in points:
        return None
    if len({name for name, _ in intervals if name} | {item.sides[0].replace(" ", "") for item in excluded}) > 1:
        return None
    whole = intersection([interval for _, interval in intervals] or [REAL_LINE])
    return None if whole is None else without_points(whole, Several("{}", tuple(points)))


def _solved(answer: Answer) -> Answer:
    """`x < 1 or x > 2` as a union, `x > 1 and x < 2` as an interval; anything else as it is."""
    if not isinstance(answer, Several) or answer.brackets not in ("and", "or"):
        return answer
    if answer.brackets == "and" and (punctured := _punctured(answer.items)) is not None:
        return punctured
    either = answer.brackets == "or"
    intervals = [
        (item.name, Several("{}", (item.value,)))
        if isinstance(item, Named) and either
        else as_interval(item)
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
        names = canonical_name(prediction.name), canonical_name(gold.name)
        if (
            "" in names
            or names[0] == names[1]
            or is_initial(*names)
            or not all(map(is_variable, names))
            or set(names) == {"y", "f(x)"}
        ):
            return equal(in_order_of(gold.name, prediction), gold.value, algebra)
        if tuple(map(_bare, prediction.sides)) == tuple(map(_bare, reversed(gold.sides))):
            return True  # AB = CD
        # y = 2x may be x = y/2: then each value has the other's name in it.
        values = prediction.value, gold.value
        if not all(isinstance(value, Scalar) and value.value is None for value in values):
            return False
        trees = [value.tree for value in values]
        if None not in trees and not (names[1] in free_names(trees[0]) and names[0] in free_names(trees[1])):
            return False
    elif not isinstance(prediction, Relation) and not isinstance(gold, Relation):
        if isinstance(gold, Named) and isinstance(prediction, Scalar) and len(gold.name) > 1:
            if solves(prediction, Relation(gold.sides, ("=",))):
                return True  # 6/x for xy = 6
        prediction = in_one(prediction, gold)
        return equal(*(side.value if isinstance(side, Named) else side for side in (prediction, gold)), algebra)
    relations = (Relation(side.sides, ("=",)) if isinstance(side, Named) else side for side in (prediction, gold))
    return _equal_relations(*relations, algebra)


def _bare(text: str) -> str:
    return canonical_name("".join(text.split()))


def _equal_relations(prediction: Answer, gold: Answer, algebra: Algebra) -> bool | None:
    if not isinstance(prediction, Relation) or not isinstance(gold, Relation):
        relation, other = (prediction, gold) if isinstance(prediction, Relation) else (gold, prediction)
        if isinstance(other, Several) and other.items:
            if relation is gold and (solved := without_bars(relation)) is not None:
                return equal(other, solved, algebra)
            interval = as_interval(relation)
            if interval is not None:
                return equal(*((interval[1], other) if relation is prediction else (other, interval[1])), algebra)
            return False if relation is prediction and not is_solved(relation) else algebra(prediction, gold)
        if relation is gold and isinstance(other, Scalar) and solves(other, relation):
            return True
        if relation is prediction and isinstance(other, Scalar) and set(relation.operators) == {"="}:
            if contradicts(relation.sides):
                return False
            # (x + y)^2 = 81 says that the quantity on the left is 81, but 2x = 6 is an equation.
            trees = [read(side) for side in (relation.sides[0], relation.sides[-1])]
            if None not in trees and residues.equal(*trees) is True:
                return equal(parse(relation.sides[-1]), gold, algebra)
            if re.search(r"\d", re.sub(r"[\^_]\s*(?:\{[^{}]*\}|\d)", "", relation.sides[0])) is None:
                return equal(parse(relation.sides[-1]), gold, algebra)
        return False
    if is_solved(gold) and not is_solved(prediction):
        return False
    if (bars := without_bars(gold)) is not None and (interval := as_interval(prediction)) is not None:
        return equal(interval[1], bars, algebra)
    intervals = as_interval(prediction), as_interval(gold)
    if None not in intervals:
        (name, one), (other_name, other) = intervals
        if name != other_name and is_variable(name) and is_variable(other_name):
            return False
        return equal(one, other, algebra)
    kinds = [tuple(FLIPPED.get(operator, operator) for operator in side.operators) for side in (prediction, gold)]
    if len(kinds[0]) == len(kinds[1]) == 1:
        if kinds[0] != kinds[1]:
            return False
        one, other = difference_of(prediction), difference_of(gold)
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


def _equal_words(prediction: Answer, gold: Answer) -> bool | None:
    if isinstance(prediction, Several | Matrix) or isinstance(gold, Several | Matrix):
        empty, words = (prediction, gold) if isinstance(gold, Words) else (gold, prediction)
        if isinstance(empty, Several) and empty.items and all(isinstance(item, Words) for item in empty.items):
            parts = [part for part in _JOINTS.split(_text(words)) if part]
            return _unordered(tuple(map(Words, parts)), empty.items, _no_algebra)
        return isinstance(empty, Several) and not empty.items and is_none(plain_words(words))
    return same_words(prediction, gold)


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
        if several.brackets == ":" and measure(other.unit if isinstance(other, Scalar) else "") in HALVES:
            times = time_of(several), time_of(Several(":", (other, Scalar("00"))))
            return None not in times and same_time(*times)
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
        times = time_of(prediction), time_of(gold)
        if None not in times:
            return same_time(*times)
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
        if (tuples := _as_tuples(prediction)) and all(isinstance(i, Several) and i.brackets == "()" for i in other):
            return _unordered(tuples, other, algebra)
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


def _as_tuples(answer: Several) -> tuple[Several, ...] | None:
    """`x = 2 or -2, y = 0`, as from `x = \\pm 2, y = 0`, as pairs; `None` where no name has several values."""
    named = [item for item in answer.items if isinstance(item, Named)]
    if len(named) < len(answer.items) or len({item.name for item in named}) < len(named):
        return None
    values = [item.value.items if isinstance(item.value, Several) else (item.value,) for item in named]
    if max(map(len, values), default=1) == 1 or math.prod(map(len, values)) > 16:
        return None
    return tuple(Several("()", items) for items in product(*values))


def _is_extended(union: Several) -> bool:
    """Whether a union has more than a few points: then it is no number, and no list of numbers."""
    return union.brackets == "U" and any(low < high for low, high in merged(union) or ())


def _is_read(answer: Answer) -> bool:
    return isinstance(answer, Scalar) and answer.tree is not None


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
