"""Families of small tasks with exact answers, each in several wordings and with a worked solution."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from ..quickstart.task import VOCABULARY as CHAIN_VOCABULARY
from ..quickstart.task import QuestionFamily, final_answer
from ..quickstart.teacher import Teacher


# Without vowels: no string of them is a word of a question
LETTERS = "bcdfghjk"
DIGITS = "123456789"


@dataclass(frozen=True)
class Task:
    """
    A question, its answer and a worked solution.

    Args:
        text (`str`): the question.
        answer (`str`): the gold answer.
        solution (`str`): a worked solution, which ends in the answer; that of a chain may have slips.
        kind (`str`): the verifier that compares answers.
        content (`str`): what is asked about; the same in every wording.
    """

    text: str
    answer: str
    solution: str
    kind: str
    content: str


Family = Callable[[random.Random], Task]

# `{}` is what is asked about
WORDINGS: dict[str, tuple[str, ...]] = {
    "reversed": ("reverse: {}", "write backwards: {}", "from last to first: {}"),
    "sorted": ("sort: {}", "in order of size: {}", "smallest first: {}"),
    "counted": ("how many {}", "number of {}", "count each {}"),
    "largest": ("largest of {}", "maximum: {}", "which is most: {}"),
    "logic": ("true or false: {}", "evaluate {}", "what is {}"),
    "links": ("follow {}", "where to, given {}", "walk along {}"),
}


def _task(rng: random.Random, name: str, kind: str, content: str, steps: list[str], answer: str | int) -> Task:
    wording = rng.choice(WORDINGS[name])
    return Task(wording.format(content), str(answer), "; ".join([*steps, final_answer(answer)]), kind, content)


def _some(rng: random.Random, characters: str, fewest: int, most: int) -> str:
    """Different ones of the characters, in any order."""
    return "".join(rng.sample(characters, rng.randint(fewest, most)))


def reversed_letters(rng: random.Random) -> Task:
    """`reverse: kdb` is `bdk`."""
    letters = _some(rng, LETTERS, 3, 5)
    return _task(rng, "reversed", "text", letters, list(letters[::-1]), letters[::-1])


def sorted_digits(rng: random.Random) -> Task:
    """`sort: 4291` is 1249."""
    digits = _some(rng, DIGITS, 3, 5)
    ordered = sorted(digits)
    return _task(rng, "sorted", "number", digits, ordered, "".join(ordered))


def counted_letters(rng: random.Random) -> Task:
    """`how many k in kdkb` is 2, counted letter by letter."""
    letters = "".join(rng.choices(rng.sample(LETTERS, 3), k=rng.randint(3, 6)))
    wanted = rng.choice(letters)
    counts = [letters[: place + 1].count(wanted) for place in range(len(letters))]
    steps = [f"{letter}{count}" for letter, count in zip(letters, counts, strict=True)]
    return _task(rng, "counted", "number", f"{wanted} in {letters}", steps, counts[-1])


def largest_number(rng: random.Random) -> Task:
    """`largest of 34, 12, 78` is 78; the solution has the largest so far."""
    numbers = [rng.randint(10, 99) for _ in range(rng.randint(3, 4))]
    steps = [str(max(numbers[: place + 1])) for place in range(len(numbers))]
    return _task(rng, "largest", "number", ", ".join(map(str, numbers)), steps, max(numbers))


def logic(rng: random.Random) -> Task:
    """`evaluate true and false or true` is true: from left to right, no operator before another."""
    value = rng.random() < 0.5
    words, steps = [str(value).lower()], []
    for _ in range(rng.randint(2, 4)):
        operator, other = rng.choice(("and", "or", "xor")), rng.random() < 0.5
        value = {"and": value and other, "or": value or other, "xor": value != other}[operator]
        words += [operator, str(other).lower()]
        steps.append(str(value).lower())
    return _task(rng, "logic", "text", " ".join(words), steps, steps[-1])


def links(rng: random.Random) -> Task:
    """`follow b to d, k to c, d to k: two from b` is k."""
    path = rng.sample(LETTERS, rng.randint(3, 5))
    pairs = [f"{start} to {end}" for start, end in zip(path, path[1:], strict=False)]
    rng.shuffle(pairs)
    hops = rng.randint(1, min(len(pairs), 3))
    count = ("one", "two", "three")[hops - 1]
    return _task(rng, "links", "text", f"{', '.join(pairs)}: {count} from {path[0]}", path[1 : hops + 1], path[hops])


# What is far from the chains of [`glow_trl.quickstart.task`]
FAR: dict[str, Family] = {
    "reversed": reversed_letters,
    "sorted": sorted_digits,
    "counted": counted_letters,
    "largest": largest_number,
    "logic": logic,
    "links": links,
}


def chains(questions: QuestionFamily, writer: Teacher, in_prose: bool = False) -> Family:
    """
    Chains of the quickstart as `writer` solves them, in a style that is not its teacher's: `h=1-1=0; \\boxed{0}` where
    that has `h: 1-1=0; \\boxed{0}`. In prose `g=1; h-1; i*4; i=?` is `with g 1, h-1, i*4, find i`.
    """

    def sample(rng: random.Random) -> Task:
        question = questions.sample(rng)
        text = question.text
        if in_prose:
            given, *lines, asked = text.replace("=?", "").replace("=", " ").split("; ")
            text = f"with {', '.join([given, *lines])}, find {asked}"
        solution = writer.answer(question, rng).text.replace(": ", "=")
        return Task(text, question.answer, solution, "math", question.text)

    return sample


_WORDS = re.compile(r" ?[a-z]{2,}:?")
# All that questions and solutions are made of; digits, letters and the pieces of a chain are those of the quickstart
VOCABULARY = tuple(
    dict.fromkeys(
        [
            *CHAIN_VOCABULARY,
            *"789",
            *(" ", ", ", ": "),
            *(word for texts in WORDINGS.values() for text in texts for word in _WORDS.findall(text)),
            *("true", "false", " and ", " or ", " xor "),
            *(" in ", " to ", " from ", ": one", ": two", ": three"),
            *("with ", ", find "),
        ]
    )
)
