"""Units of measurement after an answer: found, and compared by what they measure."""

import re
import string
from fractions import Fraction
from functools import lru_cache


# What a unit measures (powers of basic dimensions), and how large it is.
Measure = tuple[tuple[tuple[str, int], ...], Fraction]

# Dimension: symbol or name -> size. Names (in lower case here) may be plural and in any case, symbols may not.
_UNITS: dict[str, tuple[dict[str, int], dict[str, str]]] = {
    "length": (
        {"length": 1},
        {
            **{"m meter metre": "1", "in inch inche": "0.0254", "ft foot feet": "0.3048", "yd yard": "0.9144"},
            **{"mi mile": "1609.344", "micron": "1e-6", "angstrom Å": "1e-10", "furlong": "201.168", "ly": "9.46e15"},
            **{"lightyear light-year": "9.4607304725808e15", "au AU": "149597870700", "parsec": "3.0857e16"},
        },
    ),
    "mass": (
        {"mass": 1},
        {"g gram gm": "1", "lb pound": "453.59237", "oz ounce": "28.349523125", "tonne t": "1e6", "ton": "1e6"},
    ),
    "time": (
        {"time": 1},
        {
            **{"s sec second": "1", "min minute": "60", "h hr hour": "3600", "day d": "86400", "week wk": "604800"},
            **{"fortnight": "1209600", "am": "1", "pm": "1"},
        },
    ),
    "years": ({"year": 1}, {"month mo": "1", "year yr": "12", "decade": "120", "century centurie": "1200"}),
    "volume": (
        {"length": 3},
        {
            **{"L l liter litre": "0.001", "cc": "1e-6", "gal gallon": "0.003785411784", "qt quart": "0.000946352946"},
            **{"pt pint": "0.000473176473", "floz": "0.0000295735295625"},
        },
    ),
    "area": ({"length": 2}, {"acre": "4046.8564224", "ha hectare": "10000"}),
    "speed": (
        {"length": 1, "time": -1},
        {"mph": "0.44704", "kph kmph kmh": "5/18", "knot": "1852/3600", "fps": "0.3048"},
    ),
    "force": (
        {"mass": 1, "length": 1, "time": -2},
        {"N newton": "1000", "lbf": "4448.2216152605", "dyn dyne": "0.01"},
    ),
    "energy": (
        {"mass": 1, "length": 2, "time": -2},
        {
            "J joule": "1000",
            "cal calorie": "4184",
            "Cal": "4184000",
            "eV": "1.602176634e-16",
            "Wh": "3600000",
            "erg": "1e-4",
        },
    ),
    "power": ({"mass": 1, "length": 2, "time": -3}, {"W watt": "1000", "hp horsepower": "745699.87158227"}),
    "pressure": (
        {"mass": 1, "length": -1, "time": -2},
        {
            "Pa pascal": "1000",
            "bar": "1e8",
            "atm atmosphere": "101325000",
            "mmHg torr": "133322.387415",
            "psi": "6894757.293168",
        },
    ),
    "current": ({"current": 1}, {"A amp ampere": "1"}),
    "charge": ({"current": 1, "time": 1}, {"C coulomb": "1"}),
    "voltage": ({"mass": 1, "length": 2, "time": -3, "current": -1}, {"V volt": "1000"}),
    "resistance": ({"mass": 1, "length": 2, "time": -3, "current": -2}, {"Ω ohm": "1000"}),
    "capacitance": ({"mass": -1, "length": -2, "time": 4, "current": 2}, {"F farad": "0.001"}),
    "magnetic": ({"mass": 1, "time": -2, "current": -1}, {"T tesla": "1000"}),
    "frequency": ({"cycle": 1, "time": -1}, {"Hz hertz": "1", "rpm": "1/60"}),
    "amount": ({"amount": 1}, {"mol mole": "1"}),
    "concentration": ({"amount": 1, "length": -3}, {"M molar": "1000"}),
    "temperature": ({"temperature": 1}, {"K kelvin": "1"}),
    "celsius": ({"celsius": 1}, {"degC celsius": "1"}),
    "fahrenheit": ({"fahrenheit": 1}, {"degF fahrenheit": "1"}),
    "angle": ({"angle": 1}, {"deg degree": "1", "arcmin arcminute": "1/60", "arcsec arcsecond": "1/3600"}),
    "radian": ({"radian": 1}, {"rad radian": "1"}),
    "sound": ({"decibel": 1}, {"dB decibel": "1"}),
    "light": ({"light": 1}, {"cd candela": "1", "lm lumen": "1", "lx lux": "1"}),
    "data": ({"bit": 1}, {"bit b": "1", "B byte": "8"}),
    "rate": ({"bit": 1, "time": -1}, {"bps": "1"}),
    "$": ({"$": 1}, {"$ dollar usd buck": "1", "cent ¢": "1/100", "dime": "1/10", "nickel": "1/20"}),
    "€": ({"€": 1}, {"€ euro eur": "1"}),
    "£": ({"£": 1}, {"£ gbp quid": "1", "pence": "1/100"}),
    "¥": ({"¥": 1}, {"¥ yen yuan rmb cny jpy": "1"}),
    "₹": ({"₹": 1}, {"₹ rupee inr rs": "1"}),
    "₽": ({"₽": 1}, {"₽ ruble rouble rub": "1"}),
    "₩": ({"₩": 1}, {"₩ won": "1"}),
}
# These have no common size: the same dimension, yet never the same.
_INCOMPARABLE = ("am", "pm", "cd", "lm", "lx", "candela", "lumen", "lux")
_PREFIXES = {
    "n": "1e-9",
    "µ": "1e-6",
    "u": "1e-6",
    "m": "1e-3",
    "c": "1e-2",
    "d": "0.1",
    "k": "1e3",
    "M": "1e6",
    "G": "1e9",
}
_PREFIX_NAMES = {
    "nano": "n",
    "micro": "µ",
    "milli": "m",
    "centi": "c",
    "deci": "d",
    "kilo": "k",
    "mega": "M",
    "giga": "G",
}
_PREFIXED = frozenset("m g s L l N J W V A Pa Hz mol eV cal Wh B b bit bps Ω F T C K M t".split())
_PREFIXED_NAMES = frozenset(
    """meter metre gram second liter litre newton joule watt volt amp ampere pascal hertz mole calorie byte bit
    ohm""".split()
)


def _table() -> dict[str, Measure]:
    table: dict[str, Measure] = {}
    for dimensions, units in _UNITS.values():
        for names, size in units.items():
            for name in names.split():
                own = {name: 1} if name in _INCOMPARABLE else dimensions
                table[name] = tuple(sorted(own.items())), Fraction(size)
    for name, (dimensions, size) in list(table.items()):
        for prefix, factor in _PREFIXES.items() if name in _PREFIXED else ():
            table.setdefault(prefix + name, (dimensions, size * Fraction(factor)))
        for prefix, symbol in _PREFIX_NAMES.items() if name in _PREFIXED_NAMES else ():
            table[prefix + name] = dimensions, size * Fraction(_PREFIXES[symbol])
    return table


_TABLE = _table()
# Words that may follow a number in an answer and say what is counted, not how much.
_COUNTED = """
    people person student child children man men woman women boy girl kid friend apple orange book page coin
    ball card marble dog cat animal tree car word point way time item piece box bag cup bottle slice ticket
    solution root value number digit integer side edge vertex vertices face diagonal triangle square circle term
    game match team member egg cookie cake candy pizza sandwich flower letter shirt pair trip step mark vote
    worker employee hat pen pencil square cubic total each more less left right per of
    """.split()
_PLAIN_WORDS = {form for word in _COUNTED for form in (word, word + "s", word + "es")}
MAX_LENGTH = 200
_POWER = r"(?:\s*\^\s*(?:\{\s*([23])\s*\}|([23])))?"
_TEXT_UNIT = re.compile(r"\s*\\text\s*\{([^{}]*)\}" + _POWER + r"\s*\.?$")
_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_DEGREES = re.compile(r"\s*\^\\circ\s*(?:\\text\s*\{\s*([CF])\s*\}|([CF]))?\s*$")
_WORDS = re.compile(r"(?<=[\d})!a-zA-Z])[\s.\-]*+((?:[a-zA-Z][a-zA-Z/.]*+\s*+)++)" + _POWER + r"\s*$")
_COMMAND = re.compile(r"\\[a-zA-Z]*$")
_JOINED = re.compile(r"\\text\s*\{([^{}]*)\}\s*(\^\s*-?\d)?\s*(\\cdot|/|\*)\s*\\text\s*\{")
# Behind a number, but for words that change it: ten thousand, hundred, thousand, times, half, more, less, about ...
_CHINESE = re.compile(
    r"([+-]?[\d.,/]*\d)\s*(?:\\text\s*\{\s*)?((?!千(?![米克瓦帕])|[万亿百十])[元角分块钱个只条本张支枝件台辆座间套双副把根颗粒朵棵株头匹米厘毫微千克公斤吨升小时钟点秒天日周星期月年岁人名位次种组班页字题道里平方立度瓦帕]{1,5})\s*\}?"
)
_CURRENCY_BEFORE = re.compile(r"^(-?)\s*(\\\$|USD(?=\s*\d)|EUR(?=\s*\d)|GBP(?=\s*\d)|CNY(?=\s*\d)|[€£¥₹₽₩₪₫฿])\s*")
_CURRENCY_AFTER = re.compile(r"\s*(\\\$|[€£¥₹₽₩₪₫฿])\s*$")
# Nothing else ends a unit that is no power.
_UNIT_ENDS = frozenset(string.ascii_letters + "/.}$€£¥₹₽₩₪₫฿")
_CHANGING = frozenset(
    """squared cubed doubled tripled quadrupled halved below above
    inverse absolute factorial or to not than if when minus plus over times unless except but through thru between
    pi sqrt half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths seventh sevenths eighth
    eighths ninth ninths tenth tenths hundredth hundredths thousandth thousandths mod modulo base divided percent
    choose and hundred thousand million billion trillion dozen dozens score fewer least most half""".split()
)
_AREAS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_POWERS = {"squared": 2, "cubed": 3}
# Letters that are read as a unit where they are set apart from the number, `5 m`; others are variables.
_SPACED_LETTERS = "mgshlKNJWVLAC"
_SPELLED = re.compile(r"\bdegrees?\s+(celsius|fahrenheit|C|F)\b|\blight[ -]years?\b", re.IGNORECASE)
_PER = re.compile(r"\bper\b")
_GENERIC = frozenset(("", "unit", "units"))
_MERIDIEM = re.compile(r"([ap])\.?\s?m\.?", re.IGNORECASE)


def _single(name: str) -> Measure | None:
    if name in _TABLE:
        return _TABLE[name]
    lower = name.lower().rstrip(".")
    for candidate in (lower, lower.removesuffix("s"), lower.removesuffix("es")):
        if candidate in _TABLE and (len(candidate) > 1 or candidate == name.rstrip(".")):
            return _TABLE[candidate]
    return None


@lru_cache(maxsize=1024)
def measure(unit: str) -> Measure | None:
    """What a unit measures and how large it is: `m/s^2`, `kg`, `square feet`, `miles per hour`; `None` if unknown."""
    if match := _MERIDIEM.fullmatch(unit.strip()):
        return _TABLE[match.group(1).lower() + "m"]
    dimensions: dict[str, int] = {}
    size, sign, area = Fraction(1), 1, 1
    pieces = (
        _SPELLED.sub(
            lambda match: "deg" + match[1][0].upper() if match[1] else "lightyear",
            _PER.sub("/", unit) if "per" in unit else unit,
        )
        .replace("/", " / ")
        .replace("*", " ")
        .replace(r"\cdot", " ")
        .replace("^ ", "^")
        .split()
    )
    if not pieces or len(pieces) > 12:
        return None
    last: tuple[Measure, int] | None = None
    for piece in pieces:
        if piece == "/":
            sign = -1
            continue
        if piece.lower().rstrip(".") in _AREAS:
            area = _AREAS[piece.lower().rstrip(".")]
            continue
        power, known = sign * area, None
        if piece.lower() in _POWERS and last is not None:
            known, power = last[0], last[1] * (_POWERS[piece.lower()] - 1)
        else:
            exponent = re.search(r"\^?\{?(-?\d)\}?$", piece)
            if exponent and exponent.start():
                piece, power = piece[: exponent.start()], power * int(exponent.group(1))
            known = _single(piece)
        if known is None or not power:
            return None
        last, area = (known, power), 1
        for name, count in known[0]:
            dimensions[name] = dimensions.get(name, 0) + count * power
        size *= known[1] ** power
    if last is None:
        return None
    return tuple(sorted((name, count) for name, count in dimensions.items() if count)), size


def _canonical(words: str, power: str) -> str | None:
    """The unit as text, `""` for words that are no unit of measurement, `None` if they cannot follow a number."""
    words = " ".join(words.replace("~", " ").strip().strip(".").split())
    if not words or words.lower() in ("unit", "units", "square units", "sq units", "cubic units"):
        return ""
    unit = words + power
    if measure(unit) is not None:
        return unit
    first = words.split()[0]
    if len(words.split()) > 1 and measure(first) is not None and len(first) > 1:
        return first  # years old, hours later
    return None


def split_unit(text: str) -> tuple[str, str]:
    """Split an answer into what it says and its unit: `"15\\text{ cm}^2"` -> `("15", "cm2")`.

    The unit is `""` where there is none, or where the words behind the number only say what is counted. What the
    words make of the number ("5 squared", "12 to 13") is no unit: then the text stays whole.
    """
    text = text.strip()
    if len(text) > MAX_LENGTH:
        return text, ""
    if not text.isascii() and (match := _CHINESE.fullmatch(text)):
        return match.group(1), match.group(2)
    if text[-1:] not in _UNIT_ENDS and r"\text" not in text and "^" not in text and not _CURRENCY_BEFORE.match(text):
        return text, ""
    for _ in range(3 if text.count(r"\text") > 1 else 0):
        text = _JOINED.sub(r"\\text{\1\2 \3 ", text)
    if match := _CURRENCY_BEFORE.match(text):
        return split_unit(match.group(1) + text[match.end() :])[0], match.group(2).lstrip("\\")
    if match := _CURRENCY_AFTER.search(text):
        return text[: match.start()], match.group(1).lstrip("\\")
    if r"\circ" in text and (match := _DEGREES.search(text)) and not _FUNCTION.search(text):
        return text[: match.start()].strip(), "deg" + (match.group(1) or match.group(2) or "")
    if r"\text" in text and (match := _TEXT_UNIT.search(text)) and match.start() > 0:
        words = match.group(1)
        unit = _canonical(words, match.group(2) or match.group(3) or "")
        rest = text[: match.start()].rstrip().removesuffix("\\")
        if unit is None and changes_value(words):
            return text, ""
        return rest.strip(), _unknown(words) if unit is None else unit
    if match := _WORDS.search(text):
        words, power = match.group(1), match.group(2) or match.group(3) or ""
        if (
            (before := text[: match.start()].strip())
            and before[-1] not in "+-*/^=<>_,("
            and not _COMMAND.search(before)
        ):
            single = len(words.strip()) == 1
            if single and words.strip() not in _SPACED_LETTERS:
                return text, ""
            glued = match.group(0)[:1] not in " .-"
            unit = None if single and glued else _canonical(words, power)
            if unit is not None and (before[-1].isdigit() or before[-1] in "})" or len(words.strip()) > 2):
                return before, unit
            if all(word.lower().strip(".") in _PLAIN_WORDS for word in words.split()):
                return before, ""
            if before[-1].isdigit() and not glued and _unknown(words):
                return before, _unknown(words)
    return text, ""


def _unknown(words: str) -> str:
    """An abbreviation that no table knows, as a unit of its own; nouns only say what is counted."""
    words = words.strip().strip(".")
    short = re.fullmatch(r"[a-zA-Z]{2,5}", words) and not words.islower() and not words.istitle()
    return words if short and not words.isupper() else ""


def changes_value(words: str) -> bool:
    """Whether words behind a number say how much it is, and not of what: `squared`, `or more`, `to 13`."""
    found = re.findall(r"[a-z]+", words.lower())
    return bool(_CHANGING.intersection(found)) and not all(word in _PLAIN_WORDS for word in found)


def conversion(first: str, second: str) -> Fraction | None:
    """The factor from the first unit to the second, `None` if they measure different things; 1 if one is missing."""
    if first == second or first in _GENERIC or second in _GENERIC:
        return Fraction(1)
    if {first, second} in ({"deg", "degC"}, {"deg", "degF"}, {"£", "pounds"}, {"£", "pound"}):
        return Fraction(1)
    one, other = measure(first), measure(second)
    if one is None or other is None or one[0] != other[0]:
        return None
    return one[1] / other[1]
