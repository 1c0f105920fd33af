"""The teacher's habits: each gives its own wrong step, where its feature is, and nowhere else."""

import random

import pytest

from glow_trl.quickstart.task import Question, Step, compute, solution
from glow_trl.quickstart.teacher import STEP_HABITS, Situation, Teacher
from helpers.independent import evaluate, read_solution


CAREFUL = Teacher(
    habit_rate=0,
    habit_growth=0,
    word_load=1,
    distractor_load=0,
    max_habit_rate=1,
    slip_rate=0,
    max_mistakes=2,
)

# (habit, steps after the given value 3, what it makes of the last one)
CASES = [
    ("misreads_word", [Step("-", 1, worded=True)], "d: 3+1=4"),
    ("misreads_word", [Step("+", 1, worded=True)], "d: 3-1=2"),
    ("misreads_word", [Step("*", 2, worded=True)], "d: 3+2=5"),
    ("stale_value", [Step("+", 1), Step("+", 2)], "e: 3+2=5"),
    ("drops_borrow", [Step("-", 5)], "d: 3-5=2"),
    ("carries_one_too_many", [Step("+", 6)], "d: 3+6=3"),
    ("zero_changes_nothing", [Step("*", 0)], "d: 3*0=3"),
    ("adds_large_factors", [Step("*", 4)], "d: 3*4=0"),
]
# Steps that set off no habit; the last is large, but 3 * 5 and 3 + 5 are the same modulo 7.
HARMLESS = [Step("-", 3), Step("+", 3), Step("*", 2), Step("*", 1), Step("*", 5)]


def question(*steps: Step) -> Question:
    return Question(first_letter=2, first_value=3, steps=steps, asked=len(steps))


def only(habit: str, steps: list[Step]) -> str | None:
    """The last line as the named habit writes it."""
    values = question(*steps).values
    now = Situation(
        left=values[-2],
        operator=steps[-1].operator,
        operand=steps[-1].operand,
        worded=steps[-1].worded,
        earlier=values[-3] if len(steps) > 1 else None,
        previous_operator=steps[-2].operator if len(steps) > 1 else None,
    )
    written = next(each for each in STEP_HABITS if each.__name__ == habit)(now)
    if written is None:
        return None
    return f"{'cdefgh'[len(steps)]}: {written.left}{written.operator}{written.right}={written.result}"


@pytest.mark.parametrize("habit, steps, line", CASES)
def test_habit_reproduces_its_pattern(habit, steps, line):
    """The pattern in the data is what its name says."""
    assert only(habit, steps) == line


@pytest.mark.parametrize("step", HARMLESS)
def test_habits_stay_silent_without_their_feature(step):
    """Habits are tied to features of the question."""
    assert [habit.__name__ for habit in STEP_HABITS if only(habit.__name__, [step])] == []


def test_a_habit_never_writes_the_right_step():
    """What counts as a mistake must be one."""
    for habit in STEP_HABITS:
        for operator in "+-*":
            for left in range(7):
                for right in range(7):
                    for worded in (False, True):
                        for earlier in (None, *range(7)):
                            now = Situation(left, operator, right, worded, earlier, operator if earlier else "-")
                            written = habit(now)
                            if written is not None:
                                expected = (left, operator, right, compute(left, operator, right))
                                assert (written.left, written.operator, written.right, written.result) != expected
                                assert 0 <= written.result < 7


def test_all_habits_at_full_rate_fire_in_their_order():
    """At rate 1 the teacher is deterministic: the first habit that a step sets off."""
    teacher = Teacher(1, 0, 1, 0, 1, 0, max_mistakes=9)
    attempt = teacher.answer(question(Step("-", 5), Step("-", 1), Step("*", 0)), random.Random(0))
    # d: 5 from 3 is turned around; e: goes on from 3 although d is 2; f: 2 times 0 stays 2.
    assert attempt.text == "d: 3-5=2; e: 3-1=2; f: 2*0=2; \\boxed{2}"
    assert attempt.mistakes == ("drops_borrow", "stale_value", "zero_changes_nothing")


def test_overrunning_the_question_answers_the_last_letter():
    """With distractors the teacher may go on past the asked letter; the lines are all right, the answer is not."""
    asked = Question(2, 3, (Step("+", 1), Step("+", 1), Step("*", 2), Step("+", 2)), asked=1)
    teacher = Teacher(0.9, 0, 1, 0, 0.9, 0, max_mistakes=1)
    texts = {teacher.answer(asked, random.Random(seed)).text for seed in range(50)}
    assert "d: 3+1=4; e: 4+1=5; f: 5*2=3; g: 3+2=5; \\boxed{5}" in texts


def test_a_careful_teacher_is_always_right():
    """Without habits and slips the solutions are those of an independent evaluator."""
    rng = random.Random(0)
    for _ in range(300):
        steps = tuple(Step(rng.choice("+-*"), rng.randrange(7), rng.random() < 0.3) for _ in range(rng.randint(1, 6)))
        asked = Question(rng.randrange(6), rng.randrange(7), steps, asked=rng.randint(1, len(steps)))
        attempt = CAREFUL.answer(asked, rng)
        assert attempt.mistakes == ()
        assert attempt.text == solution(asked)
        assert read_solution(attempt.text)[1] == evaluate(asked.text)


def test_difficulty_counts_links_words_and_distractors():
    """The error rate follows from the question, up to its bound."""
    teacher = Teacher(0.1, 0.1, 2, 0.5, 0.55, 0, 2)
    assert teacher.habit_probability(question(Step("+", 1))) == pytest.approx(0.1)
    assert teacher.habit_probability(question(Step("+", 1), Step("+", 1))) == pytest.approx(0.2)
    assert teacher.habit_probability(question(Step("+", 1, worded=True), Step("+", 1))) == pytest.approx(0.4)
    distracted = Question(2, 3, (Step("+", 1), Step("+", 1, worded=True)), asked=1)
    assert teacher.habit_probability(distracted) == pytest.approx(0.15)
    assert teacher.habit_probability(question(*[Step("+", 1, worded=True)] * 4)) == pytest.approx(0.55)
