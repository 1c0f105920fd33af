"""The families of the miniature: right answers and steps, by a second computation from the question's text alone."""

import random
import re
from itertools import accumulate

import pytest

from glow_trl.miniature import MiniatureConfig
from glow_trl.miniature.families import FAR, WORDINGS
from glow_trl.verifiers import verify
from helpers.independent import evaluate, read_solution, step_is_valid, steps_needed


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def by_reversing(text):
    letters = text.split()[-1]
    return letters[::-1], [letters[-place] for place in range(1, len(letters) + 1)]


def by_sorting(text):
    ordered = [digit for digit in "123456789" for _ in range(text.count(digit))]
    return "".join(ordered), ordered


def by_counting(text):
    wanted, letters = re.fullmatch(r".* (\w) in (\w+)", text).groups()
    totals = accumulate(letter == wanted for letter in letters)
    return str(len(letters) - len(letters.replace(wanted, ""))), [
        f"{letter}{int(total)}" for letter, total in zip(letters, totals, strict=True)
    ]


def by_comparing(text):
    found = numbers(text)
    return str(sorted(found)[-1]), [str(number) for number in accumulate(found, max)]


def by_logic(text):
    words = re.search(r"(true|false)( (and|or|xor) (true|false))+$", text)[0].split()
    expression, steps = words[0].title(), []
    for operator, value in zip(words[1::2], words[2::2], strict=True):
        expression = f"({expression} {'!=' if operator == 'xor' else operator} {value.title()})"
        steps.append(str(eval(expression)).lower())
    return steps[-1], steps


def by_following(text):
    ways = dict(re.findall(r"\b(\w) to (\w)\b", text))
    count, place = re.search(r": (one|two|three) from (\w)$", text).groups()
    path = []
    for _ in range({"one": 1, "two": 2, "three": 3}[count]):
        place = ways[place]
        path.append(place)
    return place, path


INDEPENDENT = {
    "reversed": by_reversing,
    "sorted": by_sorting,
    "counted": by_counting,
    "largest": by_comparing,
    "logic": by_logic,
    "links": by_following,
}


@pytest.mark.parametrize("name", FAR)
def test_answers_and_steps_agree_with_a_second_computation(name):
    """A wrong one would teach a wrong rule, and be counted as forgetting."""
    rng = random.Random(f"test/{name}")
    for _ in range(300):
        task = FAR[name](rng)
        answer, steps = INDEPENDENT[name](task.text)
        assert (task.answer, task.solution) == (answer, "; ".join([*steps, f"\\boxed{{{answer}}}"])), task.text
        assert task.content in task.text


@pytest.mark.parametrize("name", FAR)
def test_the_verifier_accepts_the_answer_and_no_other(name):
    """By the kind that the rows name; a reward that takes what is wrong would teach it."""
    rng = random.Random(f"test/{name}")
    tasks = [FAR[name](rng) for _ in range(40)]
    for task, other in zip(tasks, tasks[1:], strict=False):
        for solution, answer in ((task.solution, task.answer), (other.solution, other.answer)):
            verdict = verify(solution, task.answer, kind=task.kind, problem=task.text)
            assert verdict.correct == (answer == task.answer), (task, solution)


@pytest.mark.parametrize("name", FAR)
def test_each_wording_is_drawn(name):
    """And they differ in more than what is asked about."""
    rng = random.Random(name)
    tasks = [FAR[name](rng) for _ in range(60)]
    assert {task.text.replace(task.content, "{}") for task in tasks} == {*WORDINGS[name]}
    assert len({*WORDINGS[name]}) >= 3


@pytest.mark.parametrize("slips", [0.0, 0.3])
def test_chains_are_solved_step_by_step(slips):
    """As many steps are right as is said, and the last one gives the answer; the style is not the teacher's."""
    near = MiniatureConfig(chain_slips=slips, max_mistakes=9).near()
    right = []
    for name in near.keys() - {"in_prose"}:
        for seed in range(100):
            task = near[name](random.Random(seed))
            assert ": " not in task.solution
            steps, final = read_solution(re.sub(r"\b([a-z])=", r"\1: ", task.solution))
            right += [step_is_valid(task.text, steps, place) for place in range(len(steps))]
            assert len(steps) == steps_needed(task.text) and final == steps[-1][4]
            assert task.answer == str(evaluate(task.text)) and (slips or str(final) == task.answer)
    assert sum(right) / len(right) == pytest.approx(1 - slips, abs=0.04 if slips else 0)


def test_prose_asks_the_same_in_another_wording():
    """Read back into the first wording, it is the same question, and it has the same solution."""
    near = MiniatureConfig().near()
    for seed in range(60):
        plain, prose = (near[name](random.Random(seed)) for name in ("in_domain", "in_prose"))
        given, links, asked = re.fullmatch(r"with (\w \d)((?:, [^,]+)+), find (\w)", prose.text).groups()
        read = given.replace(" ", "=") + links.replace(", ", "; ") + f"; {asked}=?"
        assert read == plain.text == prose.content and prose.solution == plain.solution
