"""Whether the words around an answer take it back: "not", "tempting to say", "is incorrect"."""

import re


WINDOW = 80
MAX_AFTER = 300

_NEGATED = re.compile(
    r"(?:\b(?:not|never|isn't|wasn't|aren't|can't\s+be|rather\s+than|instead\s+of|unlike|no\s+longer)\b|n't\b|"
    r"≠|\\neq?|!=|不是)[^\w\n.!?]*+(?:[^\W\d]++[^\w$\\\n.!?]++){0,3}+$",
    re.IGNORECASE,
)
_NEGATIONS = ("not", "never", "n't", "rather", "instead", "unlike", "longer", "≠", "\\ne", "!=", "不是")
_TAKEN_BACK = re.compile(
    r"""(?:\b(?:not|never|(?:is|was|are)n['’]t|can(?:not|['’]t)\s+be|rather\s+than|instead\s+of|unlike
          | (?:not\s+true|false|untrue|wrong|incorrect)\s+that | anything\s+(?:but|except)
          | n['’](?:est|était)\s+pas | nicht | no\s+es | não\s+é | non\s+è
          | (?:do\s+not|don['’]t|never|nobody\s+would
              |(?:one|you|people|someone|students?|many|some)\s+(?:might|could|often|may))\s+
            (?:\w+ly\s+)?(?:be\s+tempted\s+to\s+)?(?:say|answer|write|put|box|claim|give|guess|choose|pick|think)
          | (?:reject|discard|exclude|eliminate|disregard|ignore|strike|forget|scratch|replace|rule\s+out)
            (?:s|d|ed|ing)?
          | (?:tempt\w{0,6}|wrong|incorrect|mistake|easy|natural)\s+to\s+
            (?:say|answer|write|put|box|conclude|think|claim|give|guess|choose)
          | (?:wrong|incorrect|mistaken|naive|flawed|trap)(?:ly)?\s+
            (?:answer|guess|result|attempt|approach|method|value|reasoning)(?:\s+(?:is|was|of|gives|gave|yields|leads\s+to|produces))?
        )\b | ≠|\\neq?|!=|不(?:可能)?是|并非|绝非|неверно|неправильно)
        (?:\s+(?:that|the|it|its|a|answer|final|is|be|as|of)\b)*+[\s$*:(\\\[\"'`“{}]*+$""",
    re.VERBOSE | re.IGNORECASE,
)
# One of these is in whatever `_TAKEN_BACK` finds.
_TAKING_BACK = tuple(
    """not never n't n’t rather instead unlike tempt wrong incorrect mistake easy natural naive false untrue anything
    est était nicht es não non don nobody might could often may reject discard exclu eliminat disregard rule ignor
    strike forget scratch replac flawed trap ≠ \\ne != 不是 不可能 并非 绝非 неверно неправильно""".split()
)
_FIRST_TRY = re.compile(
    r"""\b(?:(?:first|initial|earlier|previous|old)\s+(?:attempt|try|draft|thought|idea|approach)
          | (?:at\s+first|initially|originally|previously|earlier|first\s+I)\b[^.\n\d]{0,40}
          | thought)
        (?:\s+(?:was|is|gave|gives|of|that|it|the|answer|we|get|got))*+[\s$*:(\\\[]*+$""",
    re.VERBOSE | re.IGNORECASE,
)
_IN_THE_END = re.compile(r"\b(?:final|finally|correct\w*|actual\w*|real|really|right|but|however|instead|now)\b", re.I)
_WRONG = (
    r"(?:wrong|incorrect|mistaken|false|erroneous|faux|fausse|falsch|incorrect[oa]|fals[oa]|errad[oa]|sbagliat[oa])\b"
)
_REJECTED = r"(?:extraneous|invalid|rejected|discarded|excluded|ignored|ruled\s+out)\b"
_REJECT = r"(?:reject|discard|exclude|eliminate|disregard|ignore|strike|forget|scratch|rule\s+out)"
_DISMISSED = re.compile(
    rf"""[\s$.,;*)}}\]\\"'?!–—-]*+
        (?:(?:but|and|no|wait|hmm|oops|however)\b[\s,:;–—-]*+(?:(?<!\bno)[.!]\s*)?){{0,3}}+
        (?: (?:which|that|this|it|the\s+former)?\s*
            (?:['’]s|is|was|would\s+be|seems|looks|turn(?:s|ed)\s+out(?:\s+to\s+be)?)\s+
            (?:(?!not\b|never\b)\w++\s+){{0,2}}?
            (?:{_WRONG}|{_REJECTED}|an?\s+(?:mistake|slip|typo|error|blunder|oversight|miscalculation)\b
              |not\s+(?:\w++\s+)?(?:correct|right|valid|acceptable|allowed|possible|it|the\s+(?:\w++\s+)?answer)\b)
            (?!\s+(?:to|that)\b)
          | (?:which|that|this|it)?\s*(?:(?:does|do|did)(?:n['’]t|\s+not)\s+
              (?:satisfy|work|fit|hold|solve|check|answer|add\s+up|make\s+sense|count)
            | (?:fails?|contradicts?|violates?)\b | (?:isn|wasn)['’]t\s+it\b
            | (?:which|that)\s+(?:we|I|you|one)\s+(?:must\s+|can\s+)?{_REJECT}\b
            | (?:has\s+to|must|should|needs\s+to)\s+be\s+{_REJECTED}
            | (?:cannot|can['’]t|could\s+not)\s+(?:hold|work|happen)\b
            | (?:(?:is|was)n['’]t|cannot\s+be|can['’]t\s+be)\s+(?:the\s+)?(?:\w++\s+)?(?:correct|right|true|answer)\b
            | was\s+(?:only\s+|just\s+)?(?:my|the|our|a)\s+(?:first|initial|old)\b
            | (?:is|was|would\s+be)\s+(?:impossible|off\s+by|too\s+(?:big|small|large|high|low|many|few))\b(?!\s+to\b))
          | \(?(?:this\s+is\s+)?(?:{_WRONG}|not\s+(?:correct|really))\s*[).,;:!] | {_REJECT}\s+(?:that|this|it)\b
          | I\s+(?:take|withdraw)\s+(?:that|this|it)\b
          | (?:(?!(?:so|hence|thus|since|because|as|the|if|not|never|no|to|and|while|whereas|(?-i:[A-Z]))\b)[^\W\d]++
              |[^\S\n]|[,:;—–-])*?  # in the same clause
            (?:is|was|be|est|ist|es|è|é|seems|[:—–-])\s+{_WRONG}(?!\s+(?:to|that)\b)
          | would\s+(?:be|have\s+been)\b[^.\n\d]{{0,40}}\bif\b | (?<=\bno)\s*[.!]
          | [✗✘❌] | 这?(?:是|为)?(?:错误?的?|不对|不正确) )""",
    re.VERBOSE | re.IGNORECASE,
)

_FILLER_WORDS = """no not wait actually it that this s is was should must be have been the my final right correct let
    me check recheck again recompute more precisely rather to just maybe perhaps even correction corrected real true
    answer value result sorry I we now get mean meant make think of course but so""".split()
_FILLER = rf"(?:[^\w\n$\\+-]|\b(?:{'|'.join(_FILLER_WORDS)})\b)"
_REVISED = re.compile(
    rf"""[\s$.,;:?!)}}\]*(—–-]*+
        (?: (?:no|nope)(?=\s*[,.;:!—–-]|\s+wait\b)
          | (?:wait|oops|sorry|hmm|actually|correction|corrected|rather|edit|typo|or|alternatively|otherwise
              |more\s+precisely)\b
          | (?:scratch\s+that|make\s+that|I\s+mean|on\s+second\s+thoughts?|should\s+(?:be|have\s+been)
              |(?:could|might|may)\s+(?:also\s+)?be)\b
          | [=-]>|→|\\to\b|\\rightarrow\b
          | (?:but|yet|however|though)\b(?={_FILLER}*?\b(?:s|is|be)\b) )
        {_FILLER}*+(?=[$\\+\d-]|\(?[A-J]\b)
      | [^\d$\\\n:]{{1,60}}?(?:(?<!check)(?<!note)(?<!hint)\s*:|\bit(?:['’]s|\s+is))\s+(?=[$+-]?\d[\d.,/]*\$?\W*\Z)""",
    re.VERBOSE | re.IGNORECASE,
)
_NEXT_PROBLEM = re.compile(r"\n\s*\n|\n\s*(?:problem|question|exercise|input|q)\b", re.IGNORECASE)


def same_paragraph(after: str) -> str:
    """What stands behind an answer in its own paragraph: a weak model may run on into a next problem."""
    return _NEXT_PROBLEM.split(after[:MAX_AFTER], maxsplit=1)[0]


def revised(after: str) -> str | None:
    """What is said in the stead of an answer right behind it: `8` of ". No, wait, it is 8."."""
    match = _REVISED.match(after)
    return after[match.end() :] if match else None


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
