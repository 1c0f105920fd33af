"""Whether two expressions have the same values, to many digits, at many points: what exact arithmetic leaves open.

Much quicker than computer algebra, and bounded: a comparison that takes too many steps or leaves the numbers that can
be written is given up, and then nothing is decided. Steps are counted, not seconds, so that a verdict depends on no
machine; one judgement has [`start_counting`] count anew.
"""

import random
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache, wraps

import mpmath

from .expression import free_names


DIGITS = 40
AGREEMENT = mpmath.mpf("1e-25")
POINTS = 6
TRIES = 20
STEPS = 15_000  # of about 6 microseconds, for one comparison; a judgement begins no new one after as many
MAX_MAGNITUDE = 10**18
MAX_TERMS = 400
MAX_INFINITE_TERMS = 100
SEED = 20260104
# Letters that stand for integers where something is rounded, counted or added up.
INTEGERS = frozenset("ijklmnNKM")
_STEPPED = ("floor", "ceil", "sum", "prod", "!", "binom")


class _Here(threading.local):
    """What a thread computes with, and the steps that its judgement has taken.

    mpmath changes the precision of its context while it computes, so that two threads must not share one.
    """

    def __init__(self) -> None:
        self.values, self.sums = mpmath.MPContext(), mpmath.MPContext()
        self.values.dps, self.sums.dps = DIGITS, 20
        self.steps = 0


_HERE = _Here()
_FUNCTIONS = {
    r"\sin": "sin",
    r"\cos": "cos",
    r"\tan": "tan",
    r"\cot": "cot",
    r"\sec": "sec",
    r"\csc": "csc",
    r"\ln": "ln",
    r"\log": "log10",
    r"\exp": "exp",
    r"\arcsin": "asin",
    r"\arccos": "acos",
    r"\arctan": "atan",
    r"\sinh": "sinh",
    r"\cosh": "cosh",
    r"\tanh": "tanh",
}


class GivenUp(ArithmeticError):
    """No value within reach."""


class Exhausted(Exception):
    """A comparison has taken all its steps."""


class _Steps:
    """The steps of one comparison."""

    def __init__(self) -> None:
        self.taken = 0

    def take(self, count: int = 1) -> None:
        self.taken += count
        if self.taken > STEPS:
            raise Exhausted


def start_counting() -> None:
    """Begin a judgement: what this thread has computed for the one before does not count."""
    _HERE.steps = 0


def _bounded(function: Callable) -> Callable:
    """Give up (`None`) a comparison of trees that takes too many steps, or that comes after too many others."""

    @lru_cache(maxsize=2048)
    def compare(*trees: tuple):
        steps = _Steps()
        try:
            return function(*trees, steps), steps.taken
        except Exhausted:
            return None, steps.taken

    @wraps(function)
    def bounded(*trees: tuple):
        if _HERE.steps > STEPS:
            return None
        result, steps = compare(*trees)
        _HERE.steps += steps  # as many where the result was known already
        return result

    bounded.cache_clear = compare.cache_clear
    return bounded


def operators(tree: tuple) -> frozenset[str]:
    """What a tree is made of; of `apply`, the functions."""
    found = {tree[1] if tree[0] == "apply" else tree[0]}
    for part in tree[1:]:
        if isinstance(part, tuple):
            found |= operators(part)
    return frozenset(found)


class _Evaluation:
    """One value of one tree."""

    def __init__(self, names: dict, steps: _Steps, context: mpmath.MPContext):
        self.names = names
        self.steps = steps
        self.context = context

    def of(self, tree: tuple):
        operator, context = tree[0], self.context
        self.steps.take()
        if operator == "number":
            return context.mpf(tree[1].numerator) / tree[1].denominator
        if operator == "name":
            return self.named(tree[1])
        if operator in ("sum", "prod"):
            return self.series(tree)
        if operator == "apply":
            if tree[1] not in _FUNCTIONS:
                raise GivenUp(tree[1])
            value = self.of(tree[2])
            if abs(value) > 10**9:
                raise GivenUp("argument")
            return getattr(context, _FUNCTIONS[tree[1]])(value)
        values = [self.of(part) for part in tree[1:]]
        value = getattr(self, "_" + _METHODS[operator])(*values)
        if value != 0 and abs(context.mag(value)) > MAX_MAGNITUDE:
            raise GivenUp("magnitude")
        return value

    def named(self, name: str):
        constants = {r"\pi": self.context.pi, "e": self.context.e, "i": self.context.j}
        if name in self.names:
            return self.names[name]
        if name not in constants:
            raise GivenUp(name)
        return +constants[name]

    def series(self, tree: tuple):
        operator, name, low, high, body = tree
        start = self.of(low)
        first = int(self.context.nint(start.real))
        if abs(start - first) > AGREEMENT:
            raise GivenUp("bound")
        if high == ("name", r"\infty"):
            return self.infinite(name, first, body, operator)
        end = self.of(high)
        last = int(self.context.nint(end.real))
        if abs(end - last) > AGREEMENT or last - first > MAX_TERMS:
            raise GivenUp("bound")
        result = self.context.mpf(operator == "prod")
        outer = self.names.get(name)
        for index in range(first, last + 1):
            self.names[name] = self.context.mpf(index)
            term = self.of(body)
            result = result * term if operator == "prod" else result + term
        self.names.pop(name, None)
        if outer is not None:
            self.names[name] = outer
        return result

    def infinite(self, name: str, first: int, body: tuple, operator: str):
        if operator == "prod" or name in self.names:
            raise GivenUp("infinite product")
        sums = _HERE.sums
        if self.context is sums:
            raise GivenUp("infinite sum of infinite sums")
        inner = _Evaluation({key: sums.mpmathify(value) for key, value in self.names.items()}, self.steps, sums)
        terms = 0

        def term(index):
            nonlocal terms
            terms += 1
            self.steps.take(terms // 2)  # the acceleration of convergence goes through all of them
            inner.names[name] = index
            return inner.of(body)

        late, later = (abs(term(sums.mpf(first + count * MAX_INFINITE_TERMS // 2))) for count in (1, 2))
        if later > 0.9 * late:
            raise GivenUp("divergence")
        return self.context.mpmathify(sums.nsum(term, [first, sums.inf], maxterms=MAX_INFINITE_TERMS))

    def _add(self, a, b):
        return a + b

    def _subtract(self, a, b):
        return a - b

    def _multiply(self, a, b):
        return a * b

    def _divide(self, a, b):
        return a / b

    def _power(self, a, b):
        if a == 0 and (self.context.im(b) or b <= 0):
            raise GivenUp("power of zero")
        if a and abs(b) * max(1, abs(self.context.mag(a))) > MAX_MAGNITUDE:
            raise GivenUp("magnitude")
        return a**b

    def _sqrt(self, a):
        return self.context.sqrt(a)

    def _root(self, degree, a):
        return self._power(a, 1 / degree)

    def _log_base(self, base, a):
        return self.context.ln(a) / self.context.ln(base)

    def _factorial(self, a):
        if abs(a) > 1000:
            raise GivenUp("factorial")
        self.steps.take(12 if self.context.im(a) else 2)
        return self.context.factorial(a)

    def _binom(self, a, b):
        if max(abs(a), abs(b)) > 1000:
            raise GivenUp("binomial")
        self.steps.take(35 if self.context.im(a) or self.context.im(b) else 8)
        return self.context.binomial(a, b)

    def _abs(self, a):
        return abs(a)

    def _floor(self, a):
        if self.context.im(a) or abs(a) > 10**15:
            raise GivenUp("floor")
        near = self.context.nint(a)
        return near if abs(a - near) < AGREEMENT else self.context.floor(a)

    def _ceil(self, a):
        return -self._floor(-a)


_METHODS = {
    **{"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "^": "power", "!": "factorial"},
    **{name: name for name in ("sqrt", "root", "log_base", "binom", "abs", "floor", "ceil")},
}


def _value(tree: tuple, point: dict, steps: _Steps):
    try:
        value = _Evaluation(dict(point), steps, _HERE.values).of(tree)
    except (ArithmeticError, ValueError, TypeError, RecursionError, mpmath.libmp.NoConvergence):
        return None
    return value if _HERE.values.isfinite(value) else None


def _points(names: list[str], stepped: bool, summed: bool) -> Iterator[tuple[dict, bool]]:
    """Points, each with whether it is positive. Where values are rounded: integers, jumps between them, large ones."""
    generator = random.Random(SEED)
    if not names:
        yield {}, True
        return
    for attempt in range(3 * TRIES if stepped and not summed else TRIES):
        positive = attempt % 2 == 0 or summed
        point = {}
        for name in names:
            if stepped and name[0] in INTEGERS:
                number = _HERE.values.mpf(generator.randrange(1, 9 if summed else (40, 40, 10**6)[attempt % 3]))
            elif stepped and attempt % 4 < 2:
                number = _HERE.values.mpf(generator.randrange(1, (400, 400, 10**6)[attempt % 3])) / generator.choice(
                    (1, 1, 2, 3, 4, 10)
                )
            else:
                number = _HERE.values.mpf(generator.randrange(1, 400)) / 101
            point[name] = number if positive or generator.random() < 0.5 else -number
        yield point, positive


@_bounded
def constant(tree: tuple, steps: _Steps) -> Fraction | None:
    """The value of a real constant to many digits, `None` of anything else."""
    value = None if free_names(tree) - {r"\pi", "e"} else _value(tree, {}, steps)
    if value is None or _HERE.values.im(value) or abs(value) > 10**15:
        return None
    return Fraction(int(_HERE.values.nint(value * 10**30)), 10**30)


@_bounded
def agree(one: tuple, other: tuple, steps: _Steps) -> bool | None:
    """Whether two trees have the same values wherever both have one; `None` if too few of them can be had.

    Variables stand for positive numbers first; where both sides are real for negative ones too, they must agree there
    as well, so that `x` and `sqrt(x**2)` are different. Only trees with `i` are compared where they are not real.
    """
    used = operators(one) | operators(other)
    stepped, summed = bool(used.intersection(_STEPPED)), bool(used.intersection(("sum", "prod")))
    free = free_names(one) | free_names(other)
    names = sorted(free - {r"\pi", "e", "i"})
    if "\\infty" in names:
        return None
    agreed, needed = 0, POINTS * (5 if used.intersection(("floor", "ceil")) else 1) if names else 1
    tolerance = _HERE.values.mpf("1e-12") if ("name", "\\infty") in _bounds(one) | _bounds(other) else AGREEMENT
    failed = 0
    for point, positive in _points(names, stepped, summed):
        first = _value(one, point, steps)
        second = None if first is None else _value(other, point, steps)
        if first is None or second is None:
            beyond = () if names else (_is_beyond_writing(one, steps), _is_beyond_writing(other, steps))
            if len(set(beyond)) == 2:
                return False
            if all(beyond) and beyond and one[1] == other[1]:
                return agree(one[2], other[2])
            failed += 1
            if failed == TRIES // 2 and not agreed:
                return None
            continue
        if not (positive and "i" in free) and names and (_HERE.values.im(first) or _HERE.values.im(second)):
            continue
        size = max(abs(first), abs(second))
        if abs(first - second) > tolerance * max(size, 1 if 0 in (first, second) else 0):
            return False
        agreed += 1
        if agreed == needed:
            return True
    return None if agreed < min(needed, POINTS) else True


def _is_beyond_writing(tree: tuple, steps: _Steps) -> bool:
    """Whether a constant is a power that is too large to be computed with: `10^{10^{20}}`."""
    base = _value(tree[1], {}, steps) if tree[0] == "^" else None
    if base is None or _HERE.values.im(base) or base < 2:
        return False
    exponent = _value(tree[2], {}, steps)
    return _is_beyond_writing(tree[2], steps) if exponent is None else _HERE.values.re(exponent) > MAX_MAGNITUDE


def _bounds(tree: tuple) -> set:
    found = {tree[3]} if tree[0] in ("sum", "prod") else set()
    for part in tree[1:]:
        if isinstance(part, tuple):
            found |= _bounds(part)
    return found


@_bounded
def proportional(one: tuple, other: tuple, steps: _Steps) -> bool | None:
    """The sign of the constant `c` with `one = c * other`: `True` if positive, `False` if negative, `None` if none."""
    names = sorted((free_names(one) | free_names(other)) - {r"\pi", "e", "i"})
    ratios = []
    for point, positive in _points(names, False, False) if names else ():
        first, second = (_value(tree, point, steps) for tree in (one, other))
        if not positive or first is None or not second:
            continue
        ratios.append(first / second)
        if abs(ratios[-1] - ratios[0]) > AGREEMENT * abs(ratios[0]) or _HERE.values.im(ratios[-1]) or not ratios[-1]:
            return None
        if len(ratios) == POINTS:
            return bool(_HERE.values.re(ratios[0]) > 0)
    return None


@_bounded
def is_constant(tree: tuple, steps: _Steps) -> bool:
    """Whether a tree has one value, wherever it has one; `None` where that takes too long to find out."""
    names = sorted(free_names(tree) - {r"\pi", "e", "i"})
    values = []
    for point, positive in _points(names, False, False):
        value = _value(tree, point, steps) if positive else None
        if value is None:
            continue
        values.append(value)
        if abs(value - values[0]) > AGREEMENT * max(1, abs(values[0])):
            return False
        if len(values) == POINTS:
            return True
    return not names
