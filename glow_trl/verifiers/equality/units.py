"""Units of measurement after an answer: found, named in one way, and set aside."""

import re


_NAMES = {
    "mm": ("mm", "millimeter", "millimetre"),
    "cm": ("cm", "centimeter", "centimetre"),
    "m": ("meter", "metre"),
    "km": ("km", "kilometer", "kilometre"),
    "in": ("inch", "inches"),
    "ft": ("ft", "foot", "feet"),
    "yd": ("yd", "yard"),
    "mi": ("mi", "mile"),
    "mg": ("mg", "milligram"),
    "g": ("gram", "gm"),
    "kg": ("kg", "kilogram"),
    "lb": ("lb", "lbs", "pound"),
    "oz": ("oz", "ounce"),
    "ton": ("ton", "tonne"),
    "ml": ("ml", "mL", "milliliter", "millilitre"),
    "l": ("liter", "litre"),
    "gal": ("gal", "gallon"),
    "qt": ("quart",),
    "pt": ("pint",),
    "s": ("sec", "second"),
    "min": ("min", "minute"),
    "h": ("hr", "hrs", "hour"),
    "day": ("day",),
    "week": ("week", "wk"),
    "month": ("month",),
    "year": ("year", "yr"),
    "mph": ("mph", "miles per hour"),
    "km/h": ("kph", "kmph", "kmh", "km/h", "km/hr", "kilometers per hour", "kilometres per hour"),
    "m/s": ("m/s", "meters per second", "metres per second"),
    "deg": ("deg", "degree"),
    "rad": ("rad", "radian"),
    "$": ("dollar", "usd", "bucks"),
    "cent": ("cent", "¢"),
    "eur": ("euro", "eur"),
    "unit": ("unit",),
}
# Words that may follow a number in an answer and say what is counted, not how much.
_COUNTED = """
    people person student child children man men woman women boy girl kid friend apple orange book page coin
    ball card marble dog cat animal tree car word point way time item piece box bag cup bottle slice ticket
    solution root value number digit integer side edge vertex vertices face diagonal triangle square circle term
    game match team member egg cookie cake candy pizza sandwich flower letter shirt pair trip step mark vote
    worker employee hat pen pencil square cubic total each more less left right per of
    """.split()
_CANONICAL = {name.lower(): unit for unit, names in _NAMES.items() for name in (*names, *(n + "s" for n in names))}
_SINGLE = {**{letter: letter for letter in "mgshlKNJWV"}, "L": "l"}
_PLAIN_WORDS = {form for word in _COUNTED for form in (word, word + "s", word + "es")}
MAX_LENGTH = 200
_POWER = r"(?:\s*\^\s*(?:\{\s*([23])\s*\}|([23])))?"
_TEXT_UNIT = re.compile(r"\s*\\text\s*\{([^{}]*)\}" + _POWER + r"\s*\.?$")
_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_DEGREES = re.compile(r"\s*\^\\circ\s*$")
_WORDS = re.compile(r"(?<=[\d})!a-zA-Z])[\s.\-]*+((?:[a-zA-Z][a-zA-Z/.]*+\s*+)++)" + _POWER + r"\s*$")
_CURRENCY_BEFORE = re.compile(r"^(-?)\s*\\\$\s*")
_CURRENCY_AFTER = re.compile(r"\s*\\\$\s*$")
_DIMENSION = {"square": "2", "sq": "2", "cubic": "3", "cu": "3"}


def _canonical(words: str, power: str) -> str | None:
    """The unit's one name, `""` for words that are no unit of measurement, `None` if they cannot follow a number."""
    words = words.strip().strip(".").strip()
    parts = words.replace("-", " ").split()
    if not parts:
        return ""
    for prefix, dimension in _DIMENSION.items():
        if parts[0].lower().rstrip(".") == prefix and len(parts) > 1:
            parts, power = parts[1:], power or dimension
    name = " ".join(parts)
    unit = _SINGLE.get(name) or _CANONICAL.get(name.lower()) or _CANONICAL.get(name.lower().rstrip("."))
    return None if unit is None else unit + power


def split_unit(text: str) -> tuple[str, str]:
    """Split an answer into what it says and its unit: `"15\\text{ cm}^2"` -> `("15", "cm2")`.

    The unit is `""` where there is none, or where the words behind the number only say what is counted.
    """
    text = text.strip()
    if len(text) > MAX_LENGTH:
        return text, ""
    if _CURRENCY_BEFORE.match(text):
        return split_unit(_CURRENCY_BEFORE.sub(r"\1", text))[0], "$"
    if _CURRENCY_AFTER.search(text):
        return _CURRENCY_AFTER.sub("", text), "$"
    if (match := _DEGREES.search(text)) and not _FUNCTION.search(text):
        return text[: match.start()].strip(), "deg"
    if (match := _TEXT_UNIT.search(text)) and match.start() > 0:
        unit = _canonical(match.group(1), match.group(2) or match.group(3) or "")
        rest = text[: match.start()].rstrip().removesuffix("\\")
        return rest.strip(), unit or ""
    if match := _WORDS.search(text):
        words, power = match.group(1), match.group(2) or match.group(3) or ""
        if (before := text[: match.start()].strip()) and before[-1] not in "+-*/^=<>_,(":
            single = words.strip() in _SINGLE
            glued = match.group(0)[:1] not in " .-"
            unit = None if single and glued else _canonical(words, power)
            if unit is not None:
                return before, unit
            if all(word.lower().strip(".") in _PLAIN_WORDS for word in words.split()):
                return before, ""
    return text, ""


def units_clash(first: str, second: str) -> bool:
    """Whether both units are known and measure different things, so that equal numbers mean different answers."""
    generic = {"", "unit", "unit2", "unit3"}
    return first not in generic and second not in generic and first != second
