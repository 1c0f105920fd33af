"""Whether the words around an answer take it back: "not", "tempting to say", "is incorrect"."""

import re


WINDOW = 80

_NEGATED = re.compile(
    r"(?:\b(?:not|never|isn't|wasn't|aren't|can't\s+be|rather\s+than|instead\s+of|unlike|no\s+longer)\b|n't\b|"
    r"≠|\\neq?|!=|不是)[^\w\n.!?]*+(?:[^\W\d]++[^\w$\\\n.!?]++){0,3}+$",
    re.IGNORECASE,
)
_NEGATIONS = ("not", "never", "n't", "rather", "instead", "unlike", "longer", "≠", "\\ne", "!=", "不是")
_TAKEN_BACK = re.compile(
    r"""(?:\b(?:not|never|(?:is|was|are)n['’]t|can(?:not|['’]t)\s+be|rather\s+than|instead\s+of|unlike
          | (?:tempt\w{0,6}|wrong|incorrect|mistake|easy|natural)\s+to\s+
            (?:say|answer|write|put|box|conclude|think|claim|give|guess|choose)
          | (?:wrong|incorrect|mistaken|naive)(?:ly)?\s+(?:answer|guess|result|attempt)(?:\s+(?:is|was|of|gives|gave))?
        )\b | 不是)
        (?:\s+(?:that|the|it|its|a|answer|final|is|be|as|of)\b)*+[\s$*:(\\\[\"'`“{}]*+$""",
    re.VERBOSE | re.IGNORECASE,
)
_TAKING_BACK = (
    *("not", "never", "n't", "n’t", "rather", "instead", "unlike", "tempt", "wrong", "incorrect", "mistake", "easy"),
    *("natural", "naive", "不是"),
)
_FIRST_TRY = re.compile(
    r"""\b(?:(?:first|initial|earlier|previous|old)\s+(?:attempt|try|draft|thought|idea|approach)
          | (?:at\s+first|initially|originally|previously|earlier|first\s+I)\b[^.\n\d]{0,40}
          | thought)
        (?:\s+(?:was|is|gave|gives|of|that|it|the|answer|we|get|got))*+[\s$*:(\\\[]*+$""",
    re.VERBOSE | re.IGNORECASE,
)
_IN_THE_END = re.compile(r"\b(?:final|finally|correct\w*|actual\w*|real|really|right|but|however|instead|now)\b", re.I)
_DISMISSED = re.compile(
    r"""[\s$.,;*)}\]\\"'?!–—-]*+
        (?: (?:(?:but|and|no|wait|hmm|oops|however)\b[\s,.:;!–—-]*+){0,3}+(?:which|that|this|it|the\s+former)?\s*
            (?:['’]s|is|was|would\s+be|seems|looks|turn(?:s|ed)\s+out(?:\s+to\s+be)?)\s+
            (?:(?!not\b|never\b)\w++\s+){0,2}?
            (?:wrong|incorrect|mistaken|a\s+mistake|not\s+(?:\w++\s+)?(?:correct|right|the\s+(?:\w++\s+)?answer))\b
            (?!\s+(?:to|that)\b)
          | (?:which|that|this|it)?\s*(?:(?:is|was)n['’]t|cannot\s+be|can['’]t\s+be)\s+(?:the\s+)?(?:\w++\s+)?
            (?:correct|right|answer)\b
          | \((?:this\s+is\s+)?(?:wrong|incorrect|not\s+correct)\b
          | (?:是|为)?(?:错误?的?|不对|不正确) )""",
    re.VERBOSE | re.IGNORECASE,
)


def _said(words: tuple[str, ...], text: str) -> bool:
    """Whether one of the words is there at all: most texts have none, and this is quicker than a pattern."""
    text = text.lower()
    return any(word in text for word in words)


def negated(before: str) -> bool:
    """Whether what follows `before` is taken back by it: "not", "rather than", ..."""
    before = before[-60:]
    return _said(_NEGATIONS, before) and _NEGATED.search(before) is not None


def dismissed(after: str) -> bool:
    """Whether what `after` follows is taken back by it: "is incorrect", "was a wrong guess", ..."""
    return _DISMISSED.match(after[:WINDOW]) is not None


def withdrawn(before: str, after: str, following: str | None) -> bool:
    """Whether a boxed answer is taken back by the words around it.

    `following` is what stands between it and a next box, `None` if there is none: a first attempt is only taken back
    by what is called final, right or the like.
    """
    before = before[-WINDOW:]
    if dismissed(after) or (_said(_TAKING_BACK, before) and _TAKEN_BACK.search(before)):
        return True
    return (
        following is not None and _FIRST_TRY.search(before) is not None and _IN_THE_END.search(following) is not None
    )
