"""What answers call their values: names that mean the same, and values in the order of names."""

import re

from .shapes import Answer, Named, Several


# The mean \\bar{x} is not x, but a segment \\overline{AB} is AB.
_DECORATION = re.compile(r"\\(?:overrightarrow|vec)(?![a-z])|\\(?:overline|hat|bar|widehat)(?=[A-Z]{2})")
_POINTS = re.compile(r"(\\angle)?([A-Z]{2,3})")
_VARIABLE = re.compile(
    r"(?:\\[a-z]+)?\\?[a-zA-Z]+'*(?:_\w+)?(?:\^-1)?(?:\([\w,+-]*\))?|\|\\?[a-zA-Z]+\||\\frac(?:[A-Za-z]\w*){2}|[A-Za-z]\w*(?:[:/][A-Za-z]\w*)+"
)


def is_initial(one: str, other: str) -> bool:
    """Whether one name is a word and the other its first letter: `radius = 2` and `r = 2`."""
    short, long = sorted((one, other), key=len)
    return len(short) == 1 and len(long) > 3 and long.isalpha() and long[0].lower() == short.lower()


def is_variable(name: str) -> bool:
    """Whether it may stand for a number: a letter, a word, a function's value, a ratio of segments."""
    return _VARIABLE.fullmatch(name) is not None


def canonical_name(name: str) -> str:
    """A name without what only decorates it, `AB` for both `\\overline{BA}` and `AB`."""
    name = _DECORATION.sub("", name).replace(r"\measuredangle", r"\angle").replace(r"m\angle", r"\angle")
    if match := _POINTS.fullmatch(name):
        name = (match.group(1) or "") + min(match.group(2), match.group(2)[::-1])
    return name


def in_one(prediction: Answer, gold: Answer) -> Answer:
    """`q = 5, p = 3` as a pair for `(p, q) = (3, 5)`; any other answer as it is."""
    if not isinstance(prediction, Several) or not isinstance(gold, Named) or not gold.name.startswith("("):
        return prediction
    values = {item.name: item.value for item in prediction.items if isinstance(item, Named)}
    names = gold.name.strip("()").split(",")
    if sorted(values) != sorted(names) or len(values) < len(prediction.items):
        return prediction
    return Several("()", tuple(values[name] for name in names))


def in_order_of(names: str, named: Named) -> Answer:
    """The value of `(y, x) = (2, 1)` in the order of `(x, y)`; any other value as it is."""
    wanted, given = (text.strip("()").split(",") for text in (names, named.name))
    value = named.value
    if wanted == given or sorted(wanted) != sorted(given) or not isinstance(value, Several):
        return value
    if len(value.items) != len(given):
        return value
    return Several(value.brackets, tuple(value.items[given.index(name)] for name in wanted))
