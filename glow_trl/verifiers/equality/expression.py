"""A small, fast reader of arithmetic and algebra, from text to a tree; `residues.py` decides equality on the trees.

It reads rational expressions in any number of variables with powers, roots, factorials and common functions. What it
does not read for certain (`1/2x`, integrals, towers of powers without braces) it leaves to the computer algebra.
"""

import math
import re
from fractions import Fraction
from functools import lru_cache
from operator import add, mul, sub


MAX_LENGTH = 400
MAX_DEPTH = 30
MAX_FACTORIAL = 500
MAX_EXACT_BITS = 4096

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?|\.\d+)|(?P<command>\\[a-zA-Z]+|\\[{}|])|(?P<letter>[a-zA-Z])|(?P<symbol>.))",
    re.DOTALL,
)
GREEK = {
    rf"\{name}"
    for name in (
        *("alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "kappa"),
        *("lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega"),
        *("Gamma", "Delta", "Theta", "Lambda", "Sigma", "Phi", "Psi", "Omega", "ell"),
    )
}
_FUNCTIONS = {rf"\{name}" for name in ("sin", "cos", "tan", "cot", "sec", "csc", "ln", "log", "exp")}
_FUNCTIONS |= {rf"\{name}" for name in ("arcsin", "arccos", "arctan", "sinh", "cosh", "tanh")}
_INVERSES = {r"\sin": r"\arcsin", r"\cos": r"\arccos", r"\tan": r"\arctan"}
_ROUNDED = {r"\lfloor": ("floor", r"\rfloor"), r"\lceil": ("ceil", r"\rceil")}
_SERIES = {r"\sum": "sum", r"\prod": "prod"}
_CIRCLE = re.compile(r"\s*\\circ(?![a-zA-Z])")
DEGREE = ("/", ("name", r"\pi"), ("number", Fraction(180)))
_SIGNS = GREEK | {r"\pi"}
_STARTS = {"(", "{", "[", r"\frac", r"\sqrt", r"\pi", r"\binom", *_ROUNDED, *_SERIES} | GREEK | _FUNCTIONS
_SUBSCRIPT = re.compile(r"\s*_\s*(?:\{\s*([a-zA-Z0-9]+(?:[+-]\d+)?)\s*\}|([a-zA-Z0-9]))")
_FUNCTION_LETTERS = frozenset("fghpquvCDEFGHPQRTVW")
_CLOSING = {"(": ")", "{": "}", "[": "]"}
INFINITY = ("name", r"\infty")
_ARITHMETIC = {"+": add, "-": sub, "*": mul}


class Unsupported(ValueError):
    """The expression is outside what this module reads."""


def negated(tree: tuple) -> tuple:
    """The tree of a number with a minus before it."""
    return ("-", ("number", Fraction(0)), tree)


class SideBySide(Unsupported):
    """A number follows a value with nothing between them, as in `5 7`."""


class _Reader:
    """Recursive descent from text to a tree of tuples: `("+", a, b)`, `("number", Fraction)`, `("name", str)`, ..."""

    def __init__(self, text: str):
        if len(text) > MAX_LENGTH:
            raise Unsupported("too long")
        self.text = text
        self.position = 0
        self.depth = 0
        self.bars = 0
        self.kind = self.token = None
        self.spaced = False
        self.advance()

    def advance(self) -> None:
        match = _TOKEN.match(self.text, self.position)
        if match is None:
            self.kind = self.token = None
            return
        self.kind, self.token = match.lastgroup, match.group(match.lastgroup)
        self.spaced = match.start(match.lastgroup) > self.position
        self.position = match.end()

    def expect(self, token: str) -> None:
        if self.token != token:
            raise Unsupported(f"expected {token}")
        self.advance()

    def read(self) -> tuple:
        tree = self.sum()
        if self.token is not None and self.token.strip():
            raise Unsupported(f"unexpected {self.token}")
        return tree

    def sum(self) -> tuple:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unsupported("nested too deeply")
        tree = self.signed()
        while self.token in ("+", "-"):
            operator = self.token
            self.advance()
            tree = (operator, tree, self.signed())
        self.depth -= 1
        return tree

    def signed(self) -> tuple:
        negative = False
        while self.token in ("+", "-"):
            negative ^= self.token == "-"
            self.advance()
        tree = self.product()
        return negated(tree) if negative else tree

    def product(self) -> tuple:
        tree = self.power()
        divided = False
        while True:
            if self.token in ("*", r"\cdot", "/"):
                operator = "/" if self.token == "/" else "*"
                self.advance()
                if operator == "*" and self.token == "*":
                    raise Unsupported("power written as **")
                sign = self.token in ("+", "-")
                right = self.signed_power() if sign else self.power()
                tree = (operator, tree, right)
                divided = operator == "/"
            elif self.kind == "number":
                raise SideBySide("two numbers side by side")
            elif self.kind == "letter" or self.token in _STARTS or (self.token == "|" and not self.bars):
                if divided:
                    raise Unsupported("1/2x can be read in two ways")
                tree = ("*", tree, self.power())
            else:
                return tree

    def signed_power(self) -> tuple:
        negative = self.token == "-"
        self.advance()
        tree = self.power()
        return negated(tree) if negative else tree

    def power(self) -> tuple:
        tree = self.base()
        while self.token in ("^", "!", "'"):
            if self.token == "'":
                raise Unsupported("derivative")
            if self.token == "!":
                self.advance()
                tree = ("!", tree)
                continue
            self.advance()
            if self.token == r"\circ":
                self.advance()
                tree = ("*", tree, DEGREE)
                continue
            if self.token == "-":
                self.advance()
                exponent = negated(self.base())
            elif self.kind == "number" and len(self.token) > 1 and "\\" in self.text:
                raise Unsupported("x^10 is x^1 times 0 in LaTeX")
            else:
                exponent = self.base()
            tree = ("^", tree, exponent)
            if self.token == "^":
                raise Unsupported("tower of powers without braces")
        return tree

    def group(self) -> tuple:
        closing = _CLOSING[self.token]
        self.advance()
        tree = self.sum()
        self.expect(closing)
        return tree

    def argument(self) -> tuple:
        """What a fraction or binomial takes: a group, or one sign, as in `\\frac\\pi2`."""
        if self.token == "{":
            return self.group()
        token = self.token
        if self.kind == "number" and len(token) > 1 or self.kind not in ("number", "letter") and token not in _SIGNS:
            raise Unsupported("fraction or binomial without braces")
        self.advance()
        return ("number", Fraction(int(token))) if token.isdecimal() else ("name", token)

    def base(self) -> tuple:
        kind, token = self.kind, self.token
        if kind == "number":
            self.advance()
            tree = ("number", Fraction(int(token) if token.isdecimal() else token))
            if self.token == r"\frac" and "." not in token:
                fraction = self.base()
                top, bottom = fraction[1], fraction[2]
                if top[0] == bottom[0] == "number" and top[1] < bottom[1] and top[1].denominator == 1:
                    return ("+", tree, fraction)
                if top[0] == bottom[0] == "number":
                    raise SideBySide("neither a mixed number nor a product")
                return ("*", tree, fraction)
            return tree
        if token in ("(", "{", "["):
            return self.group()
        if token == "|":
            self.advance()
            self.bars += 1
            tree = self.sum()
            self.bars -= 1
            self.expect("|")
            return ("abs", tree)
        if token in _ROUNDED:
            self.advance()
            operator, closing = _ROUNDED[token]
            tree = self.sum()
            self.expect(closing)
            return (operator, tree)
        if token in _SERIES:
            return self.series()
        if token == r"\frac":
            self.advance()
            return ("/", self.argument(), self.argument())
        if token == r"\sqrt":
            self.advance()
            if self.token == "[":
                return ("root", self.group(), self.base())
            return ("sqrt", self.base())
        if token == r"\pi":
            self.advance()
            return ("name", token)
        if token == r"\binom":
            self.advance()
            return ("binom", self.argument(), self.argument())
        if token in _FUNCTIONS:
            return self.function()
        if kind == "letter" or token in GREEK:
            name = token
            subscript = _SUBSCRIPT.match(self.text, self.position)
            if subscript:
                name += "_" + (subscript.group(1) or subscript.group(2))
                self.position = subscript.end()
            self.advance()
            if self.token == "_":
                raise Unsupported("subscript")
            if self.token == "(" and not self.spaced and token in _FUNCTION_LETTERS:
                return ("apply", name, self.group())
            return ("name", name)
        raise Unsupported(f"unexpected {token!r}")

    def series(self) -> tuple:
        """`\\sum_{k=1}^{n} k`; what it adds up ends where a product ends."""
        operator = _SERIES[self.token]
        self.advance()
        self.expect("_")
        self.expect("{")
        name = self.token
        if self.kind != "letter":
            raise Unsupported("sum over what?")
        self.advance()
        self.expect("=")
        low = self.sum()
        self.expect("}")
        self.expect("^")
        if self.token == r"\infty":
            self.advance()
            high = INFINITY
        elif self.token == "{" and re.match(r"\s*\\infty\s*\}", self.text[self.position :]):
            self.advance()
            self.advance()
            self.expect("}")
            high = INFINITY
        else:
            high = self.base()
        return (operator, name, low, high, self.product())

    def function(self) -> tuple:
        name = self.token
        subscript = None
        if name == r"\log" and (match := _SUBSCRIPT.match(self.text, self.position)):
            base = match[1] or match[2]
            if not base.isdigit():
                raise Unsupported("base of the logarithm")
            subscript = Fraction(base)
            self.position = match.end()
        self.advance()
        power = None
        if self.token == "^":
            self.advance()
            power = self.base()
            if name in _INVERSES and exact(power) == -1:
                name, power = _INVERSES[name], None
            elif power[0] != "number" or power[1] <= 0:
                raise Unsupported("inverse function or power")
        if self.token in ("(", "{"):
            argument = self.group()
        elif (
            self.kind in ("letter", "number") or self.token in GREEK or self.token in (r"\pi", r"\frac", r"\sqrt", "|")
        ):
            argument = self.base()
            if self.token == "^" and _CIRCLE.match(self.text, self.position):
                self.advance()
                self.advance()
                argument = ("*", argument, DEGREE)
            while self.kind == "letter" or self.token in GREEK or self.token == r"\pi":
                argument = ("*", argument, self.base())  # \\sin 2x
            if self.kind == "number" or self.token in ("^", "(", "!"):
                raise Unsupported("where does the argument end?")
        else:
            raise Unsupported("function without argument")
        tree = ("log_base", ("number", subscript), argument) if subscript else ("apply", name, argument)
        return ("^", tree, power) if power else tree


@lru_cache(maxsize=4096)
def read(text: str) -> tuple | None:
    """The expression as a tree, or `None` if this module does not read it."""
    try:
        return _Reader(text).read()
    except (Unsupported, RecursionError, ZeroDivisionError):
        return None


def has_numbers_side_by_side(text: str) -> bool:
    """Whether a number follows a value with nothing between them: `5 7` is neither 12 nor 35, nor any other number."""
    try:
        _Reader(text).read()
    except SideBySide:
        return True
    except (Unsupported, RecursionError, ZeroDivisionError):
        pass
    return False


def free_names(tree: tuple) -> frozenset[str]:
    """The names in a tree, without those that a sum or product runs over."""
    if tree[0] == "name":
        return frozenset((tree[1],))
    if tree[0] in ("sum", "prod"):
        bounds = free_names(tree[2]) | (free_names(tree[3]) - {INFINITY[1]})
        return bounds | (free_names(tree[4]) - {tree[1]})
    return frozenset().union(*(free_names(part) for part in tree[1:] if isinstance(part, tuple)))


def exact(tree: tuple) -> Fraction | None:
    """The value if it is a rational number of moderate size that needs no simplification of roots."""
    operator = tree[0]
    if operator == "number":
        return tree[1]
    if operator in ("name", "apply", "sum", "prod"):
        return None
    parts = [exact(part) for part in tree[1:]]
    if any(part is None for part in parts):
        return None
    a, b = parts[0], parts[-1]
    if max(a.denominator.bit_length(), a.numerator.bit_length(), b.numerator.bit_length()) > 2 * MAX_EXACT_BITS:
        return None
    if operator in _ARITHMETIC:
        return _ARITHMETIC[operator](a, b)
    if operator == "/":
        return a / b if b else None
    if operator == "sqrt":
        return rational_root(a)
    if operator in ("abs", "floor", "ceil"):
        return abs(a) if operator == "abs" else Fraction(math.floor(a) if operator == "floor" else math.ceil(a))
    if operator in ("root", "log_base"):
        return None
    if operator == "binom":
        fits = a.denominator == b.denominator == 1 and 0 <= b <= a <= MAX_FACTORIAL
        return Fraction(math.comb(int(a), int(b))) if fits else None
    if operator == "!":
        return Fraction(math.factorial(int(a))) if a.denominator == 1 and 0 <= a <= MAX_FACTORIAL else None
    # powers
    if b.denominator != 1 or (a == 0 and b <= 0):
        return None
    size = max(abs(a.numerator), a.denominator).bit_length() * abs(int(b))
    return a ** int(b) if size <= MAX_EXACT_BITS else None


def rational_root(value: Fraction) -> Fraction | None:
    """The square root of a square, `None` of anything else."""
    if value < 0:
        return None
    top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
    return Fraction(top, bottom) if top * top == value.numerator and bottom * bottom == value.denominator else None
