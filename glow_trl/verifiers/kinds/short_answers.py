"""Whether two short answers say the same in other words: dates, names, titles, counted things.

Each rule only leaves out or rewrites what cannot tell two answers apart. Numbers, single letters and words like "yes"
have no other words.
"""

import re

from .wording import normalize_text, words


MAX_LENGTH = 200
MAX_WORDS = 12

_CLOSED = frozenset("yes no true false valid invalid none unknown".split())
_OR = re.compile(r"\s+or\s+")
_ADDITION = re.compile(r"\s*\([^()]*\)$")
_PLAIN_ADDITION = re.compile(r"\((?!\s*(?:or|and|not|no|maybe|perhaps|possibly|either)\b)[a-z0-9][^()]*\)$")
_LEADING_ADDITION = re.compile(r"\((?!\s*(?:or|and|not|no|non|un|maybe|perhaps|possibly|either)\b)[^()]*\)\s+(?=\w)")
_AND = re.compile(r"\s*,?\s+and\s+|\s*,\s+")
_PREPOSITION = re.compile(r"(?:in|on|at|from|among|by|to|with|of|for|as)\s+", re.IGNORECASE)
_TITLE = re.compile(
    r"(?:sir|dr|mr|mrs|ms|lord|lady|dame|king|queen|prince|princess|emperor|empress|pope|president|prime minister|"
    r"justice|judge|professor|prof|reverend|rev|captain|capt|general|gen|colonel|col|senator|governor|doctor)\.?\s+"
    r"(?!of\b)",
    re.IGNORECASE,
)
_CLASSIFIER = re.compile(
    r"(?:form|kind|type|sort|variety|city|state|country|continent|town|village|county|province|island|isle|borough|"
    r"republic|kingdom|game|sport|language|planet|river|colou?r|name|year)s?\s+of\s+|year\s+(?=\d)",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"(?:the|an?)\s+", re.IGNORECASE)
_LEADS = {"preposition": _PREPOSITION, "title": _TITLE, "classifier": _CLASSIFIER}
_SPELLINGS = {"saint": "st", "mount": "mt", "versus": "vs", "junior": "jr", "senior": "sr"}
_ROMAN = re.compile(r"(?=[ivx]{2})x{0,3}(?:ix|iv|v?i{0,3})")
_ROMAN_VALUES = {"i": 1, "v": 5, "x": 10}
# Behind these words a name is not what a phrase is about: "the war against Napoleon"
_FUNCTION_WORDS = frozenset(
    """of in on at by to from for with and or not against versus vs near before after under over than like as is was
    were are who that without between during until since no via into through but nor except against""".split()
)
_SEVERAL_WORDS = re.compile(r"[\s.,]")
_NOT_COUNTED = re.compile(
    r"\b(?:or|to|more|less|fewer|over|under|minus|plus|times|of|percent|squared|cubed|factorial|dozen|hundred|thousand|\w*illion|hal(?:f|ves)|"
    r"quarters?|thirds?|(?:four|fif|six|seven|eigh|nin|eleven|twelf|\w*teen|\w+tie|ten|\w*dred|\w*sand|\w*illion)ths?)\b"
)
_COUNTED = re.compile(r"(-?\d[\d.]*)((?: [a-z]{2,}){1,3})")
_MONTHS = {
    name[:length]: month
    for month, name in enumerate(
        """january february march april may june july august september october november december""".split(), start=1
    )
    for length in (3, 4, len(name))
    if length != 4 or len(name) == 4 or name == "september"
}
_WEEKDAYS = frozenset(f"{name}day" for name in "mon tues wednes thurs fri satur sun".split())
_ISO_DATE = re.compile(r"(\d{4}) - (\d{1,2}) - (\d{1,2})")
_DAY = re.compile(r"(\d{1,2})(?:th)?")
_YEAR = re.compile(r"1\d{3}|20\d{2}")


def same_answer(prediction: str, gold: str) -> bool:
    """Whether `prediction` says what `gold` says; a gold answer may name alternatives with "or"."""
    expected = normalize_text(gold)
    found = normalize_text(prediction)
    if found == expected:
        return True
    if len(prediction) > MAX_LENGTH or len(gold) > MAX_LENGTH or not any(c.isalnum() for c in found):
        return False
    if _same_date(found, expected):
        return True
    if len(expected) == 1 or expected in _CLOSED or found in _CLOSED or not any(c.isalpha() for c in expected):
        return False
    alternatives = _OR.split(gold)
    if len(alternatives) > 1 and all(re.search(r"[^\W\d_]{2}", part) for part in alternatives):
        return any(same_answer(prediction, part) for part in alternatives)
    return (
        _same_list(prediction, gold)
        or (_is_count_of(found, expected) and " and " not in gold and gold[1:] == gold[1:].lower())
        or _same_phrase(prediction, gold)
        or _same_name(prediction, gold)
        or _is_acronym(prediction, gold)
        or _is_acronym(gold, prediction)
    )


def _same_list(prediction: str, gold: str) -> bool:
    """Whether two lists of words with an "and" have the same members, in whatever order."""
    if " and " not in prediction or " and " not in gold:
        return False
    one, other = (sorted(map(normalize_text, _AND.split(text.strip()))) for text in (prediction, gold))
    return one == other and all(one)


def _same_phrase(prediction: str, gold: str) -> bool:
    """Whether two phrases differ in a part that only one of them has and that says nothing of its own."""
    gold_forms = _forms(gold.strip(), of_gold=True)
    for form, dropped in _forms(prediction.strip(), of_gold=False):
        if any(form == other and not dropped & also_dropped for other, also_dropped in gold_forms):
            return True
    return False


def _forms(text: str, of_gold: bool) -> list[tuple[tuple[str, ...], frozenset[str]]]:
    """The phrase without each part that may be left out, and which ones were."""
    dropped: frozenset[str] = frozenset()
    texts = [(text, dropped)]
    addition = (_ADDITION if of_gold else _PLAIN_ADDITION).search(text) if text.endswith(")") else None
    if addition and addition.start() > 1:
        text, dropped = text[: addition.start()].strip(), frozenset(("addition",))
        texts.append((text, dropped))
    if of_gold and (match := _LEADING_ADDITION.match(text)):
        text, dropped = text[match.end() :], dropped | {"addition"}
        texts.append((text, dropped))
    for _ in range(4):
        bare = text[match.end() :] if (match := _ARTICLE.match(text)) else text
        name, match = next(((name, match) for name, lead in _LEADS.items() if (match := lead.match(bare))), ("", None))
        if match is None or not re.search(r"\w", bare[match.end() :]):
            break
        text, dropped = bare[match.end() :], dropped | {name}
        texts.append((text, dropped))
    if of_gold and (described := _described_name(text)):
        texts.append((described, dropped | {"description"}))
    return [(_spelling(text), dropped) for text, dropped in texts]


def _described_name(text: str) -> str | None:
    """The name behind a description in lower case: "James Hutton" of "the geologist James Hutton"."""
    parts = text.split()
    start = len(parts)
    while start > 0 and parts[start - 1][:1].isupper():
        start -= 1
    description = [part.lower() for part in parts[:start]]
    if start == len(parts) or not description or description[-1] in ("the", "a", "an"):
        return None
    if _FUNCTION_WORDS.intersection(description) or not all(part.replace("-", "").isalpha() for part in description):
        return None
    return " ".join(parts[start:]) if len(parts[-1]) > 3 else None


def _spelling(text: str) -> tuple[str, ...]:
    """The words of a phrase, with usual abbreviations, Roman numerals and a plural in the end in one spelling."""
    found = normalize_text(text).split()
    for index, word in enumerate(found):
        if index and _ROMAN.fullmatch(word):
            digits = [_ROMAN_VALUES[digit] for digit in word]
            pairs = zip(digits, [*digits[1:], 0], strict=True)
            found[index] = str(sum(-digit if digit < following else digit for digit, following in pairs))
        found[index] = _SPELLINGS.get(found[index], found[index])
    if found and len(found) <= 4 and found[-1].isalpha():
        found[-1] = _singular(found[-1])
    return tuple(found)


def _singular(word: str) -> str:
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    return word[:-3] + "y" if word.endswith("ies") and len(word) > 4 else word[:-1]


def _is_count_of(found: str, expected: str) -> bool:
    """Whether a gold answer says what is counted, `nine years`, and the prediction how many."""
    counted = _COUNTED.fullmatch(expected)
    return counted is not None and counted.group(1) == found and not _NOT_COUNTED.search(counted.group(2))


def _date(text: str) -> dict[str, int] | None:
    """Year, month and day, as far as a normalized text gives them and nothing else."""
    if match := _ISO_DATE.fullmatch(text):
        return dict(zip(("year", "month", "day"), map(int, match.groups()), strict=True))
    found: dict[str, int] = {}
    for word in text.split():
        if word in ("in", "on", "of") or word in _WEEKDAYS:
            continue
        if word in _MONTHS:
            key, value = "month", _MONTHS[word]
        elif _YEAR.fullmatch(word):
            key, value = "year", int(word)
        elif (match := _DAY.fullmatch(word)) and 0 < int(match.group(1)) < 32:
            key, value = "day", int(match.group(1))
        else:
            return None
        if key in found:
            return None
        found[key] = value
    return found if "year" in found or "month" in found and "day" in found else None


def _same_date(found: str, expected: str) -> bool:
    """Whether all that the gold answer says of a date is said; a prediction may say more: the day, for a year."""
    date, wanted = _date(found), _date(expected)
    return date is not None and wanted is not None and wanted.items() <= date.items()


def _same_name(prediction: str, gold: str) -> bool:
    """Whether two names differ in initials, doubled letters or order: `J. Smith`, `Philip(p)`, `Smith, John`."""
    if (one := _name(prediction)) is None or (other := _name(gold)) is None:
        return False
    if [_undoubled(word) for word in one] == [_undoubled(word) for word in other]:
        return True
    if one[-1] != other[-1] or len(one[-1]) < 3:
        return False
    first, second = sorted((one[:-1], other[:-1]), key=len)
    if len(first) < len(second):  # middle initials that only one of them has
        return first == second[:1] and len(first[0]) > 1 and all(len(word) == 1 for word in second[1:])
    return all(a == b or 1 in (len(a), len(b)) and a[0] == b[0] for a, b in zip(first, second, strict=True))


def _name(text: str) -> list[str] | None:
    """The words of a name, in order, or `None` where it cannot be one."""
    text = text.strip()
    if not _SEVERAL_WORDS.search(text):
        return None
    text = _TITLE.sub("", _ADDITION.sub("", text) if text.endswith(")") else text, count=1)
    if text.count(",") == 1:
        last, _, first = text.partition(",")
        text = f"{first} {last}"
    parts = re.sub(r"\.", " ", text).split()
    if not 2 <= len(parts) <= 5 or not all(part[0].isupper() and part.replace("-", "").isalpha() for part in parts):
        return None
    return ["".join(words(part)) or part.lower() for part in parts]


def _undoubled(word: str) -> str:
    return re.sub(r"(.)\1", r"\1", word) if len(word) > 4 else word


def _is_acronym(short: str, long: str) -> bool:
    """Whether `short` are the initials of `long`: three letters or more."""
    letters = short.strip().removeprefix("the ").replace(".", "")
    if not (3 <= len(letters) <= 6 and letters.isalpha() and letters.isupper()):
        return False
    parts = [part for part in re.split(r"[\s-]+", long.strip()) if part[:1].isupper() and part.lower() != "the"]
    rest = [part for part in re.split(r"[\s-]+", long.strip()) if part not in parts]
    if any(part.lower() not in ("the", "of", "and", "for", "in", "on", "&") for part in rest):
        return False
    return "".join(part[0] for part in parts) == letters
