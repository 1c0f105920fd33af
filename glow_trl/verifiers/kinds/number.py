"""Kind `number`: one number, within a tolerance that comes with the row."""

from fractions import Fraction

from ..equality import residues
from ..equality.answers import parse
from ..equality.shapes import Named, Scalar
from ..extraction.boxes import span_of
from ..extraction.final_answer import extract_math
from ..verdict import BAD_GOLD, HEDGED, MATCH, MISMATCH, NO_ANSWER, Verdict
from .kind import Options
from .math import gold_answer


KIND = "number"


def _number(text: str) -> Fraction | None:
    return next(iter(_numbers(text)), None)


def _numbers(text: str) -> list[Fraction]:
    """What a text may say: of `50\\%`, 50 and 0.5."""
    answer = parse(text)
    while isinstance(answer, Named):
        answer = answer.value
    if not isinstance(answer, Scalar):
        return []
    if answer.value is None and answer.tree is not None:
        approximation = residues.approximate(answer.tree)
        return [] if approximation is None else [Fraction(approximation[0])]
    if answer.value is None:
        return []
    return [answer.value, answer.value / 100] if answer.percent else [answer.value]


def judge(prediction: str, gold: str, options: Options) -> Verdict:
    """Judge one number: `|prediction - gold| <= tolerance * |gold|`, or `<= tolerance` where the gold number is 0."""
    expected = _number(gold_answer(gold))
    if expected is None:
        return Verdict(None, None, BAD_GOLD, KIND)
    extraction = extract_math(prediction, options.require_boxed)
    values = _numbers(extraction.answer) if extraction.answer else []
    if not values:
        return Verdict(False, extraction.answer, NO_ANSWER, KIND, extraction.rule)
    tolerance = Fraction(options.tolerance or 0)
    allowed = tolerance * abs(expected) if expected else tolerance
    if any((other := _number(text)) is None or abs(other - values[0]) > allowed for text in extraction.others):
        return Verdict(False, extraction.answer, HEDGED, KIND, extraction.rule)
    correct = any(abs(value - expected) <= allowed for value in values)
    return Verdict(correct, extraction.answer, MATCH if correct else MISMATCH, KIND, extraction.rule)


def find_answer(prediction: str, gold: str, options: Options) -> tuple[int, int] | None:
    """Where the final answer stands: what says no number is none."""
    extraction = extract_math(prediction, options.require_boxed)
    return span_of(prediction, extraction) if extraction.answer and _numbers(extraction.answer) else None
