"""Whether two single values are equal: exactly, rounded, in bases, with units."""

import re
from fractions import Fraction

from . import numeric, residues
from .answers import balanced
from .expression import INFINITY, exact, free_names, has_numbers_side_by_side
from .shapes import Algebra, Scalar
from .units import conversion


# An approximate decimal is accepted for a number that no decimal can write, from this many significant digits on.
MIN_SIGNIFICANT_DIGITS = 6
# A gold answer that is rounded itself is met by an exact answer that rounds to it; a model cannot aim at that.
MIN_GOLD_DIGITS = 4
_FLOAT_NOISE = Fraction(1, 2**50)
_INSIGNIFICANT_SPACE = re.compile(r"(?<!\w)\s+|\s+(?!\w)")
_PRIMES = re.compile(r"[^\s']?'+")
_BROKEN = re.compile(r"^(?:[<>]=?)|[+\-*/^=<>]$|[^\x00-\x7f]|\\phantom|\\text\s*\{\s*\(|\\begin\s*\{cases\}.*\\\\")


def equal_scalars(prediction: Scalar, gold: Scalar, algebra: Algebra) -> bool | None:
    """Whether two values are equal; `None` where `algebra` was to tell and did not."""
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
        return equal_numbers(prediction, gold)
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
    """Numbers with a base: by value; one without counts as written in the gold answer's base, up to base ten.

    The other way only where the gold answer looks like a number of another base: three or more digits, all 0 or 1.

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
    if prediction.digits and not _letter_base(prediction) and (len(gold.text) < 3 or set(gold.text) - set("01")):
        return False
    return (prediction.digits or prediction.text) == (gold.digits or gold.text)


def _letter_base(answer: Scalar) -> bool:
    return not answer.base.isdigit()


def equal_numbers(prediction: Scalar, gold: Scalar) -> bool:
    """Whether two numbers are equal, one of them perhaps as a percentage, or rounded."""
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
