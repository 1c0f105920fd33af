"""The usual closings of a completion: "the answer is", "####", "A:", in several languages."""

import re

from .assertion import held_back, revised, same_paragraph, taken_back
from .boxes import nothing_between


MAX_STATEMENTS = 8
MAX_SAID = 600
NEAR = 600
COMPANY = 260
SHORT = 40

_STATEMENT = re.compile(
    r"""(?:
        \#{4}\s*+
      | \banswers?\b
        (?:\s++(?:to|of|for|choice|option|here|then|in|with)\b[^.\n:=]{0,80}?)?
        \s*+(?:\*\*)?\s*+
        (?: (?=[$\\]|\d)
          | (?:is|are|was|be|equals?|becomes?|(?:would|should|must|will)\ be|=|:|-->|→|(?<=\s)[-–—](?=\s))
            \s*+(?:\*\*)?\s*+[:=]?
          | [)]\s*+: )
      | (?:^|\n)\s*+(?:\*\*)?(?:Ans|Final|Result|Solution)\s*+(?:\*\*)?\s*+[:=]
      | (?:^|\n)\s*+A\s*+:(?=\s|[\d$\\(+-])
      | r[ée]ponse\s*+(?:finale\s*+)?(?:est|:|=)
      | (?:答案|答)\s*+(?:是|为|：|:|】)++
      | antwort\s*+(?:ist|lautet|:)
      | respuesta\s*+(?:es|:)
      | ответ\s*+:?
    )\s*+(?:\*\*)?\s*+""",
    re.VERBOSE | re.IGNORECASE,
)
# Each statement has one of these, or is a line that begins with "A:".
_SIGNS = ("####", "ans", "final", "result", "solution", "réponse", "reponse", "答", "antwort", "respuesta", "ответ")
_LINE = re.compile(r"\n\s*+[aA]\s*+:")
_FIRST_LINE = re.compile(r"\s*+[aA]\s*+:")
_TEXT = re.compile(r"\\(?:text|mbox)\w*\s*\{([^{}]*)\}")
_BULLET = re.compile(r"(?:\(?\d{1,2}[.)](?=\s)|[-*•]\s)\s*")
_FIRST_WORD = re.compile(r"[^\s.,;]++|\S")
_DISPLAYS = ((r"\[", r"\]"), ("$$", "$$"), (r"\(", r"\)"), (r"\begin", r"\end"))
SENTENCE_END = re.compile(
    r"(?<=[^\d\s])(?<!\bi\.e)(?<!\be\.g)\.(?=\s|$)|(?<=\d)\.(?=\s|$)|。|\n|(?<=[)\]}$%\w])[!?](?=\s|$)"
)


def _statement_end(text: str, start: int) -> int:
    """Where the sentence that begins at `start` ends; the text of a display formula may have lines of its own."""
    while start < len(text) and text[start] in " \n\t*:":
        start += 1
    for opening, closing in _DISPLAYS:
        if text.startswith(opening, start):
            end = text.find(closing, start + 2)
            if end >= 0:
                start = end + len(closing)
            break
    sentence_end = SENTENCE_END.search(text, start)
    return len(text) if sentence_end is None else sentence_end.start()


def _statements(text: str, start: int = 0) -> list[re.Match]:
    """All statements from `start` on. The pattern is slow: it begins where the first one may."""
    lower = text.lower()
    if len(lower) == len(text):
        signs = [found for sign in _SIGNS if (found := lower.find(sign, start)) >= 0]
        if line := (start == 0 and _FIRST_LINE.match(text)) or _LINE.search(text, start):
            signs.append(line.start())
        if not signs:
            return []
        first = min(signs)
        while first > start and (text[first - 1].isspace() or text[first - 1] == "*"):
            first -= 1
        start = first
    return list(_STATEMENT.finditer(text, start))


def stated_answers(text: str) -> list[tuple[int, int, str]]:
    """All "the answer is ..." and the like in an ending: start, end, and what is said."""
    found = []
    # Most statements are in the last lines; the far end is only searched where one may have company before it.
    matches = _statements(text, max(0, len(text) - NEAR))
    if len(text) > NEAR and (not matches or matches[0].start() < len(text) - NEAR + COMPANY):
        matches = _statements(text)
    for match in matches[-MAX_STATEMENTS:]:
        end = _statement_end(text, match.end())
        said = text[match.end() : end].strip()[:MAX_SAID]
        if "\n" in text[match.start() : match.end()].strip(" ") or said.startswith(("* ", "• ")):
            said = _BULLET.sub("", said)
        if not said or held_back(text[: match.end()]):
            continue
        word = _FIRST_WORD.match(said)
        if not (word and taken_back(said[word.end() :])) and not (
            len(said) < SHORT and taken_back(text[end : end + NEAR])
        ):
            found.append((match.start(), end, said))
    return found


def said_at(text: str, start: int, end: int, said: str) -> tuple[int, int]:
    """Where in a text what a statement says stands, see [`stated_answers`]."""
    at = text.rfind(said, start, end)
    if at >= 0:
        return at, at + len(said)
    match = _STATEMENT.match(text, start)  # a list without its bullets
    return match.end() if match else start, end


def consecutive(text: str, statements: list[tuple[int, int, str]]) -> list[str]:
    """What the statements right before the last one say, with nothing but filler between them."""
    others = []
    for (_, end, said), (start, _, _) in zip(statements[-2::-1], statements[:0:-1], strict=True):
        if not nothing_between(text[end:start]):
            break
        others.append(said)
    return others


def replacements(after: str) -> list[str]:
    """What the paragraph of an answer gives in its stead behind it: "No, it is 8.", "The answer is 8."."""
    rest = same_paragraph(after)
    if len(rest) < 4:
        return []
    if r"\text" in rest:
        rest = _TEXT.sub(r" \1 ", rest)
    found = [said for _, _, said in stated_answers(rest)]
    said = revised(rest)
    return found if said is None else [said[: _statement_end(said, 0)], *found]
