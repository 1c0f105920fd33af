"""The values in a sentence, and which of them the sentence gives."""

import re

from .assertion import held_back, is_plain, taken_back
from .phrases import Value, enumerated, whole_phrases


BARE_LENGTH = 300
MAX_SENTENCE = 600

_MATH = re.compile(
    r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|(?<![\\\w])\$(?!\s*\d[\d,.]*\s+[a-z]{2,})((?:\\.|[^$\n\\])++)\$",
    re.DOTALL,
)
_NUMBER = re.compile(
    r"""(?<![a-zA-Z0-9_.,\\^{])
        (?:[-+−–]\s*)?(?:\\?[$€£¥]\s*)?(?:[-−]\s*)?
        (?:\d{1,2}:\d{2}(?:\s*[ap]\.?\s?m\b\.?)?
          |(?:\d{1,3}(?:(?:,|\{,\}|,\\!|\ )\d{3})++(?!\d)|\d++)(?:[.,]\d++)?|[.,]\d++)
        (?!\s*_)
        (?:\s*/\s*\d++(?![.,]?\d*(?:\s*/|\()))?
        (?:\s*(?:\\?%|(?:percent|hundred|thousand|million|billion|trillion)\b))?""",
    re.VERBOSE,
)
_LATEX_VALUE = re.compile(r"[-+]?\s?\d*+\s?\\(?:frac|dfrac|tfrac|sqrt|pi|binom)(?![a-zA-Z])")
_LATEX_REST = re.compile(r"[-+\s\d]*+(?:\\[a-zA-Z]+|\{[^{}]*+(?:\{[^{}]*+\}[^{}]*+)*+\}|[^a-zA-Z\s\\{}$,])*+")
_FRAME = re.compile(r"\s*\**\s*")
_BOLD_END = re.compile(r"\*\*[^\w$\\*(]*$")  # 19**!
_UNFINISHED = re.compile(r"^[\d.,\s]+[-+*/×÷=]\s*$")
_CONCLUSION = re.compile(
    r"[,;]\s*(?:and\s+)?(?:so|thus|therefore|hence|making|altogether|in\s+total)\b", re.IGNORECASE
)
_COPULA = re.compile(
    r"(?:\b(?:is|are|be|was|were|equals?|get|gives?|gets|yields?|est)\b|=|:|为|是)\s*(?:\w+\s+)?[*(\[]*$",
    re.IGNORECASE,
)
_IS = re.compile(r"(?:\b(?:is|are|equals)\b|=)\s*$", re.IGNORECASE)
_SAID_OF_IT = re.compile(
    r"(?:\b(?:is|are|equals|be)\b|=)[:\s]*((?:(?!\b(?:is|are|equals|be)\b|[=$\\])[^\n])+)$", re.IGNORECASE
)
# (3, 4], 3:4, 9 pi, 2x + 1
_MORE_THAN_A_NUMBER = re.compile(
    r"^[(\[{](?=.*\d)|^\d+(?::\d+)+\W*$|^[\d\s/]*(?:π|√|pi\b)|(?<![a-zA-Z])[a-zA-Z]\s*[-+*/^]\s*\S|\d[a-zA-Z]\s*[-+*/^]"
)
_UNSURE = re.compile(
    r"\b(?:could|might|may|maybe|perhaps|possibly|possible|either|alternatively|guess|guesses)\b", re.IGNORECASE
)
_BEFORE_ANOTHER = re.compile(
    r"\W*+(?:or|and|oder|und|ou|et|o|или|и|,|/|versus|vs|或者?|还是|和|、|，)\s*+(?:(?:maybe|perhaps|possibly|also|even|either|the|is|it|could|be|might|else)\b\W*+)*+",
    re.IGNORECASE,
)
_ENUMERATION = re.compile(r"^\s*(?:[Ss]tep\s+\d+\s*[:.)]|\(?\d{1,2}[.)](?=\s)|[-*•]\s)\s*")
_CLOSING_REMARK = re.compile(
    r"\s*\b(?:I hope (?:it|this|that) (?:is|helps)|Let me know|Hope this helps)[^\n]*+$", re.IGNORECASE
)
_FOREIGN = re.compile(r"[^\W\d_a-zA-Z\u0370-\u03ff\u2070-\u209f\u00b2\u00b3\u00b9]")
_LETTERS = re.compile("[a-zA-Z]{2,}+")
_SHORT_PROSE = frozenset("so it is we to of as at by if be my he".split())
_COMMANDS = re.compile(r"\\(?:begin|end)\s*\{[^}]*\}(?:\{[^}]*\})?|\\[a-zA-Z]+")
_NEW_SENTENCE = re.compile(r"(?<=[a-zA-Z\d)])\.\s+\S")
_MATH_WORDS = frozenset(
    """sin cos tan cot sec csc log exp sqrt min max mod gcd lcm det and arcsin arccos arctan sinh cosh tanh inf
    infinity pmatrix bmatrix matrix vmatrix array cases text frac mbox textbf mathrm circ percent pct
    square cubic units unit weeks week days day hours hour minutes minute seconds second years year months month
    dollars dollar cents cent feet foot inches inch yards yard miles mile meters meter metres metre kilometers km
    kilograms grams gram pounds pound ounces ounce liters liter gallons gallon degrees degree radians mph per people
    students hundred thousand million billion trillion dozen
    """.split()
)


def looks_bare(text: str) -> bool:
    """Whether the whole text is nothing but an answer: one short line without prose."""
    text = text.strip()
    if not text or len(text) > BARE_LENGTH or text.endswith("?") or "." in text and _NEW_SENTENCE.search(text):
        return False
    if not text.isascii() and _FOREIGN.search(text):
        return False
    if "\n" in text and not any(mark in text for mark in (r"\begin", r"\[", "$$")):
        return False
    bare = _COMMANDS.sub(" ", text) if "\\" in text else text
    words = [word.lower() for word in _LETTERS.findall(bare)]
    return all(word in _MATH_WORDS if len(word) > 2 else word not in _SHORT_PROSE for word in words)


def values(sentence: str) -> list[Value]:
    """The values in a sentence (formulas, numbers): start, end and text, without those that are taken back."""
    found: list[Value] = []
    covered: list[tuple[int, int]] = []
    for match in _MATH.finditer(sentence):
        content = next(group for group in match.groups() if group is not None)
        if content.strip() and not _UNFINISHED.search(content):  # "5 × $2.50 = $12.50" has prices
            found.append((match.start(), match.end(), content.strip()))
            covered.append(match.span())
    for pattern in (_LATEX_VALUE, _NUMBER):
        for match in pattern.finditer(sentence):
            start, end = match.span()
            if any(first <= start < last for first, last in covered):
                continue
            if pattern is _LATEX_VALUE:
                rest = _LATEX_REST.match(sentence, start)
                end = max(end, rest.end() if rest else end)
                covered.append((start, end))
            content = sentence[start:end].strip()
            found.append((start, end, content.rstrip(".,)]" if pattern is _LATEX_VALUE else ".,")))
    found.sort()
    if not is_plain(sentence):
        found = [
            value
            for value in found
            if not held_back(sentence[: value[0]], sentence[value[1] :])
            and not taken_back(sentence[value[1] :], sentence[: value[0]])
        ]
    return whole_phrases(sentence, found)


def value_of(sentence: str, last: bool) -> str | None:
    """The value that a sentence gives; of several, that behind an "is" or "=", else the first or last."""
    found = value_at(sentence, last)
    return None if found is None else found[2]


def value_at(sentence: str, last: bool) -> tuple[int, int, str] | None:
    """What [`value_of`] finds: start, end and text."""
    sentence = _CLOSING_REMARK.sub("", sentence)
    shift = max(0, len(sentence) - MAX_SENTENCE) if last else 0
    sentence = sentence[-MAX_SENTENCE:] if last else sentence[:MAX_SENTENCE]
    if last and (match := _ENUMERATION.match(sentence)):
        shift, sentence = shift + match.end(), sentence[match.end() :]
    shift += _FRAME.match(sentence).end()  # type: ignore[union-attr]
    sentence = _BOLD_END.sub("", sentence.strip()).strip("*").strip()
    found = _value_within(sentence, last)
    return None if found is None else (shift + found[0], shift + found[1], found[2])


def _value_within(sentence: str, last: bool) -> tuple[int, int, str] | None:
    if looks_bare(sentence):
        return 0, len(sentence), sentence
    if last and (match := _SAID_OF_IT.search(sentence)) and _MORE_THAN_A_NUMBER.search(match[1]):
        said = match[1].rstrip(".")
        if looks_bare(said) and not held_back(sentence[: match.start(1)]):
            return match.start(1), match.start(1) + len(said), said
    if not last and (listed := enumerated(sentence)):
        return 0, len(sentence), listed
    found = values(sentence)
    if not found:
        return None
    if not (len(found) > 1 and _UNSURE.search(sentence) and not _IS.search(sentence[: found[-1][0]])):
        found = _with_alternatives(sentence, found, _chosen(sentence, found, last))
    start, end = within(sentence, *found[0])[0], within(sentence, *found[-1])[1]
    return start, end, ", ".join(content for _, _, content in found)


def within(text: str, start: int, end: int, content: str) -> tuple[int, int]:
    """Where `content` stands in the part of a text that says it; all of the part if it is not there word for word."""
    if end - start == len(content):
        return start, end
    at = text.find(content, start, end)
    return (at, at + len(content)) if at >= 0 else (start, end)


def _chosen(sentence: str, found: list[Value], last: bool) -> int:
    concluded = [match.end() for match in _CONCLUSION.finditer(sentence)] if last else []
    if concluded and found[0][0] < concluded[-1] <= found[-1][0]:
        behind = [value for value in found if value[0] >= concluded[-1]]
        return len(found) - len(behind) + _chosen(sentence, behind, last)
    if not last and found[0][0] <= 2 and not re.match(r"\s*[-+*/=^×·]", sentence[found[0][1] :]):
        return 0
    behind_copula = [
        index for index, (start, _, _) in enumerate(found) if _COPULA.search(sentence[max(0, start - 40) : start])
    ]
    if behind_copula:
        return behind_copula[-1 if last else 0]
    return len(found) - 1 if last else 0


def _with_alternatives(sentence: str, found: list[Value], chosen: int) -> list[Value]:
    """The chosen value, with those that an "or", an "and" or a comma joins to it."""

    def joined(left: int) -> bool:
        return _BEFORE_ANOTHER.fullmatch(sentence[found[left][1] : found[left + 1][0]]) is not None

    first = last = chosen
    while first > 0 and joined(first - 1):
        first -= 1
    while last + 1 < len(found) and joined(last):
        last += 1
    return found[first : last + 1]
