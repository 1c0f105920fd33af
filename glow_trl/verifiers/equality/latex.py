"""Bringing the many spellings of an answer to one, still valid LaTeX, without looking at what it means."""

import re
import unicodedata


# Longer strings are no final answers; they are only ever compared as strings.
MAX_LENGTH = 2000
MAX_LAYERS = 16

_CHARACTERS = str.maketrans(
    {
        **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
        **dict.fromkeys("\u200e\u200f\u202a\u202b\u202c\u202d\u2066\u2067\u2068\u2069", ""),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),
        **dict.fromkeys("\u00a0\u2002\u2003\u2009\u202f\u3000\t\r\n\f\v", " "),
        **dict.fromkeys("−–—‐‑﹣－", "-"),
        **dict.fromkeys("×⋅·∙∗✕", r" \cdot "),
        **dict.fromkeys("“”„‟″", '"'),
        **dict.fromkeys("‘’‚‛′", "'"),
        **{superscript: "^" + digit for superscript, digit in zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True)},
        **{subscript: "_" + digit for subscript, digit in zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True)},
        **{digit: unicodedata.normalize("NFKC", digit) for digit in "０１２３４５６７８９"},
        **{
            sign: r" \frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", sign).split("\u2044"))
            for sign in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
        },
        **{
            sign: rf"\{name} "
            for sign, name in zip(
                "√π∞≠≈±∓∪∩∈∅θαβ",
                "sqrt pi infty neq approx pm mp cup cap in emptyset theta alpha beta".split(),
                strict=True,
            )
        },
        **dict(zip("（），。：；％", "(),.:;%", strict=True)),
        "∛": r"\sqrt[3]",
        "∜": r"\sqrt[4]",
        **{"⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil "},
        "÷": "/",
        "⁄": "/",
        "℃": r"^\circ C",
        "℉": r"^\circ F",
        "≤": "<=",
        "≥": ">=",
        **dict.fromkeys("°º˚", r"^\circ "),
    }
)

TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_MATH_COMMANDS = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac"), r"\frac"),
    **dict.fromkeys(("leq", "le", "leqslant", "leqq"), "<="),
    **dict.fromkeys(("geq", "ge", "geqslant", "geqq"), ">="),
    **dict.fromkeys(("times", "ast"), r"\cdot "),
    **dict.fromkeys(("dots", "cdots"), r"\ldots "),
    **dict.fromkeys(("land", "lor", "wedge", "vee"), ","),
    **dict.fromkeys(("infin", "infty"), r"\infty "),
    **dict.fromkeys(("lvert", "rvert", "vert"), "|"),
    **dict.fromkeys(("cupdot", "dotcup", "sqcup", "uplus"), r"\cup "),
    "ne": r"\neq ",
    "lt": "<",
    "gt": ">",
    "div": "/",
    "lbrace": r"\{",
    "rbrace": r"\}",
    "lbrack": "[",
    "rbrack": "]",
    "varnothing": r"\emptyset ",
    "degree": r"^\circ ",
    "to": r"\to ",
    "colon": ":",
    "percent": "%",
    "lg": r"\log ",
    **dict.fromkeys(
        """left right mleft mright middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle
        textstyle limits nolimits hfill bf rm boldsymbol bm mathbf mathsf mathcal centering large Large nonumber
        tiny scriptsize footnotesize small normalsize LARGE huge Huge""".split(),
        "",
    ),
    **dict.fromkeys(("quad", "qquad", "thinspace", "enspace", "enskip", "space"), " "),
    **dict.fromkeys(
        ("textbf", "textit", "textrm", "textsf", "texttt", "textnormal", "mbox", "mathrm", "mathit", "hbox", "emph"),
        r"\text",
    ),
}
_COMMAND = re.compile(r"\\([a-zA-Z]+)")
_DOUBLED = re.compile(r"\\\\(?=[a-zA-Z()\[\]{}])")
_ENVIRONMENT = re.compile(r"\\begin\s*\{")
_SPACING = re.compile(r"(?<!\\)(?:\\[,;: >]|~)")
_NEGATIVE_SPACE = re.compile(r"\\!\s*")
_BRACED_COMMA = re.compile(r"(?<=\d)\s*(?:\{\s*,\s*\}|,\s*\\!|\\,)\s*(?=\d{3}(?!\d))")
_CURRENCY = re.compile(r"\\\$|US\$(?=\s*\d)|A\$(?=\s*\d)|C\$(?=\s*\d)")
_PHANTOM = re.compile(r"\\[hv]?phantom\s*\{[^{}]*\}")
_PRIME = re.compile(r"\s*\^\s*(?:\{\s*(?:\\prime\s*)+\}|\\prime(?![a-zA-Z]))")
_SHORT_FRACTION = re.compile(
    r"\\frac\s*(?:(\d|(?<=\s)[a-zA-Z])|\{([^{}]*)\})\s*(?:(\d)|(\\pi\b|[a-zA-Z])|\{([^{}]*)\})"
)
_SHORT_ROOT = re.compile(r"\\sqrt\s*(\[\d{1,3}\])?\s*(?:(\d+|[a-zA-Z])|\(([^()]*)\))")
_BINOMIAL = re.compile(r"\\[dt]?binom\s*(?:(\d)|\{([^{}]*)\})\s*(?:(\d|[a-zA-Z])|\{([^{}]*)\})")
_CHOOSE = re.compile(r"\{([^{}]*)\\choose(?![a-zA-Z])([^{}]*)\}")
_BARE_CHOOSE = re.compile(r"(\w+)\s*\\choose\s*(\w+)")
_COMBINATIONS = re.compile(r"(?<![\w\\])C\((\d+),\s*(\d+)\)")
_COLOR = re.compile(
    r"\\(?:text|math)?color(?:box)?\s*(?:\[[a-zA-Z]*\]\s*)?\{[^{}]*\}|\\(?:underline|ensuremath)(?![a-zA-Z])"
)
_POWER_SIGN = re.compile(r"(?<=[\w)}\]])\s?\*\*\s?(?:(\d+|[a-zA-Z])|\((-?\d+)\)|(?=[({]))")
_TIMES_TEN = re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*\^)")
_MARKED_THOUSANDS = re.compile(r"\d{1,3}(?:(?:_\d{3})+|(?:'\d{3})+)(?:\.\d+)?")
_ONLY = re.compile(r"^(?:\\text\s*\{\s*only\s*\}|only\s)\s*", re.IGNORECASE)
_COMMENT = re.compile(r"^%[^\n]*\n")
_BARE_ROOT = re.compile(r"(?<![\\a-zA-Z])sqrt\s*(?=[({\d])")
# Patterns that begin with letters, and look behind later, are quick where these letters are rare.
_BARE_NAMES = re.compile(
    "|".join(
        rf"{name}(?<![\\a-zA-Z]{name})(?![a-zA-Z])"
        for name in """pi infinity infty inf sin cos tan cot sec csc log ln arcsin arccos arctan sinh cosh tanh
            exp""".split()
    )
)
# A letter behind a number may be a unit, `5\\text{ N}`; `12\\text{A}` is more likely a name.
_LETTER_IN_TEXT = re.compile(
    r"(?<![\d}])(?<![\d}] )\\text\s*\{\s*([a-zA-Z])\s*\}"
    r"|\\text\s*\{(?![gmsLNJKVW]\s*\}|\s+[gmshdltACFJKLMNTVW]\s*\})\s*([a-zA-Z])\s*\}"
)
_UNIT_PER_UNIT = re.compile(r"(?<=[\d}])(\s*\\text\s*\{[^{}]*)\}\s*/\s*\\text\s*\{([^{}]*\})")
_LOGARITHM_BASE = re.compile(r"(?<![a-zA-Z])\\?log(\d+)\s*\(")
_DOLLAR = re.compile(r"\$(?<!\\\$)")
_DEGREES = re.compile(r"\^\s*(?:\\circ(?![a-zA-Z])|\{\s*\\circ\s*\})")
_OPERATOR_NAME = re.compile(r"\\(?:operatorname|mathop)\*?\s*\{\s*([a-zA-Z]+)\s*\}")
_PERCENT_WORDS = re.compile(
    r"\s*(?:\\text\s*\{\s*)?\b(?:percent(?:age)?(?:\s+points?)?|pct)\b\.?(?:\s*\})?", re.IGNORECASE
)
_FORMATTING = re.compile(r"\*\*|__|(?<!\w)`|`(?!\w)")
_APPROXIMATELY = re.compile(
    r"^(?:(?:\\text\s*\{\s*)?(?:about|approximately|approx\.?|roughly|around)(?:\s*\}|\s(?!\w*\}))|\\approx(?![a-zA-Z])|\\sim(?![a-zA-Z])|~|≈)\s*",
    re.IGNORECASE,
)
# 0.333..., a digit three times and dots
RECURRING = re.compile(r"(\.\d*?)(\d)\2\2+\s*(?:\.{3}|…|\\[lc]?dots(?![a-zA-Z]))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_ABOUT = frozenset("aArR\\~≈")  # about, roughly, \\approx, ...
_MARKS = ("**", "__", "*", '"', "`")
_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), (r"\boxed{", "}"), (r"\fbox{", "}"))


def closing_brace(text: str, opening: int, limit: int | None = None) -> int:
    """Index of the `}` that closes the `{` at `opening`, or -1 if there is none before `limit`."""
    depth = 0
    for match in _BRACE.finditer(text, opening, len(text) if limit is None else limit):
        brace = match.group(0)
        if brace == "{":
            depth += 1
        elif brace == "}":
            depth -= 1
            if depth == 0:
                return match.start()
    return -1


def unwrap(text: str) -> str:
    """Take off what surrounds a whole answer: math delimiters, `\\boxed{}`, bold, final punctuation."""
    for _ in range(MAX_LAYERS):
        before = text
        text = text.strip().rstrip(".,;:?").strip()
        if text[:1] in _ABOUT and (match := _APPROXIMATELY.match(text)):
            text = text[match.end() :]
        if text.endswith("\\"):
            text = text[:-1]
        for opening, closing in _DELIMITERS if text[:1] in ("$", "\\") else ():
            if text.startswith(opening) and text.endswith(closing) and len(text) >= len(opening) + len(closing):
                inside = text[len(opening) : len(text) - len(closing)]
                whole = (
                    closing_brace(text, len(opening) - 1) == len(text) - 1 if closing == "}" else closing not in inside
                )
                if whole:
                    text = inside
        for mark in _MARKS if text[:1] in '*_"`' else ():
            if len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith(mark):
                text = text[len(mark) : -len(mark)]
        if text == before:
            break
    return text


def _fraction(match: re.Match) -> str:
    top, bottom = match[1] or match[2] or "", match[3] or match[4] or match[5] or ""
    return rf"\frac{{{top}}}{{{bottom}}}"


def normalize(text: str) -> str:
    """One spelling for an answer: delimiters, fonts, sizes, spacing, short fractions, Unicode signs.

    What the answer means is not touched: no units are dropped, no commas read as separators except those that LaTeX
    marks as such.
    """
    if len(text) > MAX_LENGTH:
        return text.strip()
    # Most rules begin with a plain search for what they need: that is much quicker than a pattern that finds nothing.
    text = text.strip().replace("{:}", ":")
    if text.startswith("$") and text.count("$") == 1:
        text = "\\" + text  # $5
    if text.startswith("%"):
        text = _COMMENT.sub("", text)
    if "." in text and ("dots" in text or "..." in text or "…" in text):
        text = RECURRING.sub(r"\1(\2)", text)
    text = unwrap(text.translate(_CHARACTERS))
    if "**" in text and not text.endswith("**"):
        text = _POWER_SIGN.sub(lambda match: f"^{{{match[1] or match[2]}}}" if match[1] or match[2] else "^", text)
    if "**" in text or "__" in text or "`" in text:
        text = _FORMATTING.sub("", text)
    if ("_" in text or "'" in text) and _MARKED_THOUSANDS.fullmatch(text):
        text = text.replace("_", "").replace("'", "")
    if "10" in text and "^" in text:
        text = _TIMES_TEN.sub(r" \\cdot ", text)
    if "C(" in text:
        text = _COMBINATIONS.sub(r"\\binom{\1}{\2}", text)
    if "\\" in text:
        text = _one_spelling(text)
    else:
        if "$" in text:
            text = _CURRENCY.sub(r"\\$", text)
        if "{" in text and "," in text:
            text = _BRACED_COMMA.sub("", text)
    if "$" in text:
        text = _DOLLAR.sub("", text)
    if match := _ONLY.match(text):
        text = text[match.end() :]
    if r"\text" in text:
        text = _UNIT_PER_UNIT.sub(r"\1 / \2", text)
        text = _LETTER_IN_TEXT.sub(lambda match: match[1] or match[2], text)
    if "log" in text:
        text = _LOGARITHM_BASE.sub(r"\\log_{\1}(", text)
    if "sqrt" in text:
        text = _BARE_ROOT.sub(r"\\sqrt", text)
    text = _BARE_NAMES.sub(
        lambda match: "\\" + {"infinity": "infty", "inf": "infty"}.get(match[0], match[0]) + " ", text
    )
    if "percent" in (lower := text.lower()) or "pct" in lower:
        text = _PERCENT_WORDS.sub("%", text)
    return unwrap(" ".join(text.split()))


def _one_spelling(text: str) -> str:
    """One spelling for the commands of LaTeX in a text."""
    if "\\\\" in text and not _ENVIRONMENT.search(text):
        text = _DOUBLED.sub(lambda _: "\\", text)
    if "$" in text:
        text = _CURRENCY.sub(r"\\$", text)
    text = text.replace(r"\%", "%")
    if "," in text:
        text = _BRACED_COMMA.sub("", text)
    if r"\!" in text:
        text = _NEGATIVE_SPACE.sub("", text)
    text = _SPACING.sub(" ", text)
    if r"\operatorname" in text or r"\mathop" in text:
        text = _OPERATOR_NAME.sub(r"\\\1 ", text)
    if "phantom" in text:
        text = _PHANTOM.sub("", text)
    if r"\prime" in text:
        text = _PRIME.sub(lambda match: "'" * match[0].count("p"), text)
    text = _COMMAND.sub(lambda match: _MATH_COMMANDS.get(match[1], match[0]), text)
    if r"\circ" in text:
        text = _DEGREES.sub(r"^\\circ ", text)
    if "color" in text or r"\underline" in text or r"\ensuremath" in text:
        text = _COLOR.sub("", text)
    text = text.strip()
    if text.startswith("{") and "," not in text and closing_brace(text, 0) == len(text) - 1:
        text = text[1:-1].strip()
    if r"\choose" in text:
        text = _BARE_CHOOSE.sub(r"\\binom{\1}{\2}", _CHOOSE.sub(r"\\binom{\1}{\2}", text))
    if "binom" in text:
        text = _BINOMIAL.sub(lambda match: rf"\binom{{{match[1] or match[2]}}}{{{match[3] or match[4]}}}", text)
    for _ in range(4 if r"\frac" in text else 0):
        shorter = _SHORT_FRACTION.sub(_fraction, text)
        if shorter == text:
            break
        text = shorter
    if r"\sqrt" in text:
        text = _SHORT_ROOT.sub(lambda match: rf"\sqrt{match[1] or ''}{{{match[2] or match[3] or ''}}}", text)
    return text
