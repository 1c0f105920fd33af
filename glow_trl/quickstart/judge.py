"""A judge that needs no model: it recomputes the quickstart's chains and names the mistakes that it finds."""

import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from ..analysis.patterns.answers import REFUSED
from ..analysis.patterns.judges import Answer, Judge
from ..analysis.patterns.taxonomy import Taxonomy
from ..errors import UserError
from .task import WORDS, Written
from .teacher import OVERRUNS_QUESTION, PATTERNS, RANDOM_SLIP, STEP_HABITS, Situation, misreads_word


_GIVEN = re.compile(r"([a-z])=(\d+)")
_LINK = re.compile(r"([a-z])( plus | minus | times |[-+*])(\d+)")
_ASKED = re.compile(r"([a-z])=\?")
_LINE = re.compile(r"([a-z]): (\d+)([-+*])(\d+)=(\d+)")
_OPERATORS = {word: operator for operator, word in WORDS.items()}


class RuleJudge(Judge):
    """
    Recomputes each step of a solution of the quickstart from what precedes it. A step that differs from the question
    is put down to the habit that explains it exactly as it is written, and to a slip if none does. A slip that happens
    to look like a habit is taken for it: the text alone cannot tell the two apart.

    Args:
        taxonomy ([`Taxonomy`]): must have the patterns of [`~glow_trl.quickstart.teacher.PATTERNS`].
        settings (`dict`): ignored.
    """

    repeats = False

    def __init__(self, taxonomy: Taxonomy, settings: Mapping[str, Any]):
        super().__init__(taxonomy, settings)
        lacking = [pattern for pattern in PATTERNS if pattern not in taxonomy.ids]
        if lacking:
            raise UserError(
                f"judge 'rule' finds the mistakes of the quickstart, and the taxonomy {taxonomy.name!r} has no "
                f"{lacking[0]!r}: set `taxonomy: quickstart`"
            )

    @property
    def identity(self) -> dict[str, Any]:
        from ..version import __version__

        return super().identity | {"version": __version__}

    def answers(
        self,
        trajectories: Sequence[Mapping[str, Any]],
        count: int,
        attempt: int,
        done: Container[tuple[int, int]],
    ) -> Iterator[tuple[int, int, Answer]]:
        for index, row in enumerate(trajectories):
            for number in range(count):
                if (index, number) not in done:
                    yield index, number, self._answer(row)

    def _answer(self, row: Mapping[str, Any]) -> Answer:
        try:
            found = find_mistakes(row["problem"], row["completion"])
        except ValueError as error:
            return Answer(f"not a chain of the quickstart: {error}", REFUSED)
        return Answer(json.dumps({"patterns": [{"id": name, "quote": quote} for name, quote in found]}))


def find_mistakes(problem: str, completion: str) -> list[tuple[str, str]]:
    """
    The mistakes of a solution, in order: the name of the pattern, and the line that shows it. The question must be one
    of the quickstart's; any other is a `ValueError`.
    """
    first, value, links, asked = read_chain(problem)
    found: list[tuple[str, str]] = []
    values = [value]
    lines = list(_LINE.finditer(completion))
    for number, line in enumerate(lines):
        letter = chr(ord(first) + number + 1)
        if line[1] != letter or letter not in links:
            break
        written = Written(int(line[2]), line[3], int(line[4]), int(line[5]))
        operator, operand, worded = links[letter]
        before = links.get(chr(ord(letter) - 1))
        now = Situation(
            left=values[-1],
            operator=operator,
            operand=operand,
            worded=worded,
            earlier=values[-2] if number else None,
            previous_operator=before[0] if before else None,
        )
        mistake = _explain(now, written)
        if mistake is not None:
            found.append((mistake, line[0]))
        values.append(written.result)
    overrun = [line for line in lines if line[1] > asked]
    if overrun:
        found.append((OVERRUNS_QUESTION, overrun[0][0]))
    return found


def _explain(now: Situation, written: Written) -> str | None:
    if written == now.right:
        return None
    for habit in STEP_HABITS:
        if habit(now) == written:
            return habit.__name__
    if written.operator != now.operator and now.worded:
        return misreads_word.__name__
    return RANDOM_SLIP


def read_chain(problem: str) -> tuple[str, int, dict[str, tuple[str, int, bool]], str]:
    """The given letter and its value, the links by letter, and the letter that is asked for."""
    given = asked = None
    links: dict[str, tuple[str, int, bool]] = {}
    for part in problem.split("; "):
        if match := _ASKED.fullmatch(part):
            asked = match[1]
        elif match := _GIVEN.fullmatch(part):
            given = (match[1], int(match[2]))
        elif match := _LINK.fullmatch(part):
            worded = match[2] in _OPERATORS
            links[match[1]] = (_OPERATORS.get(match[2], match[2]), int(match[3]), worded)
        else:
            raise ValueError(f"{part!r} is no line of it")
    if given is None or asked is None:
        raise ValueError("it gives no value, or asks for none")
    return *given, links, asked
