"""The shapes of answers: number, expression, list, tuple, interval, relation, matrix or words."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number or expression. `text` is valid LaTeX without unit and percent sign."""

    text: str
    tree: tuple | None = None
    value: Fraction | None = None
    decimals: int = 0  # digits behind the point, for a number written as a decimal
    percent: bool = False
    unit: str = ""
    digits: str = ""  # of a number with its base: "-101" for -101_2
    base: str = ""  # "2" for -101_2; it may be a letter


@dataclass(frozen=True, slots=True)
class Words:
    """An answer in words."""

    text: str


@dataclass(frozen=True, slots=True)
class Several:
    """A list, set, tuple, interval, ratio or union.

    `brackets` is `""` for a bare list, `":"` for a ratio, `"U"` for a union, else the brackets, `"()"` or `"[)"`.
    Relations may be joined by `"and"` or `"or"`.
    """

    brackets: str
    items: tuple


@dataclass(frozen=True, slots=True)
class Relation:
    """`sides[0] operators[0] sides[1] ...`, each side as text."""

    sides: tuple[str, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """`name = value`; the name is a variable, a function's value, a segment or words, `""` for `2 + 3 = 5`."""

    name: str
    value: "Scalar | Words | Several | Relation | Named | Matrix"
    sides: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of answers."""

    rows: tuple[tuple, ...]
    text: str


Answer = Scalar | Words | Several | Relation | Named | Matrix
# Whether two answers are equal, by computer algebra; `None` where that is not asked
Algebra = Callable[[Answer, Answer], bool | None]
