"""The part of a completion that answers, and the boxes in it."""

import re
from dataclasses import dataclass
from functools import lru_cache

from ..equality.latex import closing_brace
from .assertion import asserted, held_back, taken_back
from .fields import answer_field, without_fences
from .piece import Piece


# Only this much of the end of a completion is searched for a closing; boxes are looked for in all of it.
TAIL = 2000
MAX_BOXES = 12
MAX_TRIES = 40  # boxes that never close, and boxes in boxes
MAX_BOX = 4000
MAX_TAG = 4000

_SPECIAL = re.compile(r"<\|[a-z_0-9]{1,40}\|>|</s>|<eos>|<end_of_turn>")
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*(?=\{)|\\boxed\s+(?=[^\s{])")
_MARKS = ("<think>", "<answer>", "<|", "~~", '"answer"')
_BOX_OPENS = re.compile(r"\\boxed\s*\{\s*$")
_ANSWER_IS = re.compile(
    r"((?:(?!\bansw|boxed|####)[^\n]){0,200}?)\b(?:the\s+)?(?:final\s+)?answer(?:\s+is)?\s*:?\s*", re.IGNORECASE
)
_BOX_END = re.compile(r"\s*\}[\s$.\\\])]*+")
_BOX_JOINT = re.compile(
    r"""(?:[\s$.,;:&()\[\]{}]|\\(?:q?quad|text\s*\{[\s,]*(?:and|or)[\s,]*\})|\\[\\()\[\],;:!\s]|\b(?:and|or)\b)*+
        (?:[a-zA-Z](?:_\{?\w{1,3}\}?)?(?:\([a-z]\))?\s*=[\s$\\(\[{]*)?""",
    re.VERBOSE,
)
_STATEMENT = re.compile(
    r"\s*+(?P<text>\\(?:text|math)\w*\s*\{\s*)?(?:(?:so|thus|therefore|hence)\b,?\s*)?(?:the\s+)?(?:final\s+|correct\s+)?answer\s*"
    r"(?::|is\b:?|=)\s*(?P<closed>\}\s*(?::\s*)?)?",
    re.IGNORECASE,
)
_TEXT = re.compile(r"\\(?:text|mbox|mathrm)\w*\s*\{([^{}]*)\}")
_ALTERNATIVE_IN_TEXT = re.compile(
    r"\\(?:text|mbox)\w*\s*\{([^{}]*\b(?:or|alternatively|maybe|perhaps|possibly)\b[^{}]*[\w(][^{}]*)\}"
)
_INNER_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*\{")
_WORDS_IN_BOX = re.compile(r"\\(?:text|mbox|mathrm)\w*\s*\{[^{}]*\}|[\s$:.]|\\[,;! ]")
_VALUE_IN_BOX = re.compile(r"\s*+[^\s(]++")
_FILLER = re.compile(
    r"(?:(?:the|my|our|a|an|so|thus|therefore|hence|then|and|is|that|final|correct|right|best|most|likely|possible|"
    r"other|another|second|third|first|last|alternative|alternatively|either|option|choice|or|maybe|perhaps|possibly|"
    r"could|might|also|be|it|guess|answer|answers|answer's|result|solution|value|next|one|two|three|response|otherwise|"
    r"even|not|sure|else|if|try|i|think|say|would|can|let's|well|hmm)\b|[^\w]|_)*+",
    re.IGNORECASE,
)
_REVISION = re.compile(
    r"\b(?:wait|actually|correction|corrected|mistake|error|recheck|re-?evaluate|re-?examine|sorry|oops|instead|revised?|"
    r"simplif\w*|equivalent\w*|that is|i\.e|in other words|approximately|rounded)\b|≈|\\approx|=",
    re.IGNORECASE,
)
_STRUCK = re.compile(r"~~(?=\S)[^~\n]{1,200}~~|<(del|s|strike)>[^<\n]{1,200}</\1>")
_RUN = re.compile(r"\s\s\s")
_RUNS = re.compile(r"([^\S\n]{3,})|(\n\s{2,}+)")


@dataclass(frozen=True, slots=True)
class Extraction:
    """The final answer of a completion.

    Attributes:
        answer (`str` or `None`): the answer, `None` if there is none.
        rule (`str` or `None`): how it was found.
        others (`tuple[str, ...]`): other final answers that the completion gives right beside it; it is for the
            verifier to find out whether they differ.
        end (`int`): where the text goes on behind a box.
        span (`tuple[int, int]` or `None`): where the answer stands: of a boxed one in the final part, of others in its
            [`ending`].
    """

    answer: str | None
    rule: str | None
    others: tuple[str, ...] = ()
    end: int = 0
    span: tuple[int, int] | None = None


NOTHING = Extraction(None, None)


@dataclass(frozen=True, slots=True)
class Box:
    """One `\\boxed{}`: where it starts and ends, and what is in it."""

    start: int
    end: int
    content: str


def final_part(completion: str) -> tuple[str, str]:
    """The part that answers, and a prefix for the rule: what comes after `</think>`, up to the end of the turn.

    A completion whose thinking never ends, or has nothing behind it, has an empty final part. Boxes that are taken
    back ("not", "is incorrect") are left out.
    """
    piece, prefix = final_piece(completion)
    return piece.text, prefix


@lru_cache(maxsize=4)  # one judgement asks for it more than once
def final_piece(completion: str) -> tuple[Piece, str]:
    """What [`final_part`] gives, as a piece of the completion."""
    piece, prefix = _final_piece(completion)
    return _without_withdrawn(piece) if "boxed" in piece.text or "box{" in piece.text else piece, prefix


def _final_piece(completion: str) -> tuple[Piece, str]:
    piece, prefix = Piece(completion), ""
    end = completion.rfind("</think>")
    if end >= 0:
        piece, prefix = piece[end + len("</think>") :], "after_think:"
    elif "<think>" in completion:
        return Piece(""), "in_think:"
    if "<" in piece.text:
        piece = piece.lstrip()
        if match := _SPECIAL.match(piece.text):  # a turn's opening
            piece = piece[match.end() :]
            piece = piece[len("assistant") if piece.text.startswith("assistant") else 0 :].lstrip()
        if match := _SPECIAL.search(piece.text):
            piece = piece[: match.start()]
        text = piece.text
        end = text.rfind("</answer>")
        start = text.rfind("<answer>", max(0, end - MAX_TAG), end) if end >= 0 else -1
        if start >= 0:
            answer = piece[start + len("<answer>") : end].strip()
            last = text.rfind("</answer>", max(0, start - MAX_TAG), start)
            another = text.rfind("<answer>", max(0, last - MAX_TAG), last) if last >= 0 else -1
            if another >= 0 and nothing_between(text[last + len("</answer>") : start]):
                other = text[another + len("<answer>") : last].strip()
                if other != answer.text:
                    both = another + len("<answer>"), end
                    answer = piece.read(f"{other} or {answer.text}", lambda: both)
            piece, prefix = answer, prefix + "answer_tag:"
    piece = piece.strip()
    if "~~" in piece.text or "</" in piece.text:
        piece = piece.sub(_STRUCK, " ").strip()
    if "```" in piece.text:
        piece = without_fences(piece)
    if (field := answer_field(piece)) is not None:
        piece, prefix = field, prefix + "answer_field:"
    return piece, prefix


def _without_withdrawn(piece: Piece) -> Piece:
    text = piece.text
    boxes = last_boxes(text)
    for index, box in enumerate(boxes):
        following = text[box.end : boxes[index + 1].start] if index + 1 < len(boxes) else None
        inside = _VALUE_IN_BOX.match(said := _TEXT.sub(r" \1 ", box.content))
        # A condition within the box belongs to an answer by cases
        taken = inside is not None and taken_back(said[inside.end() :], on_condition=False)
        if box.content and (taken or not asserted(text, box.start, box.end, following)):
            piece = piece.blank(box.start, box.end)
    return piece


def is_exactly(completion: str, gold: str, require_boxed: bool) -> bool:
    """Whether a completion is the gold answer, letter for letter: bare, behind "the answer is" or in its only box.

    The braces of the gold answer need not balance, and marks of formats in it are part of it.
    """
    gold = gold.strip()
    behind_thinking = completion.rpartition("</think>")[2].strip()
    return gold in completion and any(
        _ends_with(text, gold, require_boxed)
        for text in dict.fromkeys((_final_piece(completion)[0].text, behind_thinking))
        if gold and all(text.count(mark) <= gold.count(mark) for mark in _MARKS)
    )


def _ends_with(text: str, gold: str, require_boxed: bool) -> bool:
    if text == gold and not require_boxed:
        return True
    start = len(text)
    for _ in range(MAX_TRIES):
        start = text.rfind(gold, 0, start + len(gold) - 1)
        if start < 0 or _BOX_END.fullmatch(text, start + len(gold)):
            break
    if match := _BOX_OPENS.search(text[:start]) if start >= 0 else None:
        before = text[: match.start()]
        return "boxed" not in before and not held_back(before)
    for end in ("", "."):
        if not require_boxed and text.endswith(gold + end):
            match = _ANSWER_IS.fullmatch(text[: len(text) - len(gold + end)])
            if match and not held_back(text[: match.end()]):
                return True
    return False


def ending(text: str) -> str:
    """The end of a text, with long runs of white space made short."""
    return ending_piece(Piece(text)).text


def ending_piece(piece: Piece) -> Piece:
    """What [`ending`] gives, as a piece of the text."""
    if len(piece.text) > TAIL:
        piece = piece[-TAIL:]
    if _RUN.search(piece.text):
        piece = piece.sub(_RUNS, lambda match: "\n\n" if match.group(2) else "  ")
    return piece.strip()


def span_of(completion: str, extraction: Extraction) -> tuple[int, int] | None:
    """Where in a completion the answer stands that was found in it."""
    if extraction.span is None:
        return None
    piece = final_piece(completion)[0]
    boxed = "boxed" in (extraction.rule or "")
    return (piece if boxed else ending_piece(piece)).origin(*extraction.span)


def last_boxes(text: str) -> list[Box]:
    """The last boxes of a text, in order. Boxes that never close, as in a truncated completion, are none."""
    boxes: list[Box] = []
    position = len(text)
    for _ in range(MAX_TRIES if "box" in text else 0):
        position = max(text.rfind(name, 0, position) for name in (r"\boxed", r"\fbox", r"\framebox"))
        if position < 0 or len(boxes) == MAX_BOXES:
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
            word = re.match(r"\S+", text[match.end() : match.end() + 100])
            if word is None:
                continue
            content, end = word.group(0).rstrip("$.,"), match.end() + word.end()
        if boxes and end > boxes[-1].start:  # the inner of two boxes is the answer, unless the outer says more
            inner = _WORDS_IN_BOX.sub("", content.replace(text[boxes[-1].start : boxes[-1].end], "", 1))
            if inner and _INNER_BOX.search(content):
                boxes[-1] = Box(position, end, _INNER_BOX.sub("{", content).strip())
            continue
        boxes.append(Box(position, end, _without_statement(content.strip())))
    return boxes[::-1]


def _without_statement(content: str) -> str:
    """What a box says that holds a whole statement: `\\text{The answer is } 12`."""
    if "text" in content or "mbox" in content:
        content = _ALTERNATIVE_IN_TEXT.sub(r" \1 ", content)  # 5\text{ or 6}
    match = _STATEMENT.match(content)
    if match is None:
        return content
    rest = content[match.end() :].strip()
    if match.group("text") and not match.group("closed"):
        rest = (
            rest[:-1] if rest.endswith("}") and closing_brace("{" + rest, 0) == len(rest) else rest.replace("}", "", 1)
        )
    return rest.strip(" .") or content


def nothing_between(between: str) -> bool:
    """Whether two answers stand side by side: between them is nothing but filler, and no word of revision."""
    return len(between) <= 200 and not _REVISION.search(between) and _FILLER.fullmatch(between) is not None


def boxed_answer(text: str) -> Extraction:
    """The answer in the last box, or boxes where several belong together (`\\boxed{1} and \\boxed{2}`)."""
    boxes = last_boxes(text)
    if not boxes:
        return NOTHING
    group = [boxes.pop()]
    end = group[0].end
    while boxes:
        between = text[boxes[-1].end : group[0].start]
        if len(between) >= 60 or not _BOX_JOINT.fullmatch(between):
            break
        group.insert(0, boxes.pop())
    others = []
    following = group[0]
    while boxes:
        box = boxes.pop()
        if not nothing_between(text[box.end : following.start]):
            break
        others.append(box.content)
        following = box
    contents = list(dict.fromkeys(box.content for box in group))
    if not all(contents):
        return Extraction(None, "boxed")
    rule = "boxed" if len(contents) == 1 else "boxed_several"
    first, last = (_inside(text, box) for box in (group[0], group[-1]))
    return Extraction(", ".join(contents), rule, tuple(others), end, (first[0], last[1]))


def _inside(text: str, box: Box) -> tuple[int, int]:
    """Where in a text what a box says stands: all between its braces if it does not stand there word for word."""
    at = text.rfind(box.content, box.start, box.end)
    if at >= 0:
        return at, at + len(box.content)
    return text.index("{", box.start) + 1, box.end - 1
