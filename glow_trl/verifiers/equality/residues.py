"""Deciding whether two expressions are equal, without computer algebra.

An expression in variables, pi, e, i and square roots of rational numbers is mapped into a large finite field: numbers
to themselves, roots to roots, variables (and pi and e, which satisfy no equation) to random elements. Equal
expressions have equal images, always; different ones have different images except with a probability of about 1e-36
(two fields of about 2**122 elements). What the mapping does not know, `f(x)` say, gets a random element that depends
on the image of its argument: then equal images still mean equal expressions, but different images mean nothing.
"""

import hashlib
import math
from fractions import Fraction
from functools import lru_cache

from .expression import exact


MAX_EXPONENT = 10**6
MAX_RADICAND = 10**9
MAX_COUNT = 10_000
# Both are 3 modulo 4, so that -1 has no root modulo p, and i generates the field of p**2 elements a + b i.
PRIMES = (2**61 - 1, 4611686018427387847)
ROUNDING = 2.0**-50

Element = tuple[int, int]


_TRIGONOMETRIC = {
    r"\sin": ("sin", "1"),
    r"\cos": ("cos", "1"),
    r"\tan": ("sin", "cos"),
    r"\cot": ("cos", "sin"),
    r"\sec": ("1", "cos"),
    r"\csc": ("1", "sin"),
}


class Undefined(ArithmeticError):
    """The expression has no image: a division by zero, or a power that is out of reach."""


@lru_cache(maxsize=4096)
def _random_element(name: str, prime: int) -> Element:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest, "big") % prime, 0


@lru_cache(maxsize=1024)
def _prime_factors(number: int) -> list[int]:
    """The primes that divide `number` an odd number of times."""
    odd = []
    divisor = 2
    while divisor * divisor <= number:
        count = 0
        while number % divisor == 0:
            number //= divisor
            count += 1
        if count % 2:
            odd.append(divisor)
        divisor += 1 if divisor == 2 else 2
    return [*odd, number] if number > 1 else odd


@lru_cache(maxsize=1024)
def _integer_root(number: int, prime: int) -> Element:
    """The image of the square root of a positive integer: the product of the images of its primes' roots."""
    whole = math.isqrt(number)
    if whole * whole == number:
        return whole % prime, 0
    if number > MAX_RADICAND:
        raise Undefined("radicand")
    square = number
    root: Element = (1, 0)
    for factor in _prime_factors(number):
        square //= factor
        candidate = pow(factor, (prime + 1) // 4, prime)
        is_root = candidate * candidate % prime == factor % prime
        root = _multiply(root, (candidate, 0) if is_root else (0, candidate), prime)
    return _multiply(root, (math.isqrt(square) % prime, 0), prime)


@lru_cache(maxsize=64)
def _factorial(number: int, prime: int) -> int:
    product = 1
    for factor in range(2, number + 1):
        product = product * factor % prime
    return product


def _multiply(x: Element, y: Element, prime: int) -> Element:
    (a, b), (c, d) = x, y
    if not b and not d:
        return a * c % prime, 0
    return (a * c - b * d) % prime, (a * d + b * c) % prime


def _inverse(x: Element, prime: int) -> Element:
    a, b = x
    norm = (a * a + b * b) % prime
    if norm == 0:
        raise Undefined("division by zero")
    inverse = pow(norm, -1, prime)
    return a * inverse % prime, -b * inverse % prime


def _power(x: Element, exponent: int, prime: int) -> Element:
    if exponent < 0:
        x, exponent = _inverse(x, prime), -exponent
    if not x[1]:
        return pow(x[0], exponent, prime), 0
    result: Element = (1, 0)
    while exponent:
        if exponent & 1:
            result = _multiply(result, x, prime)
        x = _multiply(x, x, prime)
        exponent >>= 1
    return result


class _Image:
    """The image of one tree in one field; `opaque` tells that something in it was not understood."""

    def __init__(self, tree: tuple, prime: int, salt: str = ""):
        self.prime = prime
        self.salt = salt
        self.opaque = False
        self.element = self.of(tree)

    def of(self, tree: tuple) -> Element:
        operator, prime = tree[0], self.prime
        if operator == "number":
            return self.rational(tree[1])
        if operator == "name":
            return (0, 1) if tree[1] == "i" else _random_element(self.salt + tree[1], prime)
        if operator in ("+", "-"):
            (a, b), (c, d) = self.of(tree[1]), self.of(tree[2])
            return ((a + c) % prime, (b + d) % prime) if operator == "+" else ((a - c) % prime, (b - d) % prime)
        if operator == "*":
            return _multiply(self.of(tree[1]), self.of(tree[2]), prime)
        if operator == "/":
            return _multiply(self.of(tree[1]), _inverse(self.of(tree[2]), prime), prime)
        if operator == "^":
            exponent = exact(tree[2])
            if exponent is not None and exponent.denominator == 1 and abs(exponent) <= MAX_EXPONENT:
                base = self.of(tree[1])
                if exponent <= 0 and base == (0, 0):
                    raise Undefined("power of zero")
                return _power(base, int(exponent), prime)
            if exponent == Fraction(1, 2):
                return self.root(tree[1])
        if operator == "sqrt":
            return self.root(tree[1])
        value = exact(tree)
        if value is not None:
            return self.rational(value)
        if operator in ("!", "binom") and (counted := self.counted(operator, *map(exact, tree[1:]))) is not None:
            return counted, 0
        self.opaque = True
        if operator == "apply" and tree[1] in _TRIGONOMETRIC:
            return self.trigonometric(tree[1], tree[2])
        parts = (part if isinstance(part, str) else str(self.of(part)) for part in tree)
        return _random_element(" ".join(parts), prime)

    def counted(self, operator: str, count: Fraction | None, chosen: Fraction | None = Fraction(0)) -> int | None:
        """A factorial or binomial coefficient that is too large to be written."""
        if (
            count is None
            or chosen is None
            or count.denominator > 1
            or chosen.denominator > 1
            or count < 0
            or chosen < 0
        ):
            return None
        if operator == "binom" and chosen > count:
            return 0
        if count > MAX_COUNT:
            return None
        number = _factorial(int(count), self.prime)
        if operator == "!":
            return number
        below = _factorial(int(chosen), self.prime) * _factorial(int(count - chosen), self.prime)
        return number * pow(below, -1, self.prime) % self.prime

    def trigonometric(self, name: str, argument: tuple) -> Element:
        """Sine and cosine of an unknown angle: a random point of the circle, the other functions from these."""
        prime = self.prime
        half = _random_element(f"{self.salt}angle {self.of(argument)}", prime)[0]
        scale = pow(1 + half * half, -1, prime)
        sine, cosine = (2 * half * scale % prime, 0), ((1 - half * half) * scale % prime, 0)
        top, bottom = _TRIGONOMETRIC[name]
        parts = {"sin": sine, "cos": cosine, "1": (1, 0)}
        return _multiply(parts[top], _inverse(parts[bottom], prime), prime)

    def rational(self, value: Fraction) -> Element:
        if value.denominator == 1:
            return value.numerator % self.prime, 0
        return value.numerator * pow(value.denominator, -1, self.prime) % self.prime, 0

    def root(self, radicand: tuple) -> Element:
        value = exact(radicand)
        if value is None:
            self.opaque = True
            return _random_element(f"sqrt {self.of(radicand)}", self.prime)
        size = abs(value.numerator) * value.denominator
        element = _multiply(_integer_root(size, self.prime), (pow(value.denominator, -1, self.prime), 0), self.prime)
        return element if value >= 0 else _multiply(element, (0, 1), self.prime)


@lru_cache(maxsize=4096)
def _images(tree: tuple) -> tuple[tuple[Element, ...], bool] | None:
    try:
        images = [_Image(tree, prime) for prime in PRIMES]
    except (ArithmeticError, ValueError, RecursionError):
        return None
    return tuple(image.element for image in images), any(image.opaque for image in images)


def equal(first: tuple, second: tuple) -> bool | None:
    """Whether two trees are equal as expressions; `None` if that is not decided here."""
    one, other = _images(first), _images(second)
    if one is None or other is None:
        return None
    if one[0] == other[0]:
        return True
    if not one[1] and not other[1]:
        return False
    return False if _clearly_apart(first, second) else None


def _clearly_apart(first: tuple, second: tuple) -> bool:
    one, other = approximate(first), approximate(second)
    if one is None or other is None:
        return False
    return abs(one[0] - other[0]) > 4 * (one[1] + other[1])


_REAL_FUNCTIONS = {
    r"\sin": (math.sin, lambda v: 1.0),
    r"\cos": (math.cos, lambda v: 1.0),
    r"\exp": (math.exp, math.exp),
}
_CONSTANTS = {r"\pi": math.pi, "e": math.e}


def approximate(tree: tuple) -> tuple[float, float] | None:
    """A real constant as a float with a bound of its error, or `None`."""
    try:
        value, error = _approximate(tree)
    except (ArithmeticError, ValueError, RecursionError):
        return None
    return (value, error) if math.isfinite(value) and math.isfinite(error) else None


def _approximate(tree: tuple) -> tuple[float, float]:
    operator = tree[0]
    if operator == "number":
        value = float(tree[1])
        return value, abs(value) * ROUNDING
    if operator == "name":
        if tree[1] not in _CONSTANTS:
            raise ValueError(tree[1])
        return _CONSTANTS[tree[1]], 8 * ROUNDING
    if operator == "apply":
        value, error = _approximate(tree[2])
        if tree[1] == r"\ln" and value > 2 * error:
            result, slope = math.log(value), 1 / (value - error)
        elif tree[1] in _REAL_FUNCTIONS:
            function, derivative = _REAL_FUNCTIONS[tree[1]]
            result, slope = function(value), abs(derivative(value + error))
        else:
            raise ValueError(tree[1])
        return result, error * slope + (abs(result) + 1) * ROUNDING
    if operator == "sqrt":
        value, error = _approximate(tree[1])
        if value <= 2 * error:
            raise ValueError("root")
        result = math.sqrt(value)
        return result, error / result + result * ROUNDING
    if operator == "!" or operator == "binom":
        value = exact(tree)
        if value is None:
            raise ValueError(operator)
        return float(value), float(value) * ROUNDING
    if operator not in ("+", "-", "*", "/", "^", "log_base", "root"):
        raise ValueError(operator)
    (a, da), (b, db) = _approximate(tree[1]), _approximate(tree[2])
    if operator in ("+", "-"):
        result, error = (a + b if operator == "+" else a - b), da + db
    elif operator == "*":
        result, error = a * b, abs(a) * db + abs(b) * da + da * db
    elif operator == "/":
        if abs(b) <= 2 * db:
            raise ValueError("division")
        result = a / b
        error = (da + abs(result) * db) / (abs(b) - db)
    elif operator == "log_base":
        if a <= 0 or a == 1 or b <= 2 * db:
            raise ValueError("logarithm")
        result = math.log(b) / math.log(a)
        error = db / (b - db) / abs(math.log(a)) + abs(result) * 4 * ROUNDING
    else:
        if operator == "root":  # tree is (degree, radicand)
            (a, da), (b, db) = (b, db), (1 / a, 0.0)
        if a <= 2 * da:
            raise ValueError("power of a negative number")
        result = a**b
        error = abs(result) * (abs(b) * da / (a - da) + abs(math.log(a)) * db + 4 * ROUNDING)
    return result, error + abs(result) * ROUNDING


def ratio(first: tuple, second: tuple) -> Fraction | None:
    """The rational constant `c` with `first = c * second` as expressions, or `None` if there is none to be found."""
    factors = set()
    for salt in ("", "again"):
        try:
            one, other = _Image(first, PRIMES[0], salt), _Image(second, PRIMES[0], salt)
            factor = _multiply(one.element, _inverse(other.element, PRIMES[0]), PRIMES[0])
        except (ArithmeticError, ValueError, RecursionError):
            return None
        if factor[1] or not factor[0]:
            return None
        factors.add(_rational(factor[0], PRIMES[0]))
    return factors.pop() if len(factors) == 1 else None


def _rational(residue: int, prime: int) -> Fraction | None:
    """The fraction with small numerator and denominator that `residue` is the image of."""
    bound = math.isqrt(prime // 2)
    (r, s), (t, u) = (prime, residue), (0, 1)
    while s > bound:
        quotient = r // s
        (r, s), (t, u) = (s, r - quotient * s), (u, t - quotient * u)
    return Fraction(s, u) if 0 < abs(u) <= bound else None


def is_polynomial(tree: tuple) -> bool:
    """Whether a tree is a polynomial in its variables with rational coefficients."""
    operator = tree[0]
    if operator in ("number", "name"):
        return True
    if operator in ("+", "-", "*"):
        return is_polynomial(tree[1]) and is_polynomial(tree[2])
    if operator == "/":
        return is_polynomial(tree[1]) and exact(tree[2]) is not None
    exponent = exact(tree[2]) if operator == "^" else None
    return exponent is not None and exponent.denominator == 1 and exponent >= 0 and is_polynomial(tree[1])
