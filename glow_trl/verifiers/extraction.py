"""Finding the final answer of a completion, and saying by which rule it was found."""

import re
from dataclasses import dataclass

from .latex import closing_brace


# Only this much of the end of a completion is searched for a closing; boxes are looked for in all of it.
TAIL = 3000
MAX_BOXES = 12
MAX_BOX = 4000
BARE_LENGTH = 300

_SPECIAL = re.compile(r"<\|[a-z_0-9]+\|>|</s>|<eos>|<end_of_turn>|<\|im_end\|>")
_ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_BOX = re.compile(r"\\{1,2}(?:boxed|fbox|framebox)\s*(?=\{)|\\{1,2}boxed\s+(?=[^\s{])")
_BOX_JOINT = re.compile(
    r"""(?:[\s$.,;:&()\[\]{}]|\\(?:q?quad|text\s*\{[\s,]*(?:and|or)[\s,]*\})|\\[\\()\[\],;:!\s]|\b(?:and|or)\b)*+
        (?:[a-zA-Z](?:_\{?\w{1,3}\}?)?(?:\([a-z]\))?\s*=[\s$\\(\[{]*)?""",
    re.VERBOSE,
)
_CUE = (
    r"(?:(?:the|my|our|a|an|so|thus|therefore|hence|then|and|is|that|final|correct|right|best|most|likely|possible|"
    r"other|another|second|third|first|last|alternative|alternatively|either|option|choice|or|maybe|perhaps|possibly|could|"
    r"might|also|be|it|guess|answer|answers|answer's|result|solution|value|next|one|two|three|response|otherwise|even|"
    r"not|sure|else|if|try|i|think|say|would|can|let's|well|hmm)\b|[^\w]|_)*+"
)
_FILLER = re.compile(_CUE, re.IGNORECASE)
_REVISION = re.compile(
    r"\b(?:wait|actually|correction|corrected|mistake|error|recheck|re-?evaluate|re-?examine|sorry|oops|instead|revised?|"
    r"simplif\w*|equivalent\w*|that is|i\.e|in other words|approximately|rounded)\b|≈|\\approx|=",
    re.IGNORECASE,
)
_STATEMENT = re.compile(
    r"""(?:
        \#{4}\s*
      | \banswers?\b(?:\s+(?:to|of|for|choice|option|here|then|in|with)\b[^.\n:=]{0,80}?)?\s*(?:\*\*)?\s*
        (?:(?=[$\\]|\d)|(?:is|are|was|be|equals?|becomes?|would\ be|should\ be|must\ be|will\ be|=|:|-->|→)\s*(?:\*\*)?\s*[:=]?|[)]\s*:)
      | (?:^|\n)\s*(?:\*\*)?(?:Ans|Final|Result|Solution)\s*(?:\*\*)?\s*[:=] | (?:^|\n)\s*A\s*:(?=\s|[\d$\\(+-])
      | r[ée]ponse\s*(?:finale\s*)?(?:est|:|=)
      | (?:答案|答)\s*(?:是|为|：|:)+
      | antwort\s*(?:ist|lautet|:) | respuesta\s*(?:es|:) | ответ\s*:?
    )\s*(?:\*\*)?\s*""",
    re.VERBOSE | re.IGNORECASE,
)
_NEGATED = re.compile(
    r"(?:\b(?:not|never|isn't|wasn't|aren't|can't\s+be|rather\s+than|instead\s+of|unlike|no\s+longer)\b|n't\b|≠|\\neq?|!=|不是)"
    r"[^\w\n.!?]*(?:[^\W\d]+[^\w$\\\n.!?]+){0,3}$",
    re.IGNORECASE,
)
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_MATH = re.compile(
    r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|(?<![\\\w])\$(?!\s*\d[\d,.]*\s+[a-z]{2,})((?:\\.|[^$\n\\])+?)\$",
    re.DOTALL,
)
_NUMBER = re.compile(
    r"""(?<![a-zA-Z0-9_.,\\^{])
        (?:[-+−–]\s*)?(?:\\?[$€£¥]\s*)?(?:[-−]\s*)?
        (?:\d{1,3}(?:(?:,|\{,\}|,\\!|\ )\d{3})+(?!\d)|\d+)?(?:(?<!\s)[.,]?\d+)?
        (?:\s*/\s*\d+(?!\d*[.,]?\d*\s*[/(]))?
        (?:\s*(?:\\?%|percent\b|hundred\b|thousand\b|million\b|billion\b|trillion\b))?""",
    re.VERBOSE,
)
_LATEX_VALUE = re.compile(r"[-+]?\s*\d*\s*\\(?:frac|dfrac|tfrac|sqrt|pi|binom)(?![a-zA-Z])")
_LATEX_REST = re.compile(r"[-+\s\d]*(?:\\[a-zA-Z]+|\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|[^a-zA-Z\s\\{}$,])*")
_EQUALS_VALUE = re.compile(r"=\s*([^=]*)$")
_PROSE_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}(?![a-zA-Z])")
_SHORT_PROSE = re.compile(r"(?<![\\a-zA-Z])(?:so|it|is|we|to|of|as|at|by|if|be|my|he)(?![a-zA-Z])", re.IGNORECASE)
_UNSURE = re.compile(
    r"\b(?:could|might|may|maybe|perhaps|possibly|possible|either|alternatively|guess|guesses)\b", re.IGNORECASE
)
_MATH_WORDS = frozenset(
    """sin cos tan cot sec csc log exp sqrt min max mod gcd lcm det and arcsin arccos arctan sinh cosh tanh inf infinity
    pmatrix bmatrix matrix vmatrix array cases text frac mbox textbf mathrm circ percent pct
    square cubic units unit weeks week days day hours hour minutes minute seconds second years year months month dollars
    dollar cents cent feet foot inches inch yards yard miles mile meters meter metres metre kilometers km kilograms grams
    gram pounds pound ounces ounce liters liter gallons gallon degrees degree radians mph per people students
    hundred thousand million billion trillion dozen
    """.split()
)
_FOREIGN = re.compile(r"[^\W\d_a-zA-Z\u0370-\u03ff\u2070-\u209f\u00b2\u00b3\u00b9]")
_DECLINED = re.compile(
    r"\b(?:can(?:not|'t|\s+not)|could\s+not|couldn't|impossible\s+to|unable\s+to|not\s+possible\s+to)\s+(?:\w+\s+){0,2}?"
    r"(?:determined?|computed?|calculated?|found|find|solved?|provided?|given|give|stated?|answer(?:ed)?|simplified)\b"
    r"|\b(?:not\s+enough|insufficient|inconsistent)\s+information\b",
    re.IGNORECASE,
)
_ENVIRONMENTS = re.compile(r"\\(?:begin|end)\s*\{[^}]*\}(?:\{[^}]*\})?|\\[a-zA-Z]+")
_CLOSING_REMARK = re.compile(
    r"\s*(?:I hope (?:it|this|that) (?:is|helps)[^.\n]*\.?|Let me know[^\n]*|Hope this helps[^\n]*)\s*$", re.I
)
_SENTENCE_END = re.compile(r"(?<=[^\d\s])\.(?=\s|$)|(?<=\d)\.(?=\s|$)|。|\n|(?<=[)\]}$%\w])[!?](?=\s|$)")
_OTHER_VALUE = re.compile(
    r"^\W*(?:or|and|,|/|versus|vs)\s*(?:(?:maybe|perhaps|possibly|also|even|either|the|is|it|could|be|might|else)\b\W*)*$",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Extraction:
    """The final answer of a completion: `answer` is `None` if there is none; `rule` says how it was found.

    `hedged` tells that the completion states several final answers; `others` are those besides `answer`, and it is
    for the verifier to find out whether they differ.
    """

    answer: str | None
    rule: str | None
    others: tuple[str, ...] = ()


NOTHING = Extraction(None, None)


def final_part(completion: str) -> tuple[str, str]:
    """The part that answers, and a prefix for the rule: what comes after `</think>`, up to the end of the turn.

    A completion whose thinking never ends, or has nothing behind it, has an empty final part.
    """
    text, prefix = completion, ""
    end = text.rfind("</think>")
    if end >= 0:
        text, prefix = text[end + len("</think>") :], "after_think:"
    elif "<think>" in text:
        return "", "in_think:"
    if "<" in text:
        text = text.lstrip()
        while (match := _SPECIAL.match(text)) is not None:
            text = text[match.end() :].removeprefix("assistant").lstrip()
        if (match := _SPECIAL.search(text)) is not None:
            text = text[: match.start()]
        tags = _ANSWER_TAG.findall(text) if "</answer>" in text[-TAIL:].lower() else ()
        if tags:
            return tags[-1].strip(), prefix + "answer_tag:"
    return text, prefix


@dataclass(frozen=True, slots=True)
class Box:
    """One `\\boxed{}`: where it starts and ends, and what is in it."""

    start: int
    end: int
    content: str


def last_boxes(text: str) -> list[Box]:
    """The last boxes of a text, in order. Boxes that never close, as in a truncated completion, are none."""
    boxes: list[Box] = []
    position = len(text)
    while len(boxes) < MAX_BOXES:
        starts = [text.rfind(name, 0, position) for name in (r"\boxed", r"\fbox", r"\framebox")]
        position = max(starts)
        if position < 0:
            break
        match = _BOX.match(text, position)
        if match is None:
            continue
        if text[match.end()] == "{":
            end = closing_brace(text, match.end(), match.end() + MAX_BOX)
            if end < 0:
                continue
            content, end = text[match.end() + 1 : end], end + 1
        else:
            word = re.match(r"\S+", text[match.end() :][:100])
            content, end = word.group(0).rstrip("$.,"), match.end() + word.end()
        if boxes and end > boxes[-1].start:
            continue  # a box around boxes: the inner one is the answer
        boxes.append(Box(position, end, content.strip()))
    return boxes[::-1]


def boxed_answer(text: str) -> Extraction:
    """The answer in the last box, or boxes where several belong together (`\\boxed{1} and \\boxed{2}`)."""
    boxes = last_boxes(text)
    if not boxes:
        return NOTHING
    group = [boxes.pop()]
    while boxes and _BOX_JOINT.fullmatch(between := text[boxes[-1].end : group[0].start][:200]) and len(between) < 60:
        group.insert(0, boxes.pop())
    others = []
    following = group[0]
    while boxes:
        box = boxes.pop()
        between = text[box.end : following.start]
        if len(between) > 200 or _REVISION.search(between) or not _FILLER.fullmatch(between):
            break
        others.append(box.content)
        following = box
    contents = list(dict.fromkeys(box.content for box in group))
    if any(not content for content in contents):
        return Extraction(None, "boxed")
    if len(contents) == 1:
        return Extraction(contents[0], "boxed", tuple(others))
    return Extraction(", ".join(contents), "boxed_several", tuple(others))


def looks_bare(text: str) -> bool:
    """Whether the whole text is nothing but an answer: one short line without prose."""
    text = text.strip()
    if (
        not text
        or len(text) > BARE_LENGTH
        or ("\n" in text and "\\begin" not in text and "\\[" not in text and "$$" not in text)
    ):
        return False
    if _FOREIGN.search(text):
        return False
    bare = _ENVIRONMENTS.sub(" ", text)
    words = _PROSE_WORD.findall(bare)
    return (
        _SHORT_PROSE.search(bare) is None
        and all(word.lower() in _MATH_WORDS for word in words)
        and not re.search(r"(?<=[a-zA-Z\d)])\.\s+\S", text)
    )


def _statement_end(text: str, start: int) -> int:
    """Where the sentence that begins at `start` ends; the text of a display formula may begin on a line of its own."""
    while start < len(text) and text[start] in " \n\t*:":
        start += 1
    for opening, closing in ((r"\[", r"\]"), ("$$", "$$"), (r"\(", r"\)"), (r"\begin", r"\end")):
        if text.startswith(opening, start):
            end = text.find(closing, start + 2)
            if end >= 0:
                start = end + len(closing)
            break
    end = _SENTENCE_END.search(text, start)
    return len(text) if end is None else end.start()


def stated_answers(text: str) -> list[tuple[int, int, str]]:
    """All "the answer is ..." and the like in the tail of the text: start, end, and what is said."""
    tail_start = max(0, len(text) - TAIL)
    found = []
    for match in _STATEMENT.finditer(text, tail_start):
        end = _statement_end(text, match.end())
        said = text[match.end() : end].strip()
        if said and not _NEGATED.search(text[max(0, match.start() - 20) : match.start()]):
            found.append((match.start(), end, said))
    return found


def consecutive(text: str, statements: list[tuple[int, int, str]]) -> list[str]:
    """What the statements right before the last one say, with nothing but filler between them."""
    others = []
    for (_, end, said), (start, _, _) in zip(statements[-2::-1], statements[:0:-1], strict=True):
        between = text[end:start]
        if len(between) > 200 or _REVISION.search(between) or not _FILLER.fullmatch(between):
            break
        others.append(said)
    return others


def values(sentence: str) -> list[tuple[int, int, str]]:
    """The values in a sentence (formulas, numbers): start, end and text, without those that a "not" takes back."""
    found: list[tuple[int, int, str]] = []
    for match in _MATH.finditer(sentence):
        content = next(group for group in match.groups() if group is not None)
        if content.strip():
            found.append((match.start(), match.end(), content.strip()))
    covered = [(start, end) for start, end, _ in found]
    for match in _LATEX_VALUE.finditer(sentence):
        if not any(start <= match.start() < end for start, end in covered):
            end = _LATEX_REST.match(sentence, match.start()).end()
            end = max(end, match.end())
            found.append((match.start(), end, sentence[match.start() : end].rstrip(".,)]")))
            covered.append((match.start(), end))
    for match in _NUMBER.finditer(sentence):
        content = match.group(0).strip()
        if any(character.isdigit() for character in content) and not any(s <= match.start() < e for s, e in covered):
            if (
                re.match(r"[a-zA-Z]\w", sentence[match.end() :])
                and content[-1].isdigit()
                and match.end() - match.start() < 3
            ):
                pass
            found.append((match.start(), match.end(), content.rstrip(",.")))
    found.sort()
    return [
        (start, end, content)
        for start, end, content in found
        if not _NEGATED.search(sentence[max(0, start - 40) : start])
    ]


_COPULA = re.compile(
    r"(?:\b(?:is|are|be|was|were|equals?|get|gives?|gets|yields?|est)\b|=|:|为|是)\s*(?:\w+\s+)?[*(\[]*$",
    re.IGNORECASE,
)
_IS = re.compile(r"(?:\b(?:is|are|equals)\b|=)\s*$", re.IGNORECASE)
_ENUMERATION = re.compile(r"^\s*(?:[Ss]tep\s+\d+\s*[:.)]|\(?\d{1,2}[.)](?=\s)|[-*•]\s)\s*")


def value_of(sentence: str, last: bool) -> str | None:
    """The value that a sentence gives; of several, that behind the last "is" or "=", else the first or last."""
    sentence = _ENUMERATION.sub("", _CLOSING_REMARK.sub("", sentence)).strip().strip("*").strip()
    if looks_bare(sentence):
        return sentence
    found = values(sentence)
    if not found:
        return None
    if len(found) > 1 and _UNSURE.search(sentence) and not _IS.search(sentence[: found[-1][0]]):
        return ", ".join(content for _, _, content in found)
    chosen = len(found) - 1 if last else 0
    stated_first = not last and found[0][0] <= 2 and not re.match(r"\s*[-+*/=^×·]", sentence[found[0][1] :])
    for index, (start, _, _) in enumerate(found):
        if stated_first:
            break
        if _COPULA.search(sentence[max(0, start - 40) : start]):
            chosen = index
            if not last:
                break
    run = [chosen]
    for step in (-1, 1):
        while 0 <= (neighbor := run[0 if step < 0 else -1] + step) < len(found):
            left, right = sorted((neighbor, neighbor - step))
            if not _OTHER_VALUE.fullmatch(sentence[found[left][1] : found[right][0]]):
                break
            run.insert(0 if step < 0 else len(run), neighbor)
    if len(run) > 1:
        return ", ".join(found[index][2] for index in run)
    content = found[chosen][2]
    equals = _EQUALS_VALUE.search(content)
    return content if equals is None or not equals.group(1).strip() else content


def extract_math(completion: str, require_boxed: bool = False) -> Extraction:
    """The final answer of a completion that solves a mathematical problem."""
    text, prefix = final_part(completion)
    extraction = _extract_math(text, require_boxed)
    if extraction.rule is None and not text.strip():
        return Extraction(None, prefix.rstrip(":") or None)
    return (
        extraction
        if extraction.rule is None
        else Extraction(extraction.answer, prefix + extraction.rule, extraction.others)
    )


def _extract_math(text: str, require_boxed: bool) -> Extraction:
    boxed = boxed_answer(text)
    if boxed.rule is not None or require_boxed:
        return boxed
    text = text.strip()
    statements = stated_answers(text)
    if not statements and looks_bare(text):
        return Extraction(text.lstrip("=≈ "), "whole")
    for _, _, said in statements[::-1]:
        if (value := value_of(said, last=False)) is not None:
            others = tuple(consecutive(text, statements)) if said is statements[-1][2] else ()
            others = tuple(other for said in others if (other := value_of(said, last=False)) is not None)
            return Extraction(value, "answer_is", others)
        if len(said) <= 60 and said is statements[-1][2]:
            return Extraction(said, "answer_is")
        break
    tail = _CLOSING_REMARK.sub("", text[-TAIL:])
    if _DECLINED.search(tail[-BARE_LENGTH:]):
        return Extraction(text.strip(), "whole") if len(text) <= BARE_LENGTH else NOTHING
    paragraph = tail.rstrip().rsplit("\n\n", 1)[-1]
    bold = [match for match in _BOLD.finditer(paragraph) if any(c.isdigit() or c == "\\" for c in match.group(1))]
    if bold and (value := value_of(bold[-1].group(1), last=True)) is not None:
        return Extraction(value, "bold")
    for sentence in _last_sentences(tail):
        if (value := value_of(sentence, last=True)) is not None:
            return Extraction(value, "last_value")
        if not re.search(r"\w", sentence):
            continue
        break
    if len(text) <= BARE_LENGTH:
        return Extraction(text.strip(), "whole")
    return NOTHING


def _last_sentences(tail: str) -> list[str]:
    """The last line, or display formula, and then its last sentences before it."""
    end = tail.rstrip().rstrip(".")
    for opening, closing in ((r"\[", r"\]"), ("$$", "$$")):
        if end.endswith(closing) and (start := end.rfind(opening, 0, len(end) - 2)) >= 0:
            return [end[start:]]
    line = tail.rstrip().rsplit("\n", 1)[-1]
    ends = [match.end() for match in _SENTENCE_END.finditer(line) if match.end() < len(line.rstrip())]
    return [line[ends[-1] :], line] if ends else [line]
