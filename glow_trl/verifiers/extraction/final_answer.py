"""Finding the final answer of a completion, and saying by which rule it was found."""

import re

from .assertion import taken_back
from .boxes import NOTHING, Extraction, boxed_answer, ending, final_part, last_boxes
from .phrases import Value, enumerated
from .statements import SENTENCE_END, consecutive, replacements, said_at, stated_answers
from .values import BARE_LENGTH, looks_bare, value_at, value_of, within


SHORT_STATEMENT = 60

_VALUE_END = re.compile(r"[\w)}\]$]++")
_NUMBER_LINES = re.compile(
    r"(?:\s*(?:[-*•]\s|\d{1,2}[.)]\s)?\s*\**(-?\d++(?:[.,]\d++)*+(?:/\d++)?)\.?\**[ \t]*(?:\n|$)){2,}"
)
_BULLETS = re.compile(r"^\s*(?:[-*•]\s+|\d{1,2}[.)]\s+)?|[*.]+\s*$")
_ANOTHER_GUESS = re.compile(
    r"\W*(?:or|perhaps|maybe|possibly|alternatively|otherwise|if\s+(?:not|that)\b[^,]{0,30},)", re.IGNORECASE
)
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_TAIL = re.compile(
    r"(?<=[\w)}\]$])[\s,]*+(?:\\text\s*\{\s*)?,?\s*\b(?:for|where|with)\s+(?:some|all|any|every|each|an?|the)?\s*(?:\w+\s+)?"
    r"(?:integers?|real|positive|natural|numbers?|constants?|arbitrary|\$?\\?[a-zA-Z]\b)(?:(?!even\b|odd\b|prime\b)[^.\n=<>\d]){0,60}$"
)
_RESIDUES = re.compile(r"[a-zA-Z,\s]{0,40}\bcongruent\s+to\b[^.\n]{1,60}\b(?:modulo|mod)\b[^.\n]{1,20}\.?")
_DECLINED = re.compile(
    r"\b(?:can(?:not|'t|\s+not)|could\s+not|couldn't|impossible\s+to|unable\s+to|not\s+possible\s+to)\s+(?:\w+\s+){0,2}?"
    r"(?:determined?|computed?|calculated?|found|find|solved?|provided?|given|give|stated?|answer(?:ed)?|simplified|finish(?:ed)?|complete[d]?|work\s+out)\b"
    r"|\b(?:not\s+enough|insufficient|inconsistent)\s+information\b"
    r"|\b(?:output|assign|award|return)\b[^.\n]{0,40}\b(?:score|reward|grade|full\s+(?:marks|credit))\b",
    re.IGNORECASE,
)


def extract_math(completion: str, require_boxed: bool = False) -> Extraction:
    """The final answer of a completion that solves a mathematical problem.

    Rules, first to last: the last `\\boxed{}` (`boxed`); a closing statement (`answer_is`); a text that is nothing but
    an answer (`whole`); bold in the last paragraph (`bold`); the value that the last sentence gives (`last_value`).
    With `require_boxed` only the first counts. A prefix tells that the answer was looked for behind the thinking part
    (`after_think:`), in `<answer>` tags (`answer_tag:`) or in a field of a JSON object (`answer_field:`).
    """
    text, prefix = final_part(completion)
    if not text:
        return Extraction(None, prefix.rstrip(":") or None)
    found = boxed_answer(text)
    others = [*found.others, *_values(replacements(text[found.end :]))] if found.answer else []
    if found.rule is None and not require_boxed:
        found = _unboxed(text)
        # A box that has been taken back, named on the way to the reason; "Scratch that: 42" is said anew
        if found.rule in ("bold", "last_value") and not text.rstrip(" .!$*").endswith(found.answer or ""):
            if found.answer in {box.content for box in last_boxes(completion)}:
                return NOTHING
        others = list(found.others)
    if found.rule is None:
        return found
    return Extraction(found.answer, prefix + found.rule, tuple(others), span=found.span)


def _values(statements: list[str]) -> list[str]:
    return [value for said in statements if (value := value_of(said, last=False)) is not None]


def _unboxed(text: str) -> Extraction:
    short = text if len(text) <= BARE_LENGTH else None
    text = ending(text)
    statements, whole = stated_answers(text), (0, len(text))
    if statements:
        start, end, said = statements[-1]
        first, last = said_at(text, start, end, said)
        found = value_at(said, last=False)
        if found is not None:
            value = found[2]
            after = said[said.find(value) + len(value) :] + text[end:]
            others = _values([*consecutive(text, statements), *replacements(after)])
            span = (first + found[0], first + found[1]) if last - first == len(said) else (first, last)
            return Extraction(value, "answer_is", tuple(others), span=span)
        if len(said) <= SHORT_STATEMENT:
            return Extraction(said, "answer_is", span=(first, last))
    elif short is not None and "\n" in text and _NUMBER_LINES.fullmatch(text):
        lines = ", ".join(dict.fromkeys(_BULLETS.sub("", line) for line in text.split("\n")))
        return Extraction(lines, "whole", span=whole)
    elif short is not None and (looks_bare(bare := _without_condition(text)) or _RESIDUES.fullmatch(bare)):
        answer = bare.lstrip("=≈→⇒∴ ")
        return Extraction(answer, "whole", span=within(text, *whole, answer))
    elif short is not None and (listed := enumerated(text)):
        return Extraction(listed, "whole", span=whole)
    if not _DECLINED.search(text[-BARE_LENGTH:]):
        extraction = _last_value(text)
        if extraction is not None:
            return extraction
    if short is None or any(taken_back(short[match.end() :]) for match in _VALUE_END.finditer(short)):
        return NOTHING
    return Extraction(short, "whole", span=whole)


def _without_condition(text: str) -> str:
    return _TAIL.sub("", text) if "for" in text or "wh" in text or "with" in text else text


def _last_value(text: str) -> Extraction | None:
    paragraph = text.rfind("\n\n") + 2 if "\n\n" in text else 0
    bold = [match for match in _BOLD.finditer(text, paragraph) if any(c.isdigit() or c == "\\" for c in match[1])]
    if bold and (found := value_at(bold[-1][1], last=True)) is not None:
        return _found(found, bold[-1].start(1), "bold")
    for start, end in _last_sentences(text):
        sentence = text[start:end]
        if (found := value_at(sentence, last=True)) is not None:
            before = text[:start].rstrip(" .\n") if _ANOTHER_GUESS.match(sentence) else ""
            guess = value_of(before.rsplit("\n", 1)[-1], last=True) if before else None
            return _found(found, start, "last_value", () if guess is None else (guess,))
        if re.search(r"\w", sentence):
            return None
    return None


def _found(found: Value, shift: int, rule: str, others: tuple[str, ...] = ()) -> Extraction:
    return Extraction(found[2], rule, others, span=(found[0] + shift, found[1] + shift))


def _last_sentences(text: str) -> list[tuple[int, int]]:
    """Where the display formula is that the text ends with, or its last sentence and then its last line."""
    end = text.rstrip(". \n")
    for opening, closing in ((r"\[", r"\]"), ("$$", "$$")):
        if end.endswith(closing) and (start := end.rfind(opening, 0, len(end) - 2)) >= 0:
            return [(start, len(end))]
    line = text.rfind("\n") + 1
    ends = [match.end() for match in SENTENCE_END.finditer(text[line:]) if match.end() < len(text) - line]
    return [(line + first, len(text)) for first in ([ends[-1]] if ends else []) + [0]]
