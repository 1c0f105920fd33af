"""Whether two short answers say the same in other words: dates, names, titles, counted things.

Each rule only leaves out or rewrites what cannot tell two answers apart. Numbers, single letters and words like "yes"
have no other words.
"""

import re
from fractions import Fraction

from ..equality.answers import parse
from ..equality.numerals import value_in_words
from ..equality.scalars import equal_scalars
from ..equality.shapes import Scalar
from ..equality.units import measure
from .additions import TITLES, is_place, without_place
from .dates import same_date
from .wording import normalize_text, words


MAX_LENGTH = 200
MAX_WORDS = 12

CLOSED = frozenset("yes no true false valid invalid none unknown".split())
_OR = re.compile(r"\s+or\s+")
_ADDITION = re.compile(r"\s*\([^()]*\)$")
_PLAIN_ADDITION = re.compile(r"\((?!\s*(?:or|and|not|no|maybe|perhaps|possibly|either)\b)[a-z0-9][^()]*\)$")
_LEADING_ADDITION = re.compile(r"\((?!\s*(?:or|and|not|no|non|un|maybe|perhaps|possibly|either)\b)[^()]*\)\s+(?=\w)")
_AND = re.compile(r"\s*,?\s+and\s+|\s*,\s+")
_PREPOSITION = re.compile(r"(?:in|on|at|from|among|by|to|with|of|for|as)\s+", re.IGNORECASE)
_TITLE = re.compile(rf"(?:{TITLES})\.?\s+(?!of\b)", re.IGNORECASE)
# Words that say what kind of thing bears the name, without which it is named as well
_DESIGNATION = re.compile(
    r"^(?:(?:mount|mt\.?|river|uss|hms|rms|fc|afc|all)\s+)|,?\s+(?:inc|corp|corporation|company|co|ltd|limited|plc|llc|f\.?c|"
    r"river)\.?$",
    re.IGNORECASE,
)
_CLASSIFIER = re.compile(
    r"(?:form|kind|type|sort|variety|city|state|country|continent|town|village|county|province|island|isle|borough|"
    r"republic|kingdom|game|sport|language|planet|river|colou?r|name|year)s?\s+of\s+|year\s+(?=\d)",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"^(?:the|an?)\s+", re.IGNORECASE)
_PART_OF_TIME = re.compile(r"(?:early|mid|late)[\s-]+(?=\d|\w+ century)", re.IGNORECASE)
_LEADS = {"preposition": _PREPOSITION, "title": _TITLE, "classifier": _CLASSIFIER}
_SPELLINGS = {"saint": "st", "mount": "mt", "versus": "vs", "junior": "jr", "senior": "sr"}
_ROMAN = re.compile(r"(?=[ivx]{2})x{0,3}(?:ix|iv|v?i{0,3})")
_ROMAN_VALUES = {"i": 1, "v": 5, "x": 10}
# Behind these words a name is not what a phrase is about: "the war against Napoleon"
_FUNCTION_WORDS = frozenset(
    """of in on at by to from for with and or not against versus vs near before after under over than like as is was
    were are who that without between during until since no via into through but nor except against""".split()
)
_INITIAL_WAR = re.compile(r"\bww ?(?=[12]\b|i{1,2}\b)")
_ORDINAL_WAR = re.compile(r"\b([12])(?:th|st|nd) world war\b")
_SHORT_FORMS = {
    **dict.fromkeys(("usa", "us", "united states of america"), "united states"),
    "uk": "united kingdom",
    **dict.fromkeys(("nyc", "new york city"), "new york"),
}
_FROM = re.compile(r"^(?:from|between) (?=\d)")
_RANGE = re.compile(r"(?<=\d) (?:to|until|till|through) (?=\d)")
_IRREGULAR = dict(
    pair.split("/")
    for pair in "children/child men/man women/woman feet/foot teeth/tooth mice/mouse geese/goose atria/atrium".split()
)
_AMERICAN = {"our": "or", "tre": "ter", "yse": "yze", "ise": "ize", "isation": "ization", "grey": "gray"}
_BRITISH = re.compile(r"(?<=[a-z]{2})(?:our|tre|yse|ise|isation)$|^grey$")
_FRACTION = re.compile(r"\d{1,9}/[1-9]\d{0,8}")
_JOINTS = re.compile(r"[ \-/]")
_DECIMAL = re.compile(r"-?\d+(?:\.\d+)?(?: (?:hundred|thousand|[mbtr]+illion))?")
# Words of institutions and places: what is added in their midst makes another one of them
_NOT_PERSONS = frozenset(
    """national international united north south east west northern southern eastern western new central great royal
    union league association university college school club party council war park street road river lake sea island
    islands city county state states bank company museum church court house army force forces team cup prize award act
    treaty battle republic kingdom empire republican democratic american british european world day festival series
    championship show film song album band orchestra hospital station airport bridge tower castle""".split()
)
_SOUNDS = [
    (re.compile(pattern), letters)
    for pattern, letters in (
        *(
            (r"(.)\1", r"\1"),
            ("ph", "f"),
            ("y", "i"),
            ("(?<=[aeou])i(?=[aeou])", ""),
            ("ck|c(?!h)", "k"),
            ("^ie", "e"),
        ),
        *(("[ao]e", "e"), ("ue", "u"), ("(?<=[gdtkbr])h", ""), ("z", "s"), ("(?<=[a-z]{4})e$", "")),
    )
]
_OF = re.compile(r"([A-Z][a-z]+) of (?:the )?([A-Z][a-z]+)")
_FORMULA = re.compile(r"(?=\D*\d)(?:[A-Z][a-z]?\d{0,3}){2,6}")
_NOT_FIRST = frozenset(
    """san santa saint st el la los las le de del di van von der den al bin port fort mount mt lake cape baja
    equatorial upper lower inner outer big little old young super anti non polar ice black white red blue green golden
    silver brown grey gray wild vice deputy greater downtown""".split()
)
_ORDINAL = re.compile(r"(\d{1,2})th")
_MOVABLE = frozenset("river lake mt fc afc".split())
_ERAS = {"bce": "bc", "ce": "ad"}
_ERA = re.compile(r"\b(?:bce|ce)$")
_ADVERB = re.compile(r"(?:[a-z]+ly|[A-Z][a-z]+ly),\s+")
_PLAIN_LEADS = frozenset("it this that i we you he she they be think believe".split())
_SEVERAL_WORDS = re.compile(r"[\s.,]")
_NOT_COUNTED = re.compile(
    r"\b(?:or|to|more|less|fewer|over|under|minus|plus|times|of|percent|squared|cubed|factorial|dozen|hundred|thousand|\w*illion|hal(?:f|ves)|"
    r"quarters?|thirds?|(?:four|fif|six|seven|eigh|nin|eleven|twelf|\w*teen|\w+tie|ten|\w*dred|\w*sand|\w*illion)ths?)\b"
)
_COUNTED = re.compile(r"(-?\d[\d.]*)((?: [a-z]{2,}){1,3})")


def same_answer(prediction: str, gold: str) -> bool:
    """Whether `prediction` says what `gold` says; a gold answer may name alternatives with "or"."""
    expected = normalize_text(gold)
    found = normalize_text(prediction)
    if found == expected:
        return True
    if len(prediction) > MAX_LENGTH or len(gold) > MAX_LENGTH or not any(c.isalnum() for c in found):
        return False
    if said := _ADVERB.match(gold.strip()):
        return same_answer(prediction, gold.strip()[said.end() :])
    if same_date(found, expected):
        return True
    if _same_value(prediction, gold) or _spelling(prediction) == _spelling(gold):
        return True
    if len(expected) == 1 or expected in CLOSED or found in CLOSED or not any(c.isalpha() for c in expected):
        return False
    alternatives = _OR.split(gold)
    if len(alternatives) > 1 and all(re.search(r"[^\W\d_]{2}", part) for part in alternatives):
        return any(same_answer(prediction, part) for part in alternatives)
    addition = _ADDITION.search(prediction.strip())
    if addition:
        head, added = prediction.strip()[: addition.start()], addition[0].strip(" ()")
        if _is_acronym(gold, head) or normalize_text(added) == expected and _restates(added, head):
            return True
    joined, other = _JOINTS.sub("", found), _JOINTS.sub("", expected)
    if joined == other and joined.isalpha() and len(joined) > 3:
        return True  # e-mail
    return (
        _same_list(prediction, gold)
        or _is_full_name(prediction, gold)
        or (
            _is_count_of(found, expected)
            and (prediction.count("$") != 1 or "dollar" in gold)
            and " and " not in gold
            and gold[1:] == gold[1:].lower()
        )
        or _same_phrase(prediction, gold)
        or _same_name(prediction, gold)
        or _is_acronym(prediction, gold)
        or _is_acronym(gold, prediction)
    )


def _same_list(prediction: str, gold: str) -> bool:
    """Whether two lists of words with an "and" have the same members, in whatever order."""
    prediction, gold = (text.replace(" & ", " and ") for text in (prediction, gold))
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
    if (turned := _OF.fullmatch(_ARTICLE.sub("", text))) is not None:
        texts.append((f"{turned[2]} {turned[1]}", frozenset(("of",))))  # University of Oxford
    addition = _ADDITION.search(text) if text.endswith(")") else None
    if addition and not of_gold and not _restates(addition[0].strip(" ()"), text[: addition.start()]):
        addition = _PLAIN_ADDITION.search(text)
    if addition and addition.start() > 1:
        text, dropped = text[: addition.start()].strip(), frozenset(("addition",))
        texts.append((text, dropped))
    if of_gold and (match := _LEADING_ADDITION.match(text)):
        text, dropped = text[match.end() :], dropped | {"addition"}
        texts.append((text, dropped))
    if of_gold and (match := _PART_OF_TIME.match(_ARTICLE.sub("", text))):
        text, dropped = _ARTICLE.sub("", text)[match.end() :], dropped | {"part"}
        texts.append((text, dropped))
    for _ in range(4):
        bare = text[match.end() :] if (match := _ARTICLE.match(text)) else text
        name, match = next(((name, match) for name, lead in _LEADS.items() if (match := lead.match(bare))), ("", None))
        if match is None or not re.search(r"\w", bare[match.end() :]):
            break
        text, dropped = bare[match.end() :], dropped | {name}
        texts.append((text, dropped))
    if described := _described_name(text):
        texts.append((described, dropped | {"description"}))
    bare = _DESIGNATION.sub("", unlisted := _ARTICLE.sub("", text, count=1), count=1).strip()
    if bare != unlisted and len(bare) > 2 and bare[0].isupper():
        texts.append((bare, dropped | {"designation"}))
    if of_gold and (placed := without_place(text)):
        texts.append((placed, dropped | {"place"}))
    part = text.rpartition(": ")[2]
    if part != text and " " in part:
        texts.append((part, dropped | {"series"}))
    return [(_spelling(text), dropped) for text, dropped in texts]


def _restates(addition: str, text: str) -> bool:
    """Whether an addition says the same again: initials, a formula, or words of which one is in the text."""
    initials = "".join(word[0] for word in re.split(r"[\s-]+", _ARTICLE.sub("", text.strip())) if word).upper()
    if (
        addition == initials
        or _is_acronym(addition, text)
        or _is_acronym(text, addition)
        or _FORMULA.fullmatch(addition)
    ):
        return True
    return bool({word for word in words(addition) if len(word) > 3} & set(words(text)))


def _described_name(text: str) -> str | None:
    """The name behind a description in lower case: "James Hutton" of "the geologist James Hutton"."""
    parts = text.split()
    start = len(parts)
    while start > 0 and parts[start - 1][:1].isupper():
        start -= 1
    description = [part.lower() for part in parts[:start]]
    if start == len(parts) or not description or description[-1] in ("the", "a", "an"):
        return None
    if (
        _FUNCTION_WORDS.intersection(description)
        or _PLAIN_LEADS.intersection(description)
        or not all(part.replace("-", "").isalpha() for part in description)
    ):
        return None
    return " ".join(parts[start:]) if len(parts[-1]) > 3 else None


def _spelling(text: str) -> tuple[str, ...]:
    """The words of a phrase, with usual abbreviations, Roman numerals and a plural in the end in one spelling."""
    text = _RANGE.sub(" - ", normalize_text(text))
    text = _FROM.sub("", text) if " - " in text else text
    text = _ERA.sub(lambda match: _ERAS[match[0]], text)
    text = _ORDINAL_WAR.sub(r"world war \1", _INITIAL_WAR.sub("world war ", text))
    found = _SHORT_FORMS.get(text, text).split()
    for index, word in enumerate(found):
        if index and (_ROMAN.fullmatch(word) or index == len(found) - 1 and word in _ROMAN_VALUES):
            digits = [_ROMAN_VALUES[digit] for digit in word]
            pairs = zip(digits, [*digits[1:], 0], strict=True)
            found[index] = str(sum(-digit if digit < following else digit for digit, following in pairs))
        elif 0 < index == len(found) - 1 and (ordinal := _ORDINAL.fullmatch(word)) and found[index - 1].isalpha():
            found[index] = ordinal[1]  # Henry the Eighth
        found[index] = _british(_SPELLINGS.get(found[index], found[index]))
    if len(found) > 1 and found[0] in _MOVABLE:
        found = [*found[1:], found[0]]  # River Thames, Thames River
    return tuple(_singular(word) if word.isalpha() else word for word in found) if len(found) <= 4 else tuple(found)


def _british(word: str) -> str:
    """The American spelling of a British word: colour, centre, organise."""
    return _BRITISH.sub(lambda match: _AMERICAN[match[0]], word) if len(word) > 3 else word


def _singular(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 4 and word.endswith(("ves", "fe")):
        return word.removesuffix("e") if word.endswith("fe") else word[:-3] + "f"
    if len(word) > 5 and word.endswith("oes"):
        return word[:-2]
    if len(word) > 6 and word.endswith("ion") and not word.endswith(("tion", "sion")):
        return word[:-2] + "a"  # mitochondrion
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    return word[:-3] + "y" if word.endswith("ies") and len(word) > 4 else word[:-1]


def _is_count_of(found: str, expected: str) -> bool:
    """Whether a gold answer says what is counted, `nine years`, and the prediction how many."""
    counted = _COUNTED.fullmatch(expected)
    return counted is not None and counted.group(1) == found and not _NOT_COUNTED.search(counted.group(2))


def _same_value(prediction: str, gold: str) -> bool:
    """Whether two decimals or two amounts with their units are equal: `36.0` and `36`, `1,500 m` and `1.5 km`."""
    digits = [any(map(str.isdigit, text)) for text in (prediction, gold)]
    if digits.count(True) == 1:  # two thirds
        said, written = (gold, prediction) if digits[0] else (prediction, gold)
        value = value_in_words(said.strip().lower().replace("-", " "))
        return (
            value is not None
            and _FRACTION.fullmatch(written.strip()) is not None
            and value == Fraction(written.strip())
        )
    if True not in digits:
        return False
    one, other = parse(prediction.strip().rstrip(".")), parse(gold.strip().rstrip("."))
    if not (isinstance(one, Scalar) and isinstance(other, Scalar)) or None in (one.value, other.value):
        return False
    if not one.unit and not other.unit:
        decimals = normalize_text(prediction), normalize_text(gold)
        return all(map(_DECIMAL.fullmatch, decimals)) and one.value == other.value
    known = None not in (measure(one.unit), measure(other.unit))
    return known and equal_scalars(one, other, lambda *sides: None) is True


def _same_name(prediction: str, gold: str) -> bool:
    """Whether two names differ in initials, doubled letters or order: `J. Smith`, `Philip(p)`, `Smith, John`."""
    if len(prediction) > 7 < len(gold) and prediction.isalpha() and gold.isalpha() and gold[0].isupper():
        return _sound(normalize_text(prediction)) == _sound(normalize_text(gold))
    if prediction.islower() and gold[:1].isupper():
        prediction = prediction.title()
    if (one := _name(prediction)) is None or (other := _name(gold)) is None:
        return False
    if [_sound(word) for word in one] == [_sound(word) for word in other]:
        return True
    if one[-1] != other[-1] or len(one[-1]) < 3 or _NOT_PERSONS.intersection(one, other):
        return False
    first, second = sorted((one[:-1], other[:-1]), key=len)
    if len(first) < len(second):  # middle names, or initials of them, that only one of them has
        short = first[0] if len(first) == 1 else ""
        return len(short) > 1 and (short == second[-1] or _is_short_for(*sorted((short, second[0]), key=len)))
    return all(a == b or _is_short_for(*sorted((a, b), key=len)) for a, b in zip(first, second, strict=True))


def _is_short_for(short: str, long: str) -> bool:
    """Whether a first name is the other's initial, or its beginning: `Will` for `William`."""
    return short == long or long.startswith(short) and (len(short) == 1 or len(short) > 2 and short[-1] not in "aeiou")


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


def _is_full_name(prediction: str, gold: str) -> bool:
    """Whether a prediction gives first names, too, where the gold answer is a surname."""
    gold = gold.strip()
    if not (gold.isalpha() and gold[0].isupper() and gold[1:].islower() and len(gold) > 4) or is_place(gold):
        return False
    name = _name(prediction)
    if name is None or len(name) > 3 or _NOT_PERSONS.intersection(name) or _NOT_FIRST.intersection(name):
        return False
    return name[-1] == normalize_text(gold) and "," not in prediction


def _sound(word: str) -> str:
    """A name in one of the spellings that sound the same: Phillip, Tchaikovski, Shakespear."""
    if len(word) < 5:
        return word
    for pattern, letters in _SOUNDS:
        word = pattern.sub(letters, word)
    return word


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
