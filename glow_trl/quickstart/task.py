"""Named chains modulo 7: the questions of the quickstart, their exact answers and a correct worked solution."""

import random
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import TypeVar

from ..errors import UserError


T = TypeVar("T")

MODULUS = 7
# A solution finds each link by its letter. The fewer there are, the sooner any model has learned to
ALPHABET = "abcdefghijkl"
WORDS = {"+": " plus ", "-": " minus ", "*": " times "}

# The pieces that questions and solutions are made of. A word-level tokenizer gives each one token. A value and the
# sign before it are one piece, an operator and its operand too: that is fewer tokens, and a solution copies a link of
# the question in one go, right after its letter: two attention layers have one look-up to learn, not two.
VOCABULARY = (
    *ALPHABET,
    *map(str, range(MODULUS)),
    *(f"={value}" for value in range(MODULUS)),
    *(f": {value}" for value in range(MODULUS)),
    *(f"{operator}{value}" for operator in (*WORDS, *WORDS.values()) for value in range(MODULUS)),
    "=?",
    "; ",
    "\\boxed{",
    "}",
)


def compute(left: int, operator: str, right: int) -> int:
    """`left operator right` modulo 7, for the operators `+`, `-` and `*`."""
    if operator == "+":
        return (left + right) % MODULUS
    if operator == "-":
        return (left - right) % MODULUS
    if operator == "*":
        return left * right % MODULUS
    raise ValueError(f"unknown operator {operator!r}")


@dataclass(frozen=True)
class Step:
    """One link of a chain: the value before it, `operator` (`+`, `-` or `*`), `operand` (from 0 to 6)."""

    operator: str
    operand: int
    worded: bool = False  # whether the question spells the operator out


@dataclass(frozen=True)
class Question:
    """A chain of consecutive letters, each defined from the one before it, and the letter that is asked for.

    `g=1; h-1; i*4; j+1; i=?` says g = 1, h = g - 1, i = h * 4, j = i + 1 and asks for i, all modulo 7. What comes
    after the asked letter is a distraction.
    """

    first_letter: int  # index in the alphabet of the letter that is given a value
    first_value: int
    steps: tuple[Step, ...]  # in the order of their letters
    asked: int  # how many of the links the answer needs
    order: tuple[int, ...] | None = None  # of the lines where it is not that of the letters; 0 is the given value

    def letter(self, index: int) -> str:
        """The name of the value after `index` links."""
        return ALPHABET[self.first_letter + index]

    @property
    def text(self) -> str:
        lines = [f"{self.letter(0)}={self.first_value}"]
        for index, step in enumerate(self.steps, start=1):
            operator = WORDS[step.operator] if step.worded else step.operator
            lines.append(f"{self.letter(index)}{operator}{step.operand}")
        if self.order is not None:
            lines = [lines[index] for index in self.order]
        return "; ".join([*lines, f"{self.letter(self.asked)}=?"])

    @property
    def values(self) -> list[int]:
        """The value of every letter of the chain, the given one first."""
        values = [self.first_value]
        for step in self.steps:
            values.append(compute(values[-1], step.operator, step.operand))
        return values

    @property
    def answer(self) -> str:
        return str(self.values[self.asked])


@dataclass(frozen=True)
class Written:
    """A step as a solution has it, right or wrong: `left operator right = result`."""

    left: int
    operator: str
    right: int
    result: int

    @classmethod
    def of(cls, left: int, operator: str, right: int) -> "Written":
        """The step with its right result."""
        return cls(left, operator, right, compute(left, operator, right))

    def line(self, letter: str) -> str:
        """The step as a line of a worked solution, as `h: 1-1=0; `."""
        return f"{letter}: {self.left}{self.operator}{self.right}={self.result}; "


def final_answer(value: int | str) -> str:
    return f"\\boxed{{{value}}}"


def solution(question: Question) -> str:
    """The worked solution without any mistake."""
    lines = [
        Written.of(value, step.operator, step.operand).line(question.letter(number))
        for number, value, step in zip(range(1, question.asked + 1), question.values, question.steps, strict=False)
    ]
    return "".join(lines) + final_answer(question.values[question.asked])


@dataclass(frozen=True)
class QuestionFamily:
    """A distribution of questions: how many links the answer needs and how many more follow, both uniformly."""

    min_steps: int
    max_steps: int
    min_distractors: int
    max_distractors: int
    one_worded: float = 0.0  # share of the questions in which one of the needed links has its operator spelled out
    all_worded: bool = False
    swapped: bool = False  # two neighbors among the needed links change places
    # "apart": a product never follows a product; "together": at least two do among the needed links
    products: str = "apart"

    def sample(self, rng: random.Random) -> Question:
        """Draw one question."""
        asked = rng.randint(self.min_steps, self.max_steps)
        length = asked + rng.randint(self.min_distractors, self.max_distractors)
        worded = rng.randrange(asked) if rng.random() < self.one_worded else None
        steps = tuple(
            Step(operator, rng.randrange(MODULUS), self.all_worded or index == worded)
            for index, operator in enumerate(self._operators(rng, asked, length))
        )
        order = None
        if self.swapped:
            first = rng.randrange(1, asked)
            order = (*range(first), first + 1, first, *range(first + 2, length + 1))
        return Question(
            first_letter=rng.randrange(len(ALPHABET) - length),
            first_value=rng.randrange(MODULUS),
            steps=steps,
            asked=asked,
            order=order,
        )

    def _operators(self, rng: random.Random, asked: int, length: int) -> list[str]:
        start = rng.randrange(asked - 1) if self.products == "together" else None
        operators: list[str] = []
        for index in range(length):
            if start is not None and index in (start, start + 1):
                operators.append("*")
            elif self.products == "apart" and operators and operators[-1] == "*":
                operators.append(rng.choice("+-"))
            else:
                operators.append(rng.choice("+-*"))
        return operators

    def distinct(self, rng: random.Random, count: int, taken: set[str]) -> Iterator[Question]:
        """Draw `count` questions whose texts are not in `taken`, and add them to it."""
        return distinct(self.sample, lambda question: question.text, rng, count, taken)


def distinct(
    sample: Callable[[random.Random], T], key: Callable[[T], str], rng: random.Random, count: int, taken: set[str]
) -> Iterator[T]:
    """Draw `count` items whose keys are not in `taken`, and add them to it."""
    for drawn in range(count):
        item = unseen(sample, key, rng, taken)
        if item is None:
            raise UserError(f"the embedded data have only about {drawn} different questions, {count} wanted")
        taken.add(key(item))
        yield item


def unseen(
    sample: Callable[[random.Random], T], key: Callable[[T], str], rng: random.Random, taken: Container[str]
) -> T | None:
    """Draw an item whose key is not in `taken`; `None` where a thousand were, so that there are hardly any others."""
    items = (sample(rng) for _ in range(1000))
    return next((item for item in items if key(item) not in taken), None)
