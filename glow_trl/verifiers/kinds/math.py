"""Kind `math`: numbers, expressions, sets, intervals, tuples, matrices, equations, with units and percent signs."""

import re

from ..equality.answers import parse
from ..equality.comparison import contains, equal_texts
from ..equality.latex import MAX_LENGTH, closing_brace
from ..equality.numerals import plain_text
from ..equality.shapes import Scalar, Words
from ..extraction.boxes import Extraction, ending, final_part, is_exactly, last_boxes, span_of
from ..extraction.final_answer import extract_math
from ..extraction.phrases import enumerated
from ..extraction.statements import stated_answers
from ..verdict import BAD_GOLD, HEDGED, MATCH, MISMATCH, NO_ANSWER, Verdict
from .additions import gives
from .kind import Options, Undecided
from .short_answers import same_answer


KIND = "math"
MAX_NUMBER = 120  # a longer text is prose, and says no number as a whole

# Spaces and what would begin or end a formula
_NOTHING = re.compile(r"(?:\\[()\[\]$]|[$\s])*")
_TEXT = re.compile(r"\\(?:text|mbox)\w*\s*\{([^{}]*)\}")
_OPTION = re.compile(r"[^\w\-−–]*(?:\\?(?:text|math)\w*\s*\{\s*)?\(([A-H])\)")
_LETTER = re.compile(r"\W*(?:\\?(?:text|math)\w*\s*\{\s*)?\(?([A-H])\)?\W*")


def gold_answer(gold: str) -> str:
    """The answer that a gold text states: most are bare, some come in a box, after "####" or in a sentence."""
    text = gold.strip()
    if "boxed" in text or "fbox" in text:
        boxes = last_boxes(text)
        if boxes:
            return extract_math(text, require_boxed=True).answer or ""
        start = text.find("{", text.find("boxed"))  # a box that never closes
        return text[start + 1 :] if start >= 0 and closing_brace(text, start) < 0 else text
    if "####" in text:
        statements = stated_answers(ending(text))
        return statements[-1][2] if statements else text
    return text


def judge(prediction: str, gold: str, options: Options) -> Verdict | Undecided:
    """Judge one completion against one gold answer."""
    answer = gold_answer(gold)
    if _NOTHING.fullmatch(answer) or parse(answer) is None:
        return Verdict(None, None, BAD_GOLD, KIND)
    extraction = extract_math(prediction, options.require_boxed)
    if extraction.answer is None or not extraction.answer.strip():
        verdict: Verdict | Undecided = Verdict(False, None, NO_ANSWER, KIND, extraction.rule)
    else:
        verdict = _compare(prediction, extraction, extraction.answer.strip(), answer)
    if not (isinstance(verdict, Verdict) and verdict.correct) and is_exactly(prediction, gold, options.require_boxed):
        return Verdict(True, gold.strip(), MATCH, KIND, "identical")
    return verdict


def find_answer(prediction: str, gold: str, options: Options) -> tuple[int, int] | None:
    """Where the final answer stands. Nothing but words is none, unless the gold answer is in words."""
    extraction = extract_math(prediction, options.require_boxed)
    answer = (extraction.answer or "").strip()
    if not answer:
        return None
    if (extraction.rule or "").endswith("whole") and isinstance(parse(answer), Words):
        if not isinstance(parse(gold_answer(gold)), Words):
            return None
    return span_of(prediction, extraction)


def _without_labels(found: str) -> str | None:
    """The values of `\\text{Ann: } 3, \\text{Bob: } 5`, or of `3\\text{ cups and }5\\text{ plates}`."""
    if r"\text" not in found or len(found) > MAX_LENGTH:
        return None
    plain = _TEXT.sub(r" \1 ", found).replace("\\ ", " ")
    return enumerated(" ".join(plain.split()), least=1 if ":" in plain else 2)


def _says_in_words(found: str, gold: str) -> bool:
    """Whether an answer says what a gold answer in words says, or what it says in a sentence about it."""
    return len(gold) > 2 and (same_answer(found, gold) or len(gold.split()) > 3 and gives(gold, found))


def _compare(prediction: str, extraction: Extraction, found: str, gold: str) -> Verdict | Undecided:
    rule = extraction.rule or ""
    if any(equal_texts(other, found) is False for other in extraction.others):
        return Verdict(False, found, HEDGED, KIND, extraction.rule)
    verdict = equal_texts(found, gold)
    if verdict is True:
        return Verdict(True, found, MATCH, KIND, extraction.rule)
    # An option with its text, where the gold answer is nothing but a letter
    if (letter := _LETTER.fullmatch(gold)) and (option := _OPTION.match(found)) and option[1] == letter[1]:
        return Verdict(True, found, MATCH, KIND, extraction.rule)
    if (labelled := _without_labels(found)) and equal_texts(labelled, gold):
        return Verdict(True, found, MATCH, KIND, extraction.rule)
    if isinstance(parse(gold), Words) and _says_in_words(plain_text(found), plain_text(gold)):
        return Verdict(True, found, MATCH, KIND, extraction.rule)
    if verdict is None:
        return Undecided(Verdict(False, found, MISMATCH, KIND, extraction.rule), (found, gold))
    answer = parse(found) if len(found) <= MAX_LENGTH else None
    if contains(answer, parse(gold)):
        return Verdict(False, found, HEDGED, KIND, extraction.rule)
    if "boxed" not in rule:
        # An answer in words, or with words in it: the text as a whole may be the answer.
        text = final_part(prediction)[0]
        wanted = parse(gold)
        longest = MAX_NUMBER if isinstance(wanted, Scalar) and wanted.value is not None else MAX_LENGTH
        if text != found and len(text) <= longest and equal_texts(text, gold):
            return Verdict(True, text, MATCH, KIND, "whole")
    if not isinstance(parse(gold), Words) and isinstance(answer, Words) and rule.endswith("whole"):
        return Verdict(False, None, NO_ANSWER, KIND, extraction.rule)
    return Verdict(False, found, MISMATCH, KIND, extraction.rule)
