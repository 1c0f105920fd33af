"""Answers that only restate the question: equal to the gold answer, and copied from what was given.

`\\boxed{501^2 - 499^2}` has the value that "Compute $501^2 - 499^2$" asks for, and answers nothing. What is known here
is the text of the question: an answer that occurs in it counts if it has the form of the gold answer, or is in an
evaluated form that may stand there for another reason.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from ..errors import UserError
from .equality.answers import is_name, parse
from .equality.expression import negated, read
from .equality.latex import MAX_LENGTH, normalize
from .equality.shapes import Answer, Matrix, Named, Relation, Scalar, Several, Words
from .kinds import math as math_kind
from .kinds import number as number_kind
from .verdict import RESTATED, Verdict


ACCEPT, REJECT, STRICT = "accept", "reject", "strict"
MODES = (ACCEPT, REJECT, STRICT)

_KINDS = (math_kind.KIND, number_kind.KIND)
_LONGEST_QUESTION = 20_000
# Not longer than an answer may be
_FORMULA = re.compile(r"\$\$(.{1,2000}?)\$\$|\$(.{1,2000}?)\$|\\\[(.{1,2000}?)\\\]|\\\((.{1,2000}?)\\\)", re.DOTALL)
_BARE_FORMULA = re.compile(r"[\d(][\d+\-*/^(). ×·÷]*[\d)!]")
_DRAWING = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)
_INSTRUCTION = re.compile(r"\\boxed\s*\{\s*\}")
_TOKEN = re.compile(r"\\text(?![a-zA-Z])|(\\[a-zA-Z]+|\\[^\s{}]|\d+(?:\.\d+)?|[^\s{}])")
_PLAIN_NUMBER = re.compile(r"[+-]?\s*[\d.,]*\d")
_SIDES = re.compile(r"<=|>=|!=|[=<>]|\\(?:neq|approx|equiv)(?![a-zA-Z])")
_OPERATORS = {
    name: re.compile(pattern)
    for name, pattern in {
        "integral": r"\\i*int(?![a-zA-Z])|\\oint(?![a-zA-Z])",
        "sum": r"\\sum(?![a-zA-Z])",
        "product": r"\\prod(?![a-zA-Z])",
        "limit": r"\\lim(?![a-zA-Z])",
        "determinant": r"\{vmatrix\}|\\det(?![a-zA-Z])|(?<![a-zA-Z])det(?![a-zA-Z])",
        "divisor": r"(?i)(?<![a-z])(?:gcd|gcf|lcm|hcf)(?![a-z])",
        "binomial": r"\\[dt]?binom(?![a-zA-Z])|\\choose(?![a-zA-Z])",
        "factorial": r"[\w)}]\s*!",
        "trigonometric": r"(?<![a-zA-Z])\\?(?:sin|cos|tan|cot|sec|csc)h?(?![a-zA-Z])",
        "inverse": r"(?<![a-zA-Z])\\?arc(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])",
        "logarithm": r"(?<![a-zA-Z])\\?(?:log|ln|lg)(?![a-zA-Z])",
        "floor": r"\\[lr]floor(?![a-zA-Z])|⌊",
        "ceiling": r"\\[lr]ceil(?![a-zA-Z])|⌈",
        "absolute": r"\||\\[lr]?vert(?![a-zA-Z])",
        "remainder": r"\\[bp]?mod(?![a-zA-Z])|(?<![a-zA-Z])mod(?![a-zA-Z])",
        "repeating": r"\\overline\s*\{?\s*\d",
    }.items()
}
_BINOMIAL = re.compile(r"\\[dt]binom(?![a-zA-Z])")
_END = "\x1f"
_EQUALS = _END + "=" + _END


def check_mode(restated: str) -> str:
    """`restated` if it is one of `MODES`; raises `UserError` otherwise."""
    if restated not in MODES:
        raise UserError(f"restated is {restated!r}: it must be one of {', '.join(MODES)}")
    return restated


def without_copies(verdict: Verdict, gold: object, problem: str | None, restated: str = REJECT) -> Verdict:
    """
    The verdict on a completion, with the question known: one that is right, but only restates the question, has the
    reason `"restated"` and is not correct.

    Args:
        verdict ([`Verdict`]): what was found without the question.
        gold (`str` or number): the gold answer.
        problem (`str`, *optional*): the question. Nothing is a copy where there is none (or NaN in its place).
        restated (`str`, *optional*, defaults to `"reject"`): `"accept"`, `"reject"` or `"strict"`, see [`restates`].
    """
    if (
        not isinstance(problem, str)
        or not problem
        or restated == ACCEPT
        or verdict.correct is not True
        or verdict.kind not in _KINDS
    ):
        return verdict
    answer = (verdict.extracted or "").strip()
    if not restates(answer, problem, str(gold), restated == STRICT):
        return verdict
    return replace(verdict, correct=False, reason=RESTATED)


def restates(answer: str, problem: str, gold: str, strict: bool = False) -> bool:
    r"""
    Whether an answer that equals the gold answer is only what the question gives.

    It is if it occurs in the question, has another form than the gold answer (terms and factors in another order are
    no other form), and is either not evaluated (arithmetic to do, an operator, a base, an equation or inequality that
    was given), or the only formula of the question, as in "Write $\frac{5}{8}$ as a decimal".

    Args:
        answer (`str`): the answer as extracted.
        problem (`str`): the question.
        gold (`str`): the gold answer.
        strict (`bool`, *optional*, defaults to `False`): whether evaluated forms count too, and what only differs from
            a formula of the question in the order of terms, added zeros, factors of one, or what cancels; also an
            answer with an operator of the question (an integral, a sum, a sine) that the gold answer does not have.
    """
    gold = math_kind.gold_answer(gold)
    if not answer or answer == gold.strip() or len(answer) > MAX_LENGTH:
        return False
    if _PLAIN_NUMBER.fullmatch(answer) and _PLAIN_NUMBER.fullmatch(gold.strip()):
        return False
    found, expected = parse(answer), parse(gold)
    if found is None or expected is None or isinstance(found, Words):
        return False
    tokens = _tokens(answer)
    if tokens == _tokens(gold):
        return False
    question = _Question.of(problem)
    if isinstance(found, Named) or (isinstance(found, Relation) and "=" in found.operators):
        if not isinstance(expected, Named | Relation) and question.gives(tokens, strict):
            return True
        found = found.value if isinstance(found, Named) else found
    if _form(found) == _form(expected.value if isinstance(expected, Named) else expected):
        return False
    texts = {tokens} | ({_tokens(found.text)} if isinstance(found, Scalar) else set())
    if any(text in question.tokens for text in texts):
        if strict or not _is_evaluated(found) or question.only_formula in texts:
            return True
    if not strict:
        return False
    operators = question.operators & _operators(answer)
    if operators - _operators(gold):
        return True
    return _form(found, edited=True) in question.forms


@dataclass(frozen=True, slots=True)
class _Question:
    """What is looked up in a question. `tokens` are those of all its text, `forms` those of its formulas' parts."""

    text: str
    tokens: str
    only_formula: str | None
    operators: frozenset[str]

    @classmethod
    def of(cls, problem: str) -> "_Question":
        return _read_question(problem)

    @property
    def forms(self) -> frozenset:
        return _forms(self.text)

    def gives(self, tokens: str, strict: bool) -> bool:
        """Whether an equation stands in the question, which does not give its left side other values."""
        if strict or tokens not in self.tokens:
            return tokens in self.tokens
        left = tokens.partition(_EQUALS)[0]
        return self.tokens.count(left + _EQUALS) <= self.tokens.count(tokens)


@lru_cache(maxsize=4096)
def _read_question(problem: str) -> _Question:
    text = _INSTRUCTION.sub(" ", _DRAWING.sub(" ", problem[:_LONGEST_QUESTION]))
    step = MAX_LENGTH // 2
    windows = [text[start : start + MAX_LENGTH] for start in range(0, max(1, len(text) - step), step)]
    formulas = {tokens for formula in _formulas(text) if len(tokens := _tokens(formula)) > len("x" + 2 * _END)}
    return _Question(
        text,
        " ".join(_tokens(window) for window in windows),
        formulas.pop() if len(formulas) == 1 else None,
        _operators(text),
    )


@lru_cache(maxsize=1024)
def _forms(text: str) -> frozenset:
    formulas = [*_formulas(text), *_BARE_FORMULA.findall(text)]
    forms: set[tuple] = set()
    for formula in formulas[:200]:
        for side in _SIDES.split(normalize(formula)):
            tree = read(side.strip()) if side.strip() else None
            if tree is not None:
                forms.update(_canonical(part, True) for part in _parts(tree))
    return frozenset(forms)


def _formulas(text: str) -> Iterator[str]:
    return (next(filter(None, match.groups())) for match in _FORMULA.finditer(text))


def _parts(tree: tuple) -> Iterator[tuple]:
    """A tree and the trees in it that have something to evaluate."""
    if isinstance(tree, tuple) and tree and tree[0] not in ("number", "name"):
        yield tree
        for part in tree[1:]:
            yield from _parts(part)


def _tokens(text: str) -> str:
    """The tokens of a formula, in one spelling, without what LaTeX needs for grouping."""
    normal = normalize(_BINOMIAL.sub(r"\\binom", text)).replace("*", r"\cdot ")
    return "".join(_END + match[1] + _END for match in _TOKEN.finditer(normal) if match[1])


def _operators(text: str) -> frozenset[str]:
    return frozenset(name for name, pattern in _OPERATORS.items() if pattern.search(text))


def _form(answer: Answer, edited: bool = False) -> tuple:
    """What two answers in the same form have in common. `edited` looks through what changes nothing, as in x + 0."""
    if isinstance(answer, Named):
        return _form(answer.value, edited)
    if isinstance(answer, Scalar):
        if answer.digits or answer.tree is None:
            return ("text", _tokens(answer.text))
        # A repeating decimal, a power of ten or a mixed number is read as a number, but is not written as one
        if answer.tree[0] == "number" and not _PLAIN_NUMBER.fullmatch(answer.text):
            return ("number as", _tokens(answer.text))
        return _canonical(answer.tree, edited)
    if isinstance(answer, Several):
        items = [_form(item, edited) for item in answer.items]
        ordered = items if answer.brackets not in ("", "{}") else sorted(items, key=repr)
        return ("several", answer.brackets.strip("{}"), *ordered)
    if isinstance(answer, Matrix):
        return ("matrix", *(tuple(_form(cell, edited) for cell in row) for row in answer.rows))
    if isinstance(answer, Relation):
        return ("relation", answer.operators, *(_tokens(side) for side in answer.sides))
    return ("words", " ".join(answer.text.lower().split()))


def _canonical(tree: tuple, edited: bool = False) -> tuple:
    """
    A tree with the terms of sums and the factors of products in one order, quotients and roots in one spelling.
    Nothing is computed, but with `edited` zeros, ones and what cancels are left out.
    """
    sign, body = _signed(tree, edited)
    return body if sign > 0 else ("terms", (body, -1))


def _signed(tree: tuple, edited: bool) -> tuple[int, tuple]:
    operator = tree[0]
    if operator == "number":
        return (-1 if tree[1] < 0 else 1), ("number", abs(tree[1]))
    if operator in ("+", "-"):
        return _sum(tree, edited)
    if operator in ("*", "/"):
        return _product(tree, edited)
    if operator == "sqrt":
        return 1, ("^", _canonical(tree[1], edited), ("number", Fraction(1, 2)))
    if operator == "root" and tree[1][0] == "number" and tree[1][1]:
        return 1, ("^", _canonical(tree[2], edited), ("number", 1 / tree[1][1]))
    if operator == "^" and edited and tree[2] == ("number", Fraction(1)):
        return _signed(tree[1], edited)
    return 1, (operator, *(_canonical(part, edited) if isinstance(part, tuple) else part for part in tree[1:]))


def _sum(tree: tuple, edited: bool) -> tuple[int, tuple]:
    terms: Counter[tuple] = Counter()
    flat: list[tuple[tuple, int]] = []

    def add(tree: tuple, sign: int) -> None:
        if tree[0] in ("+", "-"):
            is_negation = tree[0] == "-" and tree == negated(tree[2])
            if not is_negation:
                add(tree[1], sign)
            add(tree[2], sign if tree[0] == "+" else -sign)
            return
        own, body = _signed(tree, edited)
        if body[0] == "terms":
            flat.extend((part, sign * own * factor) for part, factor in body[1:])
        else:
            flat.append((body, sign * own))

    add(tree, 1)
    if edited:
        for body, sign in flat:
            terms[body] += sign
        zero = ("number", Fraction(0))
        flat = [
            (body, 1 if count > 0 else -1) for body, count in terms.items() if body != zero for _ in range(abs(count))
        ]
    if len(flat) == 1:
        return flat[0][1], flat[0][0]
    return 1, ("terms", *sorted(flat, key=repr))


def _product(tree: tuple, edited: bool) -> tuple[int, tuple]:
    above: list[tuple] = []
    below: list[tuple] = []
    signs: list[int] = []

    def multiply(tree: tuple, into: list, other: list) -> None:
        if tree[0] in ("*", "/"):
            multiply(tree[1], into, other)
            multiply(tree[2], *((into, other) if tree[0] == "*" else (other, into)))
            return
        sign, body = _signed(tree, edited)
        signs.append(sign)
        if body[0] == "factors":
            into.extend(body[1])
            other.extend(body[2])
        else:
            into.append(body)

    multiply(tree, above, below)
    one = ("number", Fraction(1))
    if edited or below:
        above = [factor for factor in above if factor != one]
    if edited:
        below = [factor for factor in below if factor != one]
        shared = Counter(above) & Counter(below)
        above, below = (list((Counter(factors) - shared).elements()) for factors in (above, below))
    sign = math.prod(signs)
    if not below and len(above) <= 1:
        return sign, above[0] if above else one
    return sign, ("factors", tuple(sorted(above, key=repr)), tuple(sorted(below, key=repr)))


def _is_evaluated(answer: Answer) -> bool:
    """
    Whether nothing is left to do: numbers, fractions in lowest terms, and with them roots, pi, e and i, and what holds
    nothing else.
    """
    if isinstance(answer, Named):
        return _is_evaluated(answer.value)
    if isinstance(answer, Words):
        return True
    if isinstance(answer, Several):
        return answer.brackets != "U" and all(map(_is_evaluated, answer.items))
    if isinstance(answer, Matrix):
        return all(_is_evaluated(cell) for row in answer.rows for cell in row)
    if isinstance(answer, Relation):
        sides = [is_name(side) or _is_evaluated(parse(side) or Words("")) for side in answer.sides]
        return "=" not in answer.operators and all(sides) and any(map(is_name, answer.sides))
    if answer.digits or answer.tree is None:
        return False
    if answer.tree[0] == "number":
        return _PLAIN_NUMBER.fullmatch(answer.text) is not None or "_" not in answer.text and _is_mixed(answer)
    if answer.tree[0] == "name":
        return True
    form = _canonical(answer.tree)
    terms = [term for term, _ in form[1:]] if form[0] == "terms" else [form]
    kinds = [_number_part(term) for term in terms]
    return None not in kinds and len(set(kinds)) == len(kinds)


def _is_mixed(answer: Scalar) -> bool:
    return answer.text.count(r"\frac") == 1 and answer.text.lstrip("+-")[:1].isdigit()


def _number_part(term: tuple) -> tuple | None:
    """What a term of an evaluated number is a multiple of (a root, pi), or `None` if it is not evaluated."""
    above, below = (term[1], term[2]) if term[0] == "factors" else ((term,), ())
    numbers = [factor[1] for factor in above if factor[0] == "number"]
    symbols = tuple(factor for factor in above if factor[0] != "number")
    if len(numbers) > 1 or len(below) > 1 or any(factor[0] != "number" for factor in below):
        return None
    top, bottom = numbers[0] if numbers else Fraction(1), below[0][1] if below else Fraction(1)
    if bottom.denominator != 1 or (bottom != 1 and (top.denominator != 1 or math.gcd(int(top), int(bottom)) != 1)):
        return None
    return symbols if all(map(_is_symbol, symbols)) and len(set(symbols)) == len(symbols) else None


def _is_symbol(factor: tuple) -> bool:
    if factor[0] == "name":
        return factor[1] in (r"\pi", "e", "i")
    if factor[0] != "^" or factor[2] != ("number", Fraction(1, 2)) or factor[1][0] != "number":
        return False
    radicand = factor[1][1]
    return radicand.denominator == 1 and radicand < 10**8 and not _has_square(int(radicand))


def _has_square(number: int) -> bool:
    return any(number % (factor * factor) == 0 for factor in range(2, math.isqrt(number) + 1))
