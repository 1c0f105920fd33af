"""Computer algebra on answers that exact arithmetic does not settle. Runs in worker processes only.

Expressions are read by math-verify; two of them are equal if they agree to many digits wherever both can be evaluated.
Sets, intervals and whatever has no values to compare are left to math-verify's own comparison.
"""

import random
import re
from collections.abc import Iterator

import math_verify
import sympy

from . import numeric
from .comparison import equal_texts
from .shapes import Answer, Matrix, Named, Relation, Scalar, Several


_DEGREES = re.compile(r"\^\\circ(?![a-zA-Z])")
_RADIANS = r"\\cdot\\frac{\\pi}{180}"
DIGITS = 30
AGREEMENT = sympy.Float("1e-20")
POINTS = 5
TRIES = 16
SEED = 20260104


_USUAL = (
    *("x", r"\frac{1}{2}", r"\sqrt[3]{x}", r"|x - 1|", r"\lfloor x \rfloor", r"\log_2 8", "n!", r"e^{x}"),
    *("(1, 2)", r"\{1, 2\}", r"\arctan(x)", r"\sin^2(x)", "x < 1", "y = 2", "[1, 2)", r"(1, 2) \cup (3, 4)"),
    *(r"\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}", r"\begin{vmatrix} 1 & 2 \\ 3 & x \end{vmatrix}"),
    *(r"\sum_{n=1}^{3} n", r"\int_0^1 x dx"),
)


_SET_AND_MORE = re.compile(r"\\\}(?:\s|\\[ ,;:!]|\$)*[\w(\\]|[\w)](?:\s|\\[ ,;:!]|\$)*\\\{")  # {5} 7 is no sum


def warm_up() -> Iterator[None]:
    """Use once, in small steps, what is slow at first use, so that forked workers are quick."""
    for text in _USUAL:
        _read(text)
        yield
    for prediction, gold in ((r"\arctan(x) + x", "2"), (r"x^{1/3}", r"\sqrt[3]{x}")):
        answers_equal(prediction, gold)
        yield


def answers_equal(prediction: str, gold: str) -> bool:
    """Whether two answers are equal, with all means; may take any time and any memory."""
    numeric.start_counting()
    sympy.core.random.seed(SEED)  # it tries numbers at random: the same ones each time
    return bool(equal_texts(prediction, gold, compare))


def compare(prediction: Answer, gold: Answer) -> bool:
    """Whether two answers that the structural comparison left undecided are equal."""
    if isinstance(prediction, Relation) and isinstance(gold, Relation):
        return _same_relation(prediction, gold)
    if isinstance(prediction, Scalar) and _SET_AND_MORE.search(prediction.text):
        return False
    one, other = _both(prediction, gold)
    if one is None or other is None:
        return False
    if isinstance(one, sympy.MatrixBase | sympy.MatrixExpr) and isinstance(other, sympy.MatrixBase | sympy.MatrixExpr):
        return one.shape == other.shape and all(
            _agree(a, b) is True for a, b in zip(sympy.Matrix(one), sympy.Matrix(other), strict=True)
        )
    if isinstance(one, sympy.Expr) and isinstance(other, sympy.Expr):
        verdict = _agree(one, other)
        if verdict is not None:
            return verdict
    return math_verify.verify(other, one, float_rounding=12, timeout_seconds=None, allow_set_relation_comp=True)


def _both(prediction: Answer, gold: Answer) -> tuple[sympy.Basic | None, sympy.Basic | None]:
    """Both answers in the computer algebra's terms, read by the same reader so that their variables are the same."""
    if all(isinstance(answer, Scalar) and answer.tree is not None for answer in (prediction, gold)):
        return _from_tree(prediction.tree), _from_tree(gold.tree)
    return _read(_latex(prediction)), _read(_latex(gold))


_NAMES = {"i": sympy.I, "e": sympy.E, r"\pi": sympy.pi, r"\infty": sympy.oo}
_FUNCTIONS = {
    **{r"\ln": sympy.log, r"\log": lambda x: sympy.log(x, 10)},
    **{r"\arcsin": sympy.asin, r"\arccos": sympy.acos, r"\arctan": sympy.atan},
}
_OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "^": lambda a, b: a**b,
    "!": sympy.factorial,
    "sqrt": sympy.sqrt,
    "root": lambda degree, a: sympy.root(a, degree),
    "log_base": lambda base, a: sympy.log(a, base),
    "binom": sympy.binomial,
    "abs": sympy.Abs,
    "floor": sympy.floor,
    "ceil": sympy.ceiling,
}


def _from_tree(tree: tuple) -> sympy.Expr:
    """A tree of `expression.py` as an expression of sympy; much faster than reading LaTeX again."""
    operator = tree[0]
    if operator == "number":
        return sympy.Rational(tree[1].numerator, tree[1].denominator)
    if operator == "name":
        return _NAMES.get(tree[1]) or sympy.Symbol(tree[1])
    if operator == "apply":
        name, argument = tree[1], _from_tree(tree[2])
        if name in _FUNCTIONS:
            return _FUNCTIONS[name](argument)
        return getattr(sympy, name[1:])(argument) if name.startswith("\\") else sympy.Function(name)(argument)
    if operator in ("sum", "prod"):
        name, low, high, body = tree[1], *(_from_tree(part) for part in tree[2:])
        return (sympy.Sum if operator == "sum" else sympy.Product)(body, (sympy.Symbol(name), low, high))
    return _OPERATORS[operator](*(_from_tree(part) for part in tree[1:]))


def _latex(answer: Answer) -> str:
    if isinstance(answer, Scalar | Matrix):
        return answer.text
    if isinstance(answer, Named):
        return " = ".join(answer.sides)
    if isinstance(answer, Relation):
        pairs = zip(answer.sides, (*answer.operators, ""), strict=True)
        return " ".join(part.replace("!=", r"\neq") for pair in pairs for part in pair)
    if isinstance(answer, Several):
        if answer.brackets == "U":
            return r" \cup ".join(_latex(item) for item in answer.items)
        inner = ", ".join(_latex(item) for item in answer.items)
        opening, closing = answer.brackets if len(answer.brackets) == 2 else "{}"
        return opening.replace("{", r"\{") + inner + closing.replace("}", r"\}")
    return ""


def _read(latex: str) -> sympy.Basic | sympy.MatrixBase | None:
    found = math_verify.parse(
        f"${_DEGREES.sub(_RADIANS, latex)}$",
        extraction_config=[math_verify.LatexExtractionConfig()],
        fallback_mode="no_fallback",
        parsing_timeout=None,
    )
    if not found or isinstance(found[0], str):
        return None
    result = found[0]
    if isinstance(result, sympy.Expr):
        result = result.subs({symbol: sympy.I for symbol in result.free_symbols if symbol.name == "i"})
    if isinstance(result, sympy.Expr) and result.has(sympy.Float):
        return sympy.nsimplify(result, rational=True)
    return result.doit() if isinstance(result, sympy.MatrixExpr) else result


def _point(symbols: list[sympy.Symbol], generator: random.Random, positive: bool) -> dict:
    numbers = [number for number in range(1 if positive else -400, 400, 7) if number]
    return {symbol: sympy.Rational(generator.choice(numbers), 101) for symbol in symbols}


def _value(expression: sympy.Expr, point: dict) -> sympy.Expr | None:
    value = sympy.N(expression.subs(point), DIGITS)
    return value if value.is_number and value.is_finite and not value.has(sympy.Integral, sympy.Sum) else None


def _agree(one: sympy.Expr, other: sympy.Expr) -> bool | None:
    """Whether two expressions have the same values; `None` if too few of them can be had.

    Variables stand for positive numbers first, as they mostly do in answers; where both sides are real for negative
    ones too, they must agree there as well, so that `x` and `sqrt(x**2)` are different.
    """
    symbols = sorted(one.free_symbols | other.free_symbols, key=str)
    generator = random.Random(SEED)
    agreed = 0
    for attempt in range(TRIES if symbols else 1):
        positive = attempt % 2 == 0
        point = _point(symbols, generator, positive)
        values = _value(one, point), _value(other, point)
        if None in values or (not positive and not all(value.is_real for value in values)):
            continue
        size = max(abs(values[0]), abs(values[1]), sympy.Integer(1) if 0 in values else 0)
        if abs(values[0] - values[1]) > AGREEMENT * size:
            return False
        agreed += 1
        if agreed == POINTS:
            break
    return True if agreed >= (POINTS if symbols else 1) else None


def _same_relation(prediction: Relation, gold: Relation) -> bool:
    turned = {">": "<", ">=": "<="}
    operators = [turned.get(relation.operators[0], relation.operators[0]) for relation in (prediction, gold)]
    if len(prediction.operators) == len(gold.operators) == 1 and operators[0] == operators[1]:
        differences = []
        for relation in (prediction, gold):
            left, right = (_read(side) for side in relation.sides)
            if not isinstance(left, sympy.Expr) or not isinstance(right, sympy.Expr):
                break
            differences.append(right - left if relation.operators[0] in turned else left - right)
        else:
            return _proportional(*differences, equation=operators[0] in ("=", "!="))
    one, other = _read(_latex(prediction)), _read(_latex(gold))
    if one is None or other is None or one.free_symbols != other.free_symbols:
        return False
    return math_verify.verify(other, one, float_rounding=12, timeout_seconds=None)


def _proportional(one: sympy.Expr, other: sympy.Expr, equation: bool) -> bool:
    """Whether `one = 0` and `other = 0` say the same: they differ by a constant factor, up to common denominators."""
    if equation:
        one, other = (sympy.fraction(sympy.together(expression))[0] for expression in (one, other))
    symbols = sorted(one.free_symbols | other.free_symbols, key=str)
    generator = random.Random(SEED)
    ratios = []
    for _ in range(TRIES):
        point = _point(symbols, generator, positive=True)
        values = _value(one, point), _value(other, point)
        if None not in values and values[1] != 0:
            ratios.append(values[0] / values[1])
        if len(ratios) == POINTS:
            break
    if len(ratios) < POINTS or any(abs(ratio - ratios[0]) > AGREEMENT * abs(ratios[0]) for ratio in ratios):
        return False
    return ratios[0] != 0 and (equation or bool(ratios[0] > 0))
