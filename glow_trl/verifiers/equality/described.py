"""What words describe, as a formula: "all multiples of 3", "powers of two", "integers greater than 2"."""

import re
from itertools import permutations

from .numerals import SMALL


MAX_LENGTH = 200

_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textrm)\s*\{([^{}]*)\}")
_HINT = re.compile(r"\\mathbb|\\equiv|[a-z]{3} |\||\\mid|\b(?:even|odd)\b")
_ANNOUNCED = re.compile(
    r"(?:(?:thus|so|hence|therefore|the|all|only|possible|desired|required|sought|final|correct|complete|general|whole|real|"
    r"integer|natural|positive|ordered|distinct|unique|such|our|least|greatest|smallest|largest|minimum|maximum|total)"
    r"[, ]+){0,5}"
    r"(?:solutions?|answers?|values?|functions?|pairs?|triples?|polynomials?|numbers?|integers?)"
    r"(?: sets?)?(?: (?:to|of) the (?:equation|problem|system))?"
    r" (?:is|are)(?: given by| of the form| exactly)?[: ]\s*",
    re.IGNORECASE,
)
_DOMAIN = re.compile(
    r"(?:for )?(?:(?:the |only )?set of )?(?:(?:all|any|every|each|the|those) )*"
    r"(?P<sign>(?:positive|non-?negative|natural|whole) )?(?P<before>even |odd )?"
    r"(?P<kind>real numbers?|integers?|naturals?|numbers?|reals?)?\s*(?:(?P<name>[a-zA-Z])(?![a-zA-Z]))?"
    r"(?:\s*(?:is|are|such that|that are|that is|which are|must be|with|where|for which|satisfying)\b)*\s*",
)
_DIVISIBLE = re.compile(r"(?:divisible by|(?:an? )?(?:integer )?multiples? of)\s*(?P<modulus>\d{1,6}|[a-z]+)")
_POWER = re.compile(
    r"(?:an? )?(?:(?:positive|non-?negative|integer|natural|perfect) )*powers? of (?P<base>\d{1,6}|[a-z]+)"
)
# Whether the bound is an upper one, and whether it belongs to it
_COMPARISONS = {
    **dict.fromkeys(("greater than", "more than", "larger than", "strictly greater than"), (False, False)),
    **dict.fromkeys(("at least", "no less than", "not less than", "greater than or equal to"), (False, True)),
    **dict.fromkeys(("less than", "smaller than", "strictly less than"), (True, False)),
    **dict.fromkeys(("at most", "no more than", "not more than", "less than or equal to"), (True, True)),
}
_COMPARED = re.compile(rf"({'|'.join(sorted(_COMPARISONS, key=len, reverse=True))}) (-?\d{{1,9}}|[a-z]+)")
_DIVIDES = re.compile(r"(\d{1,6})\s*(?:\\mid|\||∣)\s*([a-zA-Z])")
_PERMUTED = re.compile(
    r"(?:\(?[a-z](?:,\s*[a-z])+\)?\s*=\s*)?(\([^()]{3,60}\))[\s,]*(?:and|or|with|up to)?[\s(]*"
    r"(?:(?:all|its|their|any|the|other|of|(?P<cyclic>cyclic)) )*"
    r"permutations?(?: thereof| of (?:it|them|this))?[\s).]*"
)
_CONSTANT = re.compile(r"([fgh])\s*\\equiv\s*(-?\d+)")
_EXCEPT = re.compile(r"(?:except|other than|excluding|but)(?: for)? (-?\d[\d\s,/.-]*(?:(?:and|or) -?[\d/.]+)?)")
_WORD = re.compile(r"(?<![a-zA-Z\\])[a-zA-Z]{2}")
_AND = re.compile(r",?\s*(?:and|or)\s*")
_NATURALS = re.compile(
    r"(?:[a-z]\s*\\in\s*)?\\mathbb\s*\{?\s*(?:Z\s*\}?\s*(?:\^\s*\{?\s*\+\s*\}?|_\s*\{?\s*(?:\+|>\s*0)\s*\}?)"
    r"|N\s*\}?(?:\s*\^\s*\{?[+*]\}?)?)"
)
_RELATION = re.compile(r"[<>=≤≥]|\\(?:geq?|leq?|equiv|neq?|in|ge|le)(?![a-z])")


def _digits(word: str) -> str | None:
    return word if word.lstrip("-").isdigit() else str(SMALL[word]) if word in SMALL else None


def _orders(tuple_text: str, cyclic: bool) -> str:
    """All orders of a tuple with up to four members, as a list; `""` for a longer one."""
    items = [item.strip() for item in tuple_text.strip("()").split(",")]
    if not 1 < len(items) <= 4:
        return ""
    turned = [items[start:] + items[:start] for start in range(len(items))]
    orders = turned if cyclic else map(list, permutations(items))
    return ", ".join(dict.fromkeys(f"({', '.join(order)})" for order in orders))


def in_symbols(text: str) -> tuple[str, str]:
    """A text with what its words describe as a formula, and the set that they name, "Z", "N" or "" for none."""
    if len(text) > MAX_LENGTH or not _HINT.search(text):
        return text, ""
    flat = " ".join(_TEXT.sub(r" \1 ", text.replace("$", " ")).split()).rstrip(" .")
    if match := _DIVIDES.fullmatch(flat):
        return rf"{match[2]} \equiv 0 \pmod{{{match[1]}}}", "Z"
    if (match := _PERMUTED.fullmatch(flat)) and (orders := _orders(match[1], match["cyclic"] is not None)):
        return orders, ""
    if match := _CONSTANT.fullmatch(flat):
        return f"{match[1]}(x) = {match[2]}", ""
    if _NATURALS.fullmatch(flat):
        return r"\mathbb{N}", ""
    announced = _ANNOUNCED.match(flat)
    said = flat[announced.end() :] if announced else flat
    match = _DOMAIN.match(said)
    rest = said[match.end() :] if match else said
    name, kind = (match["name"] or "", match["kind"] or "") if match else ("", "")
    domain = "N" if match and match["sign"] else "Z" if kind.startswith("integer") else ""
    if (
        match
        and (parity := (match["before"] or rest).strip()) in ("even", "odd")
        and (not rest or not match["before"])
    ):
        return rf"{name} \equiv {int(parity == 'odd')} \pmod{{2}}", domain or "Z"
    if (found := _DIVISIBLE.fullmatch(rest)) and (modulus := _digits(found["modulus"])):
        return rf"{name} \equiv 0 \pmod{{{modulus}}}", domain or "Z"
    if found := _POWER.fullmatch(rest):
        base = _digits(found["base"]) or found["base"]
        if len(base) == 1 or base.isdigit():
            return (f"{name} = " if name else "") + f"{base}^{{k}} with constant k", ""
    if kind and (found := _COMPARED.fullmatch(rest)) and (bound := _digits(found[2])):
        upper, closed = _COMPARISONS[found[1]]
        interval = rf"(-\infty, {bound}{'])'[not closed]}" if upper else rf"{'[('[not closed]}{bound}, \infty)"
        return interval, domain
    if (found := _EXCEPT.fullmatch(rest)) and "real" in kind:
        return rf"\mathbb{{R}} \setminus \{{{_AND.sub(', ', found[1])}\}}", ""
    if kind and not rest and not name:
        number_set = {"N": "N", "Z": "Z"}.get(domain, "R" if "real" in kind else "")
        return (rf"\mathbb{{{number_set}}}", "") if number_set and not match["before"] else (text, "")
    if (
        match
        and match.end()
        and (kind or announced or said.startswith(("all ", "any ", "every ")))
        and name
        and not match["before"]
        and _RELATION.match(rest)
    ):
        return f"{name} {rest}", domain
    if announced and (_RELATION.search(said) or not _WORD.search(said)):
        return said, ""
    return text, ""
