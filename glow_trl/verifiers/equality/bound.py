"""Names that an answer binds itself: `f(x) = x` is `f(z) = z`, `x = k pi` is `n pi`, `x^2 + C` is `x^2 + c`."""

import re
from collections.abc import Iterator
from itertools import permutations

from . import numeric
from .answers import is_name
from .expression import read
from .latex import normalize


_SETS = {"integer": "Z", "natural": "N", "real": "R", "rational": "Q", "complex": "C"}
_DECLARES = re.compile(
    r"\\geq?(?![a-z])|>|≥|\\forall|\\in(?![a-z])|∈|"
    + "|".join(rf"{word}\b(?<!\w{word})" for word in "for where with arbitrary constant integer integers".split())
)
_NAMES = r"[a-zA-Z](?:_\d)?(?:\s*,\s*[a-zA-Z](?:_\d)?)*"
_KIND = (
    r"(?:(?:an?|any|all|the|some|every|each|arbitrary|fixed|set|of|is|are|numbers?|values?|constants?|parameters?|positive|"
    r"negative|non-?negative|non-?zero|reals?|integers?|naturals?|rationals?|complex|\\in|in)(?![a-zA-Z_])|∈|"
    r"\\(?:mathbb|mathbf|bf|Bbb)\s*\{?\s*[ZNRQC]\s*\}?(?:\s*[_^]\s*\{?(?:0|\+|\*|\\ast|\\geq?\s*0|>=\s*0|>\s*0)\}?)*|"
    r"[ℤℕℝℚℂ]|[ZNRQ](?![a-zA-Z]))"
)
_MEMBER = r"(?:\\in|∈|(?:(?:is|are|an?|any|positive|real)\s+)*(?:integers?|constants?)\b)"
_TAIL = re.compile(
    rf"""(?P<head>.*?\S)[\s,;.(]*
    (?: \b(?:for|where|with)\b\s* | \\forall\s*
      | (?<![a-zA-Z])(?!(?P<twice>[a-zA-Z])\s*,\s*(?P=twice)\s*(?:\\in|∈))(?={_NAMES}\s*{_MEMBER}) )
    (?P<tail>(?:{_KIND}[\s,]*+)*+(?P<names>{_NAMES})?[\s,]*+(?:{_KIND}[\s,]*+)*+)[\s.)]*""",
    re.VERBOSE,
)
# "2^k with k >= 1": the least value of a parameter
_BOUNDED = re.compile(
    r"(?P<head>.*?\S)[\s,;.(]+(?:(?:for|where|with)\s+)?(?:(?:all|any|every|some|each|an?|the)\s+)*"
    r"(?:(?:natural|integers?|numbers?)\s+)*"
    r"(?P<name>[knmtljs])\s*(?P<operator>>=|>|\\geq?(?![a-z])|≥)\s*(?P<bound>\d{1,3})[\s.)]*"
)
# "f(x) = 1 for all x in Z, and f(x) = x"
_INNER = re.compile(
    r"\s*,?\s*\b(?:for all|for every|for any)\s+(?:real|integers?)?\s*[a-z]"
    r"(?:\s*(?:\\in|∈)\s*\\mathbb\s*\{?\s*[ZNRQ]\s*\}?)?(?=\s*[,;]?\s*(?:(?:and|or)(?![a-z])|[a-zA-Z]\([a-z]\)\s*=))"
)
_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textrm)\s*\{([^{}]*)\}")
_LETTER = re.compile(r"\b(?:and|or|mod)\b|\\(?:text|mathrm|operatorname)\s*\{[^{}]*\}|\\[a-zA-Z]+|([a-zA-Z])")
_FUNCTION = re.compile(r"([a-zA-Z](?:_\d)?)\s*(?:\(\s*([a-z])\s*\)|_\s*\{?\s*([a-z])\s*\}?)\s*=(.+)", re.DOTALL)
_UNKNOWN = re.compile(r"\s*(?:[xyztuwn]|\\(?:theta|alpha|beta|varphi|phi)|\([^()=]*(?:\([a-z]\)[^()=]*)*\))\s*=")
_PARAMETERS = frozenset("kntmljs")
_CONSTANTS = frozenset("cC")
_ADDEND = re.compile(r"[+-]\s*[cC](?![a-zA-Z])|(?<![a-zA-Z\\\d])[cC]\s*[+-]")
MAX_LENGTH = 300
MAX_RENAMED = 3


def without_tail(text: str) -> tuple[str, frozenset[str], str]:
    """An answer without "for all real x" and "k in Z" behind it, the names declared there, and the set they are in.

    A condition that says more than a set (`for x > 2`) is part of the answer.
    """
    nothing = (text, frozenset(), "")
    if len(text) > MAX_LENGTH or not _DECLARES.search(text):
        return nothing
    flat = " ".join(_TEXT.sub(r" \1 ", text.replace("$", " ")).replace(r"\quad", " ").replace(r"\,", " ").split())
    flat, inner = _INNER.subn("", flat)
    if inner:
        nothing = (flat, frozenset(), "")
    if (
        (bounded := _BOUNDED.fullmatch(flat))
        and bounded["name"] in letters(bounded["head"].partition("=")[2] or flat)
        and "(" not in bounded["head"].partition("=")[0]
    ):
        least = int(bounded["bound"]) + (bounded["operator"] == ">")
        return bounded["head"], frozenset(bounded["name"]), "N" if least in (0, 1) else f"N{least}"
    match = _TAIL.fullmatch(flat)
    if match is None or not match["tail"].strip() or match["head"].count("(") < match["head"].count(")"):
        return nothing
    tail = match["tail"]
    sets = {letter for word, letter in _SETS.items() if word in tail}
    sets |= set(re.findall(r"(?:\bin|\\in|∈)\s*([ZNRQ])\b", tail))
    sets |= set(re.findall(r"(?:mathbb|mathbf|bf|Bbb)\s*\{?\s*([ZNRQC])", tail))
    if "Z" in sets and re.search(r"\b(?:positive|non-?negative)\b", tail):
        sets = {"N"}
    head = match["head"].rstrip(" ,;(")
    if match["names"] is None and not sets and "constant" not in tail:
        return nothing
    return head, frozenset(re.findall(r"[a-zA-Z](?:_\d)?", match["names"] or "")), "".join(sorted(sets))


def letters(text: str) -> set[str]:
    """The single letters of a formula that are names."""
    return {match[1] for match in _LETTER.finditer(text) if match[1]} - {"e", "i"}


def rename(text: str, old: str, new: str) -> str:
    return _LETTER.sub(lambda match: new if match[1] == old else match[0], text)


def renamings(prediction: str, gold: str, declared: frozenset[str]) -> Iterator[str]:
    """The prediction with the gold answer's names for what both bind; nothing if they bind nothing to rename."""
    there = letters(gold)
    if not there and "=" not in gold:
        return
    here = letters(prediction)
    one, other = _FUNCTION.fullmatch(prediction.strip()), _FUNCTION.fullmatch(gold.strip())
    if one and other and one[1] == other[1]:
        old, new = one[2] or one[3], other[2] or other[3]
        if old != new and (one[2] is None) == (other[2] is None) and new not in here:
            prediction = rename(prediction, old, new)
            here = letters(prediction)
            yield prediction
    names = letters(gold.partition("=")[0]) if _UNKNOWN.match(gold) else set()
    only_here, only_there = here - there, there - here - names
    if not 0 < len(only_here) == len(only_there) <= MAX_RENAMED:
        return
    constants = _ADDEND.search(prediction) or _ADDEND.search(gold)
    for order in permutations(sorted(only_there)):
        pairs = [{old, new} for old, new in zip(sorted(only_here), order, strict=True)]
        if all(pair & declared or pair == _CONSTANTS and constants or pair <= _PARAMETERS and names for pair in pairs):
            text = prediction
            for old, new in zip(sorted(only_here), order, strict=True):
                text = rename(text, old, new)
            yield text


def shifted(text: str, declared: frozenset[str]) -> Iterator[str]:
    """A family over all integers with its parameter shifted or turned around: `n - 1` or `-n` for `n`."""
    for name in sorted(letters(text) & (declared | _PARAMETERS)):
        for other in (f"({name}+1)", f"({name}-1)", f"(-{name})", f"({name}+2)", f"({name}-2)"):
            yield rename(text, name, other)


_ADDED = re.compile(r"(.*\S)\s*\+\s*([cCkK])", re.DOTALL)
_ADDABLE = frozenset("cCkK")


def equal_up_to_constant(prediction: str, gold: str) -> bool:
    """Whether two antiderivatives, each with its `+ C`, differ by a constant."""
    prediction, gold = prediction.strip(), gold.strip()
    if prediction[-1:] not in _ADDABLE or gold[-1:] not in _ADDABLE:
        return False
    one, other = _ADDED.fullmatch(prediction), _ADDED.fullmatch(gold)
    if one is None or other is None or one[2] in letters(one[1]) or other[2] in letters(other[1]):
        return False
    trees = []
    for side in (one[1], other[1]):
        name, equals, value = side.partition("=")
        if equals and not is_name(normalize(name)):
            return False
        trees.append(read(normalize(value if equals else side)))
    return None not in trees and numeric.is_constant(("-", *trees))
