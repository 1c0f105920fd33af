"""A teacher that errs as real ones do: more on harder questions, by habit, and consistently after a mistake.

A habit is a wrong way of doing a step that always gives the same wrong step when the question has the feature that
sets it off. How often the teacher falls into its habits grows with the difficulty of the question; the rest of its
mistakes, a small share, are slips without a pattern. A mistake is not always fatal: a product with zero hides it, a
second one can undo it. Only a verifier knows which of the solutions are right.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from .task import MODULUS, Question, Written, compute, final_answer


@dataclass(frozen=True)
class Situation:
    """What the teacher sees at one step: the value before it, the link to apply, and what was there before."""

    left: int  # as the teacher has it
    operator: str
    operand: int
    worded: bool
    earlier: int | None = None  # the value one step further back
    previous_operator: str | None = None

    @property
    def right(self) -> Written:
        """The step without any mistake."""
        return Written.of(self.left, self.operator, self.operand)


def misreads_word(now: Situation) -> Written | None:
    """Takes a spelled-out operator for another: minus and times for plus, plus for minus."""
    if not now.worded:
        return None
    return Written.of(now.left, "-" if now.operator == "+" else "+", now.operand)


def stale_value(now: Situation) -> Written | None:
    """When an operator repeats, goes on from the value before the last one."""
    if now.earlier is None or now.operator != now.previous_operator or now.earlier == now.left:
        return None
    return Written.of(now.earlier, now.operator, now.operand)


def drops_borrow(now: Situation) -> Written | None:
    """Below zero, subtracts the smaller number from the larger."""
    if now.operator != "-" or now.left >= now.operand:
        return None
    return Written(now.left, "-", now.operand, now.operand - now.left)


def carries_one_too_many(now: Situation) -> Written | None:
    """When a sum wraps around, counts on from one and not from zero."""
    if now.operator != "+" or now.left + now.operand < MODULUS:
        return None
    return Written(now.left, "+", now.operand, now.left + now.operand - MODULUS + 1)


def zero_changes_nothing(now: Situation) -> Written | None:
    """Takes a product with zero for the other factor."""
    if now.operator != "*" or (now.left == 0) == (now.operand == 0):
        return None
    return Written(now.left, "*", now.operand, now.left + now.operand)


def adds_large_factors(now: Situation) -> Written | None:
    """When both factors are three or more, adds them."""
    total = compute(now.left, "+", now.operand)
    if now.operator != "*" or min(now.left, now.operand) < 3 or total == compute(now.left, "*", now.operand):
        return None
    return Written(now.left, "*", now.operand, total)


Habit = Callable[[Situation], Written | None]

# In the order in which the teacher falls into them. A habit that its situation does not set off returns None.
STEP_HABITS: tuple[Habit, ...] = (
    misreads_word,
    stale_value,
    drops_borrow,
    carries_one_too_many,
    zero_changes_nothing,
    adds_large_factors,
)
OVERRUNS_QUESTION = "overruns_question"
RANDOM_SLIP = "random_slip"
PATTERNS: tuple[str, ...] = (*(habit.__name__ for habit in STEP_HABITS), OVERRUNS_QUESTION, RANDOM_SLIP)


@dataclass(frozen=True)
class Attempt:
    """A solution as the teacher gives it, and the names of the planted mistakes, in order; see [`PATTERNS`]."""

    text: str
    mistakes: tuple[str, ...]


@dataclass(frozen=True)
class Teacher:
    """Answers questions, with mistakes; what its numbers mean, [`QuickstartConfig`] says."""

    habit_rate: float
    habit_growth: float
    word_load: float
    distractor_load: float
    max_habit_rate: float
    slip_rate: float
    max_mistakes: int

    def difficulty(self, question: Question) -> float:
        """How many plain links the question feels like to the teacher, beyond the first."""
        worded = sum(step.worded for step in question.steps[: question.asked])
        distractors = len(question.steps) - question.asked
        return question.asked - 1 + self.word_load * worded + self.distractor_load * distractors

    def habit_probability(self, question: Question) -> float:
        """How likely the teacher is to fall into a habit that a step of `question` sets off."""
        return min(self.habit_rate + self.habit_growth * self.difficulty(question), self.max_habit_rate)

    def answer(self, question: Question, rng: random.Random) -> Attempt:
        """One solution of `question`; everything after a mistake follows from it."""
        probability = self.habit_probability(question)
        mistakes: list[str] = []
        length = question.asked
        if len(question.steps) > question.asked + 1 and rng.random() < probability / 4:
            length = len(question.steps)
            mistakes.append(OVERRUNS_QUESTION)
        lines: list[str] = []
        values = [question.first_value]
        for index in range(length):
            now = _situation(question, values)
            written, mistake = now.right, None
            if len(mistakes) < self.max_mistakes:
                written, mistake = self._work(now, probability, rng)
            if mistake is not None:
                mistakes.append(mistake)
            lines.append(written.line(question.letter(index + 1)))
            values.append(written.result)
        return Attempt("".join(lines) + final_answer(values[-1]), tuple(mistakes))

    def alternatives(self, question: Question, lines: Sequence[str]) -> Iterator[dict[str, float]]:
        """
        For each line of a solution, the answer at its end too: all that the teacher could have written there after the
        lines before it, with the exact probabilities.
        """
        probability = self.habit_probability(question)
        overruns = probability / 4 if len(question.steps) > question.asked + 1 else 0.0
        # What the text does not tell, how far it will go and how many mistakes it has: how likely that is
        hidden = {(question.asked, 0): 1 - overruns, (len(question.steps), 1): overruns}
        values = [question.first_value]
        for number, line in enumerate(lines, start=1):
            found: dict[str, dict[tuple[int, int], float]] = {}
            results: dict[str, int] = {}
            for (length, mistakes), weight in hidden.items():
                ways = [(final_answer(values[-1]), values[-1], 0, 1.0)]
                if number <= length:
                    steps = self._ways(_situation(question, values), probability, mistakes < self.max_mistakes)
                    letter = question.letter(number)
                    ways = [(written.line(letter), written.result, added, share) for written, added, share in steps]
                for text, result, added, share in ways:
                    results[text] = result
                    states, state = found.setdefault(text, {}), (length, mistakes + added)
                    states[state] = states.get(state, 0.0) + weight * share
            yield {text: sum(states.values()) for text, states in found.items()}
            total = sum(found[line].values())
            hidden = {state: weight / total for state, weight in found[line].items()}
            values.append(results[line])

    def _ways(self, now: Situation, probability: float, able: bool) -> Iterator[tuple[Written, int, float]]:
        """All that [`_work`] can return: the step, 1 if it is a mistake, and how likely it is."""
        rest = 1.0
        if able:
            for habit in STEP_HABITS:
                if (written := habit(now)) is not None:
                    yield written, 1, rest * probability
                    rest *= 1 - probability
            for slip in (1, -1):
                result = (now.right.result + slip) % MODULUS
                yield replace(now.right, result=result), 1, rest * self.slip_rate / 2
            rest *= 1 - self.slip_rate
        yield now.right, 0, rest

    def _work(self, now: Situation, probability: float, rng: random.Random) -> tuple[Written, str | None]:
        for habit in STEP_HABITS:
            written = habit(now)
            if written is not None and rng.random() < probability:
                return written, habit.__name__
        if rng.random() < self.slip_rate:
            result = (now.right.result + rng.choice((1, -1))) % MODULUS
            return replace(now.right, result=result), RANDOM_SLIP
        return now.right, None


def _situation(question: Question, values: Sequence[int]) -> Situation:
    """The step after those that have given `values`, the given one first."""
    index = len(values) - 1
    step = question.steps[index]
    return Situation(
        left=values[-1],
        operator=step.operator,
        operand=step.operand,
        worded=step.worded,
        earlier=values[-2] if index else None,
        previous_operator=question.steps[index - 1].operator if index else None,
    )
