"""
Completions for what judges in the calling process, where no limit of time applies: at the lengths and depths up to
which its parts read, made of the pieces that they look for. Seeded; `hostile.py` is for the judgement as a whole.
"""

import random
import string
from collections.abc import Iterator

from helpers.hostile import GOLDS


_PIECES = [
    piece.encode().decode("unicode_escape") if piece.startswith("\\u") else piece
    for piece in r"""a B x 1 7 + - ^ _ { } ( ) [ ] < > = | & ! % $ * : ; . , ? ' " ~ / 1,000 0.5 .5 1e5 2:30 x=1 x<1
    1<x<2 f(x)=
    x_{1} x^{2} 9^9^9 n! \frac \frac{1}{2} \frac{ \sqrt \sqrt[3]{2} \binom{5}{2} 5\choose \sin \log_2 \sum_{k=1}^{n}
    \sum_{n=1}^{\infty} \int_0^1 \lfloor \rfloor \pm \cup \setminus \left( \right) \{ \} \( \) \[ \] \\ \begin{pmatrix}
    \end{pmatrix} \text{ \text{and} \text{m} \mathrm{x} \color{red} \overline{3} \boxed{ \boxed{5} \in \mathbb{Z}
    \pmod{5}
    \equiv \infty \alpha \% \, {,} \circ 10^{9} 1011_2 +C 4k+2 answer: #### ** __ ``` "answer":"5" {"answer": <answer>
    </answer> (A) 答案是 选B 和 ， √ ½ ² ₂ × − ∞ １ ٣ é \u0301\u0316 \u200b 5th p.m. Smith,J.""".split()
]
_PIECES += " |\n|\t| 000| and | or |for |for all real x|a,|all |set of |where |k |congruent to |the answer is ".split(
    "|"
)
_PIECES += "not |is wrong|incorrect |thought |half of |squared |one |twenty-|hundred |3 tenths|A or |5 km/h|- ".split(
    "|"
)
_PIECES += "6 ft 2 in| 1 hour|January 5, 2024|Saint |Step 1: ".split("|")
_LENGTHS = (100, 300, 400, 600, 2_000, 4_000, 20_000, 100_000)
# Each with @ where others of them stand
_FORMS = r"""@+@ @-@ (@)(@) \frac{@}{@} (@)^{@} \sqrt{@} \sqrt[3]{@} (@)! \binom{@}{@} \sin(@) \arcsin(@) \ln(@)
    \exp(@) |@|
    \lfloor@\rfloor \sum_{k=1}^{400}(@) \sum_{n=x}^{99}(@) \sum_{n=1}^{\infty}(@) \prod_{k=1}^{99}(@)""".split()
_NESTED = r"""\frac{1}{1+@} \sqrt{1+@} (@) (1,@) \{1,@\} x^{@} (@)^{10} \sum_{k=1}^{9}(@) \sum_{k=1}^{400}@ \text{@}
    |@| \sin(@)
    \sum_{n=1}^{\infty}(@) \prod_{n=1}^{300}(@+1) \binom{@}{2} (@)! -(@) \begin{pmatrix}@\\2\end{pmatrix} (1,2)\cup(@)
    \pm@ 1<@
    f(@)""".split()
_LEAVES = r"x n k 1 7 10^{9} 0.001 \pi e i n! 99! 1/n^2 10000000000000000000000000000007 \infty".split()
_NUMBERS = r"""@ @.@ @/@ \frac{@}{@} @! \sqrt{@} @^{@} @% @_cm 1.2345678\cdot10^{999} @_2 @:@ @_million @_hundred
    @_@/@ @k+@
    0.\overline{@} x\equiv@\pmod{@} \log_{@}@ \binom{@}{@} @_ft_@_in""".split()
_KINDS = ("math", GOLDS), ("math", GOLDS), ("number", GOLDS), ("choice", "AB"), ("text", ("yes", "James Hutton"))
_QUESTIONS = "", r"Find $\sum_{k=1}^n k$ and $\frac{1}{2}x=3$.", r"Compute $501^2-499^2$."


def _joined(r: random.Random, most: int) -> str:
    return "".join(r.choices(_PIECES, k=r.randint(most > 2, most)))


def _pumped(r: random.Random) -> str:
    length, unit = r.choice(_LENGTHS), _joined(r, 3)
    return _joined(r, 2) + unit * (length // len(unit)) + _joined(r, 2)


def _mixed(r: random.Random) -> str:
    return "".join(r.choices(r.sample(_PIECES, r.choice((3, 6, 12))), k=r.choice(_LENGTHS[:6]) // 3))


def _nested(r: random.Random) -> str:
    forms, text = r.sample(_NESTED, 2), r.choice(_LEAVES)
    for index in range(r.choice((3, 6, 12, 28, 100, 1_000))):
        text = forms[index % 2].replace("@", text)
    return text


def _expression(r: random.Random, depth: int = 0) -> str:
    if depth > r.randint(1, 5):
        return r.choice(_LEAVES)
    first, *rest = r.choice(_FORMS).split("@")
    return first + "".join(_expression(r, depth + 1) + part for part in rest)


def _several(r: random.Random) -> str:
    items = [_expression(r, 4) if r.random() < 0.5 else str(index) for index in range(r.choice((2, 10, 63, 64, 100)))]
    opening, closing = r.choice((("", ""), ("(", ")"), (r"\{", r"\}"), (r"\begin{pmatrix}", r"\end{pmatrix}")))
    return opening + r.choice((", ", ";", " and ", r" \cup ", ":", "&", r"\\")).join(items) + closing


def _numbers(r: random.Random) -> str:
    alphabet, length = r.choice((string.digits, "9", "0", "1٣")), r.choice((18, 300, 400, 1_000, 1_990, 4_400))
    return r.choice(_NUMBERS).replace("_", " ").replace("@", "".join(r.choices(alphabet, k=length)))


_READING = _pumped, _pumped, _mixed, _nested, _expression, _several, _numbers


def hostile_to_reading(count: int, seed: int = 0) -> Iterator[tuple[str, str, str, str]]:
    """`count` times a completion, a gold answer, the kind and a question (or `""`)."""
    r = random.Random(seed)
    for index in range(count):
        text, (kind, golds) = _READING[index % len(_READING)](r), r.choice(_KINDS)
        wrapping = r.choice((r"\boxed{@}", r"\boxed{@}", "The answer is @", "We get $@$", "@"))
        gold = text[:1_000] if r.random() < 0.1 else r.choice(golds)
        yield wrapping.replace("@", text), gold, kind, r.choice(_QUESTIONS)
