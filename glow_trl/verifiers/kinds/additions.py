"""What may stand around a short answer without making another one of it: a description, a place, a sentence.

Where the words around it deny it, hedge, or name another answer, it is not given.
"""

import re
from collections.abc import Iterator

from .dates import gives_date
from .wording import normalize_text, words


MAX_PIECES = 40

_DENIED = re.compile(
    r"n't\b|\?|/|\b(?:not?|none|never|neither|n?or|either|except|without|instead|rather|unlike|(?-i:may)|maybe|perhaps|might|"
    r"could|would|should|possibly|probably|believed?|said|supposedly|allegedly|unless|until|but|however|although|though|"
    r"if|false(?:ly)?|incorrect(?:ly)?|wrong(?:ly)?|myth|non|half|almost|versus|vs|than|least|most|before|after|over|"
    r"under|against|between|unknown|unclear|cannot|nothing|nobody|no one|lacks?|fail(?:s|ed)?|"
    r"de(?:ny|nies|nied)|refused|bce?|ago|similar|another|other|thought|considered|rul(?:ed|es)|rumou?red|suspected|supposed|"
    r"assumed|claimed|reputed|too|lost|longer|hardly|barely|guess(?:ed)?)\b",
    re.IGNORECASE,
)
_OTHER_SCRIPT = re.compile("[\u0590-\u1cff\u2e80-\ud7ff]")  # what denies is known here in English
_NOT_BUT = re.compile(
    r"(?:it (?:is|was) )?not (?P<other>[^,.;]+?),? but (?:rather )?(?P<said>[^,.;]+)\.?", re.IGNORECASE
)
_JOINED = re.compile(r"(?:\band|&|\bplus|\bas well as|\balong with|\bwith)\s*$", re.IGNORECASE)
_JOINS = re.compile(r"[\s,;]*(?:and\b|&|plus\b|as well as\b|along with\b|[/+\-–—]|'s?\b)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[a-z\d]{2})[.!?]\s+[A-Z]")
TITLES = (
    r"sir|dr|mr|mrs|ms|lord|lady|dame|king|queen|prince|princess|emperor|empress|pope|president|prime minister|"
    r"justice|judge|professor|prof|reverend|rev|captain|capt|general|gen|colonel|col|senator|governor|doctor|"
    r"vice president|chancellor"
)
_LEAD = re.compile(rf"(?:(?:the|an?|in|on|at|by|from|all|(?:{TITLES})\.?)\s+)*", re.IGNORECASE)
_ARTICLE = re.compile(r"(?:the|an?)\s", re.IGNORECASE)
_COPULA = re.compile(
    r"(?:^|\s)(?:is|was|are|were|be|been|it's|that's|called|named|titled|as|by|:)\s+(?:the\s+|an?\s+|in\s+|on\s+|at\s+)*$|:\s*$",
    re.IGNORECASE,
)
_VERBS = frozenset(
    """is was are were has had have did does do won wrote sang became made led began held gave took built ran plays
    played wrote directed sings""".split()
)
# What may follow an answer: "in 1990", "who wrote it", ", the capital of France"
_MODIFIER = re.compile(
    r",?\s*(?:in|on|at|by|during|since|who|which|that|because|when|where|from|for|of|with|located|born|formerly|also|"
    r"aka|a\.k\.a\.|better|known)\s+(?P<rest>\S.*)",
    re.DOTALL,
)
_APPOSITION = re.compile(
    r"\s*,\s*(?:(?:the|an?|his|her|its|their)\s+\S+\s+\S.*|"
    rf"(?:[a-z]\w*|(?i:duke|duchess|earl|baron|{TITLES}))\s+(?:of|in|for|from)\s+\S.*)",
    re.DOTALL,
)
_COUNTED = re.compile(r"([-+]?\d[\d.]*)((?: [a-z]{3,})*)")
_EPITHET = re.compile(r"the [A-Z][a-z]+")  # Alexander the Great
_TOWN = re.compile(r"[A-Z][\w.'-]*(?: [A-Z][\w.'-]*){0,3} ?, ")
_POSSESSIVE = re.compile(r"(?:the )?[A-Z]\w*(?: [A-Z]\w*)*(?:'s|s') ", re.IGNORECASE)  # France's Marie Curie
_LAST = re.compile(r"\w+ \w+(?:(?! which | who |,).)* (?:in|at) (?:the )?$")
_PASSIVE = re.compile(r"\bby\b")  # whoever did it may be the answer as well
_PLACES = frozenset(
    """alabama alaska arizona arkansas california colorado connecticut delaware florida georgia hawaii idaho
    illinois indiana iowa kansas kentucky louisiana maine maryland massachusetts michigan minnesota mississippi
    missouri montana nebraska nevada new_hampshire new_jersey new_mexico new_york north_carolina north_dakota
    ohio oklahoma oregon pennsylvania rhode_island south_carolina south_dakota tennessee texas utah vermont
    virginia washington west_virginia wisconsin wyoming dc ca ny tx fl usa us united_states uk united_kingdom
    great_britain england scotland wales northern_ireland ireland australia new_zealand canada ontario quebec
    british_columbia alberta victoria queensland new_south_wales france germany italy spain portugal austria
    switzerland belgium netherlands denmark norway sweden finland iceland poland czech_republic hungary romania
    bulgaria greece turkey russia ukraine serbia croatia egypt morocco algeria tunisia nigeria ghana kenya
    ethiopia south_africa india pakistan bangladesh sri_lanka nepal china japan south_korea north_korea taiwan
    thailand vietnam indonesia malaysia philippines singapore iran iraq israel lebanon syria jordan saudi_arabia
    united_arab_emirates afghanistan mexico cuba jamaica brazil argentina chile peru colombia venezuela ecuador
    bolivia uruguay paraguay europe asia africa""".split()
)


def is_place(text: str) -> bool:
    """Whether a text names a country, or a state of one that towns are said to be in."""
    return normalize_text(text).replace(" ", "_") in _PLACES


def without_place(text: str) -> str | None:
    """`Paris` of `Paris, France`, `Henry VIII` of `Henry VIII of England`; `None` where there is no such place."""
    head, comma, place = text.partition(",")
    if comma and all(map(is_place, place.split(","))) and not is_place(head):
        return head.strip()
    head, of, place = text.rpartition(" of ")
    return head.strip() if of and is_place(place) and " " in head.strip() and head[:1].isupper() else None


def gives(prediction: str, gold: str) -> bool:
    """Whether a prediction gives the gold answer within a description or one sentence, and no other answer."""
    expected = normalize_text(gold)
    found = prediction.strip()
    if _OTHER_SCRIPT.search(found):
        return False
    if corrected := _NOT_BUT.fullmatch(found):
        return normalize_text(corrected["said"]) == expected
    if len(found.split()) <= MAX_PIECES // 2 and "\n" not in found and not _DENIED.search(found):
        if gives_date(words(found), expected):
            return True
        if counted := _COUNTED.fullmatch(expected):
            return _gives_number(found, *counted.groups())
    if sum(map(str.isalpha, expected)) < 3 or len(found.split()) > MAX_PIECES:
        return False
    if not set(expected.split()) <= set(words(found)):
        return False
    return any(_only_surrounds(before, after, gold) for before, after in _occurrences(found, expected))


def _occurrences(text: str, expected: str) -> Iterator[tuple[str, str]]:
    """What stands before the answer, and behind it, for each place where a text has its words."""
    pieces = list(re.finditer(r"\S+", text))
    size = len(expected.split())
    for start in range(len(pieces)):
        for end in range(start + 1, min(len(pieces), start + size + 3) + 1):
            begin, stop = pieces[start].start(), pieces[end - 1].end()
            said = text[begin:stop]
            core = said.lstrip("\"'“‘(").rstrip(".,;:!?)\"'”’")
            if normalize_text(core) == expected and (begin == 0 or not _ARTICLE.match(core)):
                begin = text.index(core, begin)
                yield text[:begin], text[begin + len(core) :]


def _only_surrounds(before: str, after: str, gold: str) -> bool:
    after = after.lstrip("\"'”’)")
    if _DENIED.search(before) or _DENIED.search(after) or _JOINED.search(before) or _JOINS.match(after):
        return False
    if _SENTENCE_END.search(before + "X" + after) or "\n" in before + after:
        return False
    rest = after.strip(" .!\"'”’)")
    quoted = before.endswith(('"', "“", "‘"))
    before = before.lstrip("\"'“‘(")
    if _LEAD.fullmatch(before):
        if not rest:
            return True
        if _APPOSITION.fullmatch(rest):
            return True
        if all(map(is_place, rest.removeprefix(",").split(","))):
            return not is_place(gold)
        if _EPITHET.fullmatch(rest):
            return gold[:1].isupper()
        following = rest.split()[0]
        if (
            not _PASSIVE.search(rest)
            and (following in _VERBS or re.fullmatch(r"[a-z]{3,}ed", following))
            and len(rest.split()) > 1
        ):
            return gold[:1].isupper() or after.rstrip().endswith(".")
    elif _POSSESSIVE.fullmatch(before):
        return not rest and gold[:1].isupper()
    elif not rest and _TOWN.fullmatch(before) and is_place(gold):
        return not is_place(before.rstrip(" ,"))
    elif not _COPULA.search(before) and (rest or not _LAST.match(before)):
        return False
    if not rest:
        return True
    modifier = _MODIFIER.fullmatch(rest)
    if modifier is None:
        return _APPOSITION.fullmatch(rest) is not None
    if quoted or rest.startswith(",") or _COPULA.search(before) or not modifier["rest"][:1].isupper():
        return True
    # "Alice in Wonderland" is another name than "Alice", "Nobel Prize in Physics" another than "Nobel Prize"
    return " " in gold.strip() and (rest.split()[0] not in ("in", "of", "for") or is_place(modifier["rest"]))


_BOUNDS = re.compile(
    r"\b(?:n?or|to|than|least|most|over|under|between|nearly|almost|before|after|until|since|up|above|below|minus|"
    r"plus|times|squared|cubed|factorial|dozens|hundreds|thousands|\w*illions|half|halves|thirds?|quarters?|\w+ths?|"
    r"first|second|last|both|percent|per|point|base|mod|modulo|old(?=-)|power|root)\b|[%/*^+=<>#:$€£]",
    re.IGNORECASE,
)
_FUNCTION_WORDS = frozenset(
    "there it they he she we about approximately around roughly in on at the a an of is was has had".split()
)


def _gives_number(text: str, expected: str, counted: str) -> bool:
    """Whether `expected` is the only number in a phrase or sentence that counts something with it."""
    if _BOUNDS.search(text) or _BOUNDS.search(counted):
        return False
    found = words(text)
    if not set(counted.split()) <= set(found):
        return False
    if [word for word in found if any(map(str.isdigit, word))] != [expected]:
        return False
    where = found.index(expected)
    if not all(word.isalpha() and len(word) > 1 for index, word in enumerate(found) if index != where):
        return False
    pieces = text.split()
    named = next((pieces[i - 1] for i in range(1, len(pieces)) if expected in words(pieces[i])), "")
    # "Apollo 13" is a name, not 13 of something
    return where + 1 < len(found) and (not named[:1].isupper() or named.lower() in _FUNCTION_WORDS)
