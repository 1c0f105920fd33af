"""Kind `text`: for yes/no, words, bracket sequences, sorted word lists, and short answers that people would judge."""

import re
from dataclasses import replace

from ..extraction.boxes import Extraction, boxed_answer, ending, final_part, is_exactly, span_of
from ..extraction.statements import consecutive, replacements, said_at, stated_answers
from ..extraction.values import within
from ..verdict import BAD_GOLD, HEDGED, MATCH, MISMATCH, NO_ANSWER, Verdict
from .additions import gives
from .kind import Options
from .short_answers import CLOSED, same_answer
from .short_answers import MAX_LENGTH as LONG
from .wording import has_other_words, normalize_text


KIND = "text"
MAX_ANSWER = 2000

_BRACKETS = frozenset("()[]{}<>")
_WIDEST_BOX = re.compile(r"\\boxed\s*\{([\\()\[\]{}<> \t]{1,200})\}")
_NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+")
_YES_OR_NO = re.compile(r"\W*(yes|no)\b\W*[,.;:—–]", re.IGNORECASE)
_OPPOSITES = {"yes": "no|not|never", "no": "yes"}
_ALTERNATIVES = re.compile(r"\s+(?:or|and)\s+|\s*[,/]\s*")


def _form(text: str) -> str:
    """A letter, a number, brackets, or one or several words: `the writer` before `(B)` is not another answer to it."""
    if len(text) == 1 and text.isalpha():
        return "letter"
    if _NUMBER.fullmatch(text):
        return "number"
    return "words" if " " in text else "word"


def _statement(said: str) -> str:
    return said.strip().strip("*").strip()


def extract_text(completion: str, require_boxed: bool = False) -> tuple[list[str], str | None, list[str]]:
    """The candidates for the answer (the same answer, cut out in several ways), the rule, and other stated answers."""
    text, prefix = final_part(completion)
    boxed = boxed_answer(text)
    if boxed.rule is not None:
        others = [*boxed.others, *replacements(text[boxed.end :])]
        return [boxed.answer or ""], prefix + boxed.rule, [_statement(other) for other in others]
    if require_boxed or not text:
        return [], prefix.rstrip(":") or None, []
    candidates = [text] if len(text) <= MAX_ANSWER else []
    rule = "whole"
    text = ending(text)
    statements = stated_answers(text)
    if statements:
        start, _, said = statements[-1]
        line = text[start:].split("\n\n", 1)[0]
        candidates = [_statement(said), _statement(line[line.find(said) :]), *candidates]
        return candidates, prefix + "answer_is", [_statement(other) for other in consecutive(text, statements)]
    last = text.rsplit("\n", 1)[-1].strip()
    if [last] != candidates:
        candidates, rule = [last, *candidates], "last_line"
    return candidates, prefix + rule, []


def _boxed_brackets(completion: str) -> str | None:
    """What the last box holds if it is brackets and they need not balance, as in `\\boxed{] } >}`."""
    boxes = _WIDEST_BOX.findall(final_part(completion)[0])
    return boxes[-1].replace("\\", "").strip() if boxes else None


def _begins_with(text: str, expected: str) -> bool:
    """Whether a text says "Yes, ..." for a gold yes, and takes nothing back."""
    if expected not in _OPPOSITES or len(text) > LONG:
        return False
    said = _YES_OR_NO.match(text)
    if said is None or said[1].lower() != expected:
        return False
    return not re.search(rf"\b(?:{_OPPOSITES[expected]}|but|however|actually|wait|although)\b", text, re.IGNORECASE)


def judge(prediction: str, gold: str, options: Options) -> Verdict:
    """Judge one completion against one gold text."""
    expected = normalize_text(gold)
    if not expected:
        return Verdict(None, None, BAD_GOLD, KIND)
    if is_exactly(prediction, gold, options.require_boxed):
        return Verdict(True, gold.strip(), MATCH, KIND, "identical")
    candidates, rule, others = extract_text(prediction, options.require_boxed)
    if _BRACKETS.issuperset(expected) and rule and rule.endswith("boxed") and not others:
        candidates = [_boxed_brackets(prediction) or "", *candidates]
    candidates = [candidate for candidate in candidates if candidate]
    if not candidates:
        return Verdict(False, None, NO_ANSWER, KIND, rule)
    if others:
        first = normalize_text(candidates[0])
        same_form = (other for text in others if _form(other := normalize_text(text)) == _form(first))
        if any(other != first for other in same_form):
            return Verdict(False, candidates[0], HEDGED, KIND, rule)
    for candidate in candidates:
        if len(candidate) > LONG and has_other_words(candidate, expected):
            continue
        if same_answer(candidate, gold):
            return Verdict(True, candidate, MATCH, KIND, rule)
    bounded = len(candidates[0]) <= LONG and expected not in CLOSED
    if _begins_with(candidates[0], expected) or bounded and gives(candidates[0], gold):
        return Verdict(True, candidates[0], MATCH, KIND, rule)
    parts = _ALTERNATIVES.split(candidates[0])
    hedged = len(parts) > 1 and any(normalize_text(part) == expected for part in parts)
    return Verdict(False, candidates[0], HEDGED if hedged else MISMATCH, KIND, rule)


def find_answer(prediction: str, gold: str, options: Options) -> tuple[int, int] | None:
    """Where the final answer stands: what is in the box or is stated, else the last line."""
    candidates, rule, _ = extract_text(prediction, options.require_boxed)
    if not candidates or not candidates[0] or rule is None:
        return None
    text = final_part(prediction)[0]
    boxed = boxed_answer(text)
    if boxed.rule is not None:
        brackets = list(_WIDEST_BOX.finditer(text)) if gold.strip() and _BRACKETS.issuperset(gold.split()) else []
        return span_of(prediction, replace(boxed, span=brackets[-1].span(1)) if brackets else boxed)
    text = ending(text)
    start, end = text.rfind("\n") + 1, len(text)
    if rule.endswith("answer_is"):
        start, end = said_at(text, *stated_answers(text)[-1])
    return span_of(prediction, Extraction(candidates[0], rule, span=within(text, start, end, candidates[0])))
