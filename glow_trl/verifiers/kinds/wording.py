"""One form for a short answer in words: what is only spelling goes, what carries meaning stays."""

import re
import unicodedata
from functools import lru_cache

from ..equality.latex import unwrap


_TEXT_COMMAND = re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_BRACKETS = frozenset("()[]{}<>")
_LETTER = re.compile(r"\(?([a-z])\)?")
_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("\u200b\u200c\u200d\u200e\u2060\u202d\ufeff\u00ad", ""),
        **dict.fromkeys("−–—‐‑‒﹣－", "-"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‘’‚‛′`´", "'"),
        **{superscript: "^" + digit for superscript, digit in zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True)},
        **{sign: " " + unicodedata.normalize("NFKC", sign).replace("\u2044", "/") + " " for sign in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"},
    }
)
_LATIN_ACCENT = re.compile(r"(?<=[a-z])[\u0300-\u036f]+")
_ABBREVIATED = re.compile(r"(?<![^\W\d_])([^\W\d_])\.\s?(?=[^\W\d_](?![^\W\d_]))")  # J. K. Rowling, U. S.
_TOKEN = re.compile(
    r"""(?P<number>(?:(?<![^\s("'])[-+])?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+)
      | (?P<word>[^\W\d_][^\W_]*+(?:'[^\W\d_]+)*+)
      | (?P<hyphen>\s*-\s*)
      | (?P<space>\s+)
      | (?P<symbol>.)""",
    re.VERBOSE | re.DOTALL,
)
# Between digits these say what the number is (1/2, 3:30, 5'10); next to words they are punctuation.
_BETWEEN_DIGITS = frozenset("/:.'")
_AFTER_WORDS = frozenset("#♯")  # C#
_NEGATIONS = frozenset("!~")  # !x
_PUNCTUATION = frozenset("\"'.,;:!?/\\$`~_*#|")
_ARTICLES = frozenset(("a", "an", "the"))
_AND = frozenset(("and", "&"))
_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
_NUMBERS = {name: value for value, name in enumerate((*_ONES, "seventeen", "eighteen", "nineteen"))}
_TENS = {
    name: 10 * value
    for value, name in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
MAX_DIGITS = 100
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINALS = {
    **{name: value for value, name in enumerate("first second third fourth fifth sixth seventh".split(), start=1)},
    **{name: value for value, name in enumerate("eighth ninth tenth eleventh twelfth".split(), start=8)},
    **{name + "th": value for name, value in _NUMBERS.items() if value > 12},
    **{name[:-1] + "ieth": value for name, value in _TENS.items()},
}
# Words that may go or become digits, also where they only surround an answer; commands of LaTeX may go, too.
_GOING = frozenset(
    (*_ARTICLES, *_AND, *_NUMBERS, *_TENS, *_SCALES, *_ORDINALS)
    + tuple("percent about approximately approx roughly around".split())
)
_ASCII_WORD = re.compile(r"(?<![\\a-z])[a-z]{3,}")
_ORDINAL_ENDINGS = frozenset(("st", "nd", "rd", "th"))


@lru_cache(maxsize=2048)
def normalize_text(text: str) -> str:
    """The words of an answer in one form.

    Case, accents on Latin letters, quotation marks, articles, "and", and punctuation between words do not matter;
    numbers may be in words. What tells answers apart stays: digits with their points, signs and strokes (`1/2`,
    `3:30`), brackets, `#`, `+`, `%`. A bracket sequence loses its spaces, and `"(C)"` is `"C"`.
    """
    bare = unwrap(text)
    text = (_TEXT_COMMAND.sub(r"\1", bare) if "\\" in bare else bare).strip() or text.strip()
    if text and all(character in _BRACKETS or character.isspace() for character in text):
        return "".join(text.split())
    text = text.rstrip(".,;:!? \"'").lstrip(" \"'") or text
    if match := _LETTER.fullmatch(text.lower()):
        return match.group(1)
    return " ".join(words(text)) or text


def has_other_words(text: str, expected: str) -> bool:
    """Whether a long text, in that form, is not `expected` for certain: a word of it that stays is not in there.

    That is quick to see; it takes a while to bring a whole completion to that form.
    """
    return any(word not in expected and word not in _GOING for word in _ASCII_WORD.findall(text.lower()))


def words(text: str) -> list[str]:
    """The words, numbers and symbols of a text, in the form in which they are compared."""
    if text.isascii():
        text = text.replace("`", "'").lower()
    else:
        text = unicodedata.normalize("NFKC", text.translate(_CHARACTERS)).casefold()
        text = unicodedata.normalize("NFC", _LATIN_ACCENT.sub("", unicodedata.normalize("NFD", text)))
    if "." in text:
        text = _ABBREVIATED.sub(r"\1", text)
    tokens = list(_tokens(text))
    return _numerals(_without_fillers(tokens)) or tokens


def _tokens(text: str):
    for match in _TOKEN.finditer(text):
        kind, token = match.lastgroup, match.group()
        before, after = text[max(0, match.start() - 1) : match.start()], text[match.end() : match.end() + 1]
        if kind == "number":
            yield token.replace(",", "")
        elif kind == "word":
            yield token.replace("'", "")
        elif kind == "hyphen":
            # A hyphen joins words; between numbers or beside a single letter it may be a minus or a range
            joined = _is_word(text, match.start(), -1) or not before, _is_word(text, match.end(), 1)
            glued = token == "-" and any(joined) and (before + after).isalnum()
            if not after and before.isalnum() and token == "-":
                yield "-"  # O-
            elif after and not all(joined) and not (glued and (before + after)[-joined[0]].isdigit()):
                yield "-"
        elif kind == "symbol":
            if token in _AFTER_WORDS and before.isalnum() or token == "_" and before.isalnum() and after.isalnum():
                yield token
            elif token in _NEGATIONS and after.isalpha() and not before.isalnum():
                yield token
            elif token in _BETWEEN_DIGITS or token == "*":
                around = before.isalnum() and after.isalnum() and (before.isdigit() or after.isdigit())
                if around and not (token == "." and before.isalpha()):
                    yield token
            elif token not in _PUNCTUATION:
                yield token


def _is_word(text: str, position: int, step: int) -> bool:
    """Whether two letters stand at `position`, going forward (1) or backward (-1)."""
    near = text[position : position + 2] if step > 0 else text[max(0, position - 2) : position]
    return len(near) == 2 and near.isalpha()


def _without_fillers(tokens: list[str]) -> list[str]:
    """Without articles that another word follows, and without "and" between words."""
    last = len(tokens) - 1
    return [
        token
        for index, token in enumerate(tokens)
        if not (token in _ARTICLES and index < last or token in _AND and 0 < index < last)
    ]


def _numerals(tokens: list[str]) -> list[str]:
    """Numbers in words as digits: `twenty one` -> `21`, `third` and `3 rd` -> `3rd`, `2 million` -> `2000000`."""
    found: list[str] = []
    position = 0
    while position < len(tokens):
        value, end = _number_at(tokens, position)
        if end == position:
            found.append({"percent": "%"}.get(tokens[position], tokens[position]))
            position += 1
            continue
        number = str(value) if value is not None else tokens[position]
        if tokens[end - 1] in _ORDINALS or (end < len(tokens) and tokens[end] in _ORDINAL_ENDINGS):
            end += tokens[end - 1] not in _ORDINALS
            number += "th"
        found.append(number)
        position = end
    return found


def _number_at(tokens: list[str], position: int) -> tuple[int | None, int]:
    """The whole number that begins at `position` and where it ends; none is as long as nothing."""
    token = tokens[position]
    if token.isascii() and token.isdigit():
        following = tokens[position + 1] if position + 1 < len(tokens) else ""
        scaled = following in _SCALES and len(token) <= MAX_DIGITS
        return (int(token) * _SCALES[following], position + 2) if scaled else (None, position + 1)
    total, group, last, end = 0, 0, 0, position
    for token in tokens[position : position + 12]:
        if token in _SCALES:
            scale = _SCALES[token]
            if scale == 100:
                group = (group or 1) * 100
            elif not total or scale < last:
                total, group, last = total + (group or 1) * scale, 0, scale
            else:
                break
        else:
            value = _TENS.get(token) or _NUMBERS.get(token) or _ORDINALS.get(token)
            if 11 <= group < 21 and end == position + 1 and (value or 0) > 9 and token not in _ORDINALS:
                total, group = group * 100, 0  # nineteen sixty-nine
            if value is None and token != "zero" or not _fits(group, value or 0, end > position):
                break
            group += value or 0
        end += 1
        if token in _ORDINALS:
            break
    return total + group, end


def _fits(group: int, value: int, begun: bool) -> bool:
    """Whether `value` may follow what was said of a number so far: `one` follows `twenty`, not `three`."""
    if group % 100 == 0:
        return not begun or value > 0 and (group > 0 or value < 100)
    return group % 10 == 0 and group % 100 >= 20 and 0 < value < 10
