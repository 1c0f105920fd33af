"""Finding the final answer of a completion, and saying by which rule it was found."""

import re

from .assertion import taken_back
from .boxes import NOTHING, Extraction, boxed_answer, ending, final_part, last_boxes
from .phrases import enumerated
from .statements import SENTENCE_END, consecutive, replacements, stated_answers
from .values import BARE_LENGTH, looks_bare, value_of


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
    return found if found.rule is None else Extraction(found.answer, prefix + found.rule, tuple(others))


def _values(statements: list[str]) -> list[str]:
    return [value for said in statements if (value := value_of(said, last=False)) is not None]


def _unboxed(text: str) -> Extraction:
    short = text if len(text) <= BARE_LENGTH else None
    text = ending(text)
    statements = stated_answers(text)
    if statements:
        _, end, said = statements[-1]
        value = value_of(said, last=False)
        if value is not None:
            after = said[said.find(value) + len(value) :] + text[end:]
            others = _values([*consecutive(text, statements), *replacements(after)])
            return Extraction(value, "answer_is", tuple(others))
        if len(said) <= SHORT_STATEMENT:
            return Extraction(said, "answer_is")
    elif short is not None and "\n" in text and _NUMBER_LINES.fullmatch(text):
        return Extraction(", ".join(dict.fromkeys(_BULLETS.sub("", line) for line in text.split("\n"))), "whole")
    elif short is not None and (looks_bare(bare := _without_condition(text)) or _RESIDUES.fullmatch(bare)):
        return Extraction(bare.lstrip("=≈→⇒∴ "), "whole")
    elif short is not None and (listed := enumerated(text)):
        return Extraction(listed, "whole")
    if not _DECLINED.search(text[-BARE_LENGTH:]):
        found = _last_value(text)
        if found is not None:
            return found
    if short is None or any(taken_back(short[match.end() :]) for match in _VALUE_END.finditer(short)):
        return NOTHING
    return Extraction(short, "whole")


def _without_condition(text: str) -> str:
    return _TAIL.sub("", text) if "for" in text or "wh" in text or "with" in text else text


def _last_value(text: str) -> Extraction | None:
    paragraph = text.rsplit("\n\n", 1)[-1]
    bold = [said for said in _BOLD.findall(paragraph) if any(c.isdigit() or c == "\\" for c in said)]
    if bold and (value := value_of(bold[-1], last=True)) is not None:
        return Extraction(value, "bold")
    for sentence in _last_sentences(text):
        if (value := value_of(sentence, last=True)) is not None:
            before = text[: text.rfind(sentence)].rstrip(" .\n") if _ANOTHER_GUESS.match(sentence) else ""
            guess = value_of(before.rsplit("\n", 1)[-1], last=True) if before else None
            return Extraction(value, "last_value", () if guess is None else (guess,))
        if re.search(r"\w", sentence):
            return None
    return None


def _last_sentences(text: str) -> list[str]:
    """The display formula that the text ends with, or its last sentence and then its last line."""
    end = text.rstrip(". \n")
    for opening, closing in ((r"\[", r"\]"), ("$$", "$$")):
        if end.endswith(closing) and (start := end.rfind(opening, 0, len(end) - 2)) >= 0:
            return [end[start:]]
    line = text.rsplit("\n", 1)[-1]
    ends = [match.end() for match in SENTENCE_END.finditer(line) if match.end() < len(line)]
    return [line[ends[-1] :], line] if ends else [line]
