"""The words around a value that are part of what it says: "half of 12", "12 to 13", and lists with labels."""

import re


MAX_ITEMS = 24

_PARTS = (
    r"(?:hal(?:f|ves)|thirds?|quarters?|(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf|hundred|thousand|million)ths?)"
)
_BEFORE = re.compile(
    rf"""(?:\b(?:half(?:\s+of)?|twice|thrice|double|triple|(?:(?:one|two|three|four|five|a|\d+)[\s-])?{_PARTS}\s+of
          | (?:square|cube|cubic|fourth|fifth|nth)\s+root\s+of
          | (?:square|cube|reciprocal|inverse|opposite|logarithm|log)\s+of
          )\s+(?:the\s+)?)++[$\\(\s]*+$""",
    re.VERBOSE | re.IGNORECASE,
)
# "She needs at least 12" gives 12; "at least 12" as the whole answer does not.
_BOUND = re.compile(
    r"""\W*+(?:(?:at\s+(?:least|most)|up\s+to|no\s+(?:more|less|fewer)\s+than|over|under|above|below
          |(?:(?:one|two|three|\d+|strictly|much|a\s+bit)\s+)?(?:more|less|fewer|greater|larger|smaller|higher|lower)\s+than)
        \s+)[$\\(\s]*+""",
    re.VERBOSE | re.IGNORECASE,
)
_NEGATIVE = re.compile(r"(?:(?<![^\s(])|^)(?:negative|minus)\s+[$\\(\s]*+$", re.IGNORECASE)
_AFTER = re.compile(
    rf"""[\s-]*+(?:
        (?:squared|cubed|factorial|{_PARTS})\b
      | or\s+(?:more|less|fewer|higher|lower|greater|larger|smaller|above|below|over|under)\b
      | and\s+(?:a\s+half|above|up|over|more|a\s+quarter)\b
      | to\s+the\s+(?:power(?:\s+of)?|\w++(?=\s+power))\b(?:\s+power\b)?)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_BETWEEN = re.compile(
    r"""\s*+(?:to|through|plus|minus|times|over|divided\s+by|multiplied\s+by|choose|mod|modulo|plus\s+or\s+minus
      |(?:more|less|fewer|greater)\s+than|(?:percent\s+)?of|to\s+the(?:\s+power(?:\s+of)?)?|[-–—])\s*+(?:the\s+)?""",
    re.VERBOSE | re.IGNORECASE,
)
_PLACES = re.compile(r"\s*+(?:decimals?|significant|d\.?p\.?|s\.?f\.?)\b", re.IGNORECASE)  # 5.2 to 1 decimal place
_ITEM = re.compile(
    rf"""\s*+(?:(?!(?:not|no|at|wrong|incorrect|under|over|less|more|about)\b)[^\W\d][\w .'-]{{0,40}}\s*:\s*)?
        (?P<value>[-+−]?(?:\\?[$€£])?\d[\d.]*+(?:/\d++)?\s?(?:\\?%)?)
        (?!\s*(?:squared|cubed|factorial|percent|{_PARTS})\b)
        (?:\s*(?:\\text\w*\s*\{{[^{{}}]{{0,60}}\}}|\\[ ,]|[a-z][a-z'-]+)){{0,4}}\s*\.?\s*""",
    re.VERBOSE,
)
_SEPARATOR = re.compile(r",\s+|,\s*\\[ ,]|[;\n]+|\\text\w*\s*\{\s*,?\s*and\s*\}|\band\b")
_AND_IN_TEXT = re.compile(r"(\\text\w*\s*\{[^{}]*?)\s*,?\s+and\s*\}")

Value = tuple[int, int, str]


def whole_phrases(sentence: str, found: list[Value]) -> list[Value]:
    """The values with the words that change them: an operation, a bound in front of the whole, a range."""
    phrases: list[Value] = []
    for index, (start, end, content) in enumerate(found):
        if phrases and start < phrases[-1][1]:
            continue
        before = sentence[max(0, start - 60) : start]
        if match := _NEGATIVE.search(before):
            if phrases and _BETWEEN.fullmatch(sentence[phrases[-1][1] : start]):
                phrases.append((start, end, content))
                continue
            start, content = start - len(before) + match.start(), "-" + content
        first, last = start, end
        if match := _BEFORE.search(before):
            first = start - len(before) + match.start()
        elif (match := _BOUND.match(sentence)) and match.end() == start:
            first = match.start()
        if match := _AFTER.match(sentence, end):
            last = match.end()
        following = found[index + 1] if index + 1 < len(found) else None
        if (
            following
            and _BETWEEN.fullmatch(sentence[last : following[0]])
            and not _PLACES.match(sentence, following[1])
        ):
            last = following[1]
        phrases.append((first, last, content if (first, last) == (start, end) else sentence[first:last].strip()))
    return phrases


def enumerated(text: str, least: int = 2) -> str | None:
    """The values of a text that is nothing but several, with labels (`Ann: 3, Bob: 5`) or what is counted."""
    if len(text) > 400 or ":" not in text and not re.search(r"[a-z]{3}", text):
        return None
    parts = [part for part in _SEPARATOR.split(_AND_IN_TEXT.sub(r"\1} and ", text)) if part.strip()]
    items = [_ITEM.fullmatch(part) for part in parts]
    if not least <= len(items) <= MAX_ITEMS:
        return None
    values = [item.group("value").strip() for item in items if item is not None]
    return ", ".join(values) if len(values) == len(items) else None
