"""The quickstart's files: a teacher's trajectories, questions for reinforcement learning, and the test sets."""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

from ..data.jsonl import write_jsonl
from ..errors import UserError
from .task import ALPHABET, Question, QuestionFamily
from .teacher import Teacher


IN_DOMAIN = "in_domain"


@dataclass
class QuickstartConfig:
    r"""
    What the quickstart's data are made of.

    Args:
        seed (`int`, *optional*, defaults to `0`):
            Everything that is drawn follows from it.
        train_questions (`int`, *optional*, defaults to `2000`):
            Questions that the teacher answers.
        samples_per_question (`int`, *optional*, defaults to `3`):
            How often it answers each.
        rl_questions (`int`, *optional*, defaults to `3200`):
            Further questions, without solutions, for reinforcement learning.
        test_questions (`int`, *optional*, defaults to `200`):
            Questions in each test set.
        max_steps (`int`, *optional*, defaults to `4`):
            Links that an answer needs, at most, in everything but the test set of longer chains.
        max_distractors (`int`, *optional*, defaults to `2`):
            Links that follow the asked letter, at most, in everything but the test set of more distractors.
        worded_share (`float`, *optional*, defaults to `0.3`):
            Share of the questions that spell one operator out.
        habit_rate (`float`, *optional*, defaults to `0.05`):
            How likely the teacher is to fall into a habit that a step sets off, on a question of one link.
        habit_growth (`float`, *optional*, defaults to `0.15`):
            What each further link adds to that.
        word_load (`float`, *optional*, defaults to `1.0`):
            How many links a spelled-out operator counts for.
        distractor_load (`float`, *optional*, defaults to `0.3`):
            How many links a distractor counts for.
        max_habit_rate (`float`, *optional*, defaults to `0.6`):
            Upper bound of the probability.
        slip_rate (`float`, *optional*, defaults to `0.01`):
            How likely a slip without a pattern is, at each step.
        max_mistakes (`int`, *optional*, defaults to `2`):
            Mistakes in one solution, at most.
    """

    # Of the recipe's key, and the `source` of all rows
    name: ClassVar[str] = "quickstart"

    seed: int = 0
    train_questions: int = 2000
    samples_per_question: int = 3
    rl_questions: int = 3200
    test_questions: int = 200
    max_steps: int = 4
    max_distractors: int = 2
    worded_share: float = 0.3
    habit_rate: float = 0.05
    habit_growth: float = 0.15
    word_load: float = 1.0
    distractor_load: float = 0.3
    max_habit_rate: float = 0.6
    slip_rate: float = 0.01
    max_mistakes: int = 2

    def validate(self) -> None:
        """Check the ranges; a value that cannot be used is a `UserError`."""
        for name in ("train_questions", "samples_per_question", "rl_questions", "test_questions"):
            if getattr(self, name) < 1:
                raise UserError(f"{self.name} data: {name} must be at least 1, found {getattr(self, name)}")
        for name in ("worded_share", "habit_rate", "max_habit_rate", "slip_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{self.name} data: {name} is a probability, found {getattr(self, name)}")
        if self.max_steps < 2:
            raise UserError(f"{self.name} data: max_steps must be at least 2, found {self.max_steps}")
        if self.max_distractors < 0:
            raise UserError(f"{self.name} data: max_distractors must be at least 0, found {self.max_distractors}")
        # The longest chain of a test set, of two links more, has to find its letters in the alphabet
        longest, links = len(ALPHABET) - 3, self.max_steps + self.max_distractors
        if links > longest:
            raise UserError(
                f"{self.name} data: max_steps and max_distractors are at most {longest} together, found {links}: "
                "there are no more letters to name the links"
            )

    def teacher(self) -> Teacher:
        return Teacher(**{field.name: getattr(self, field.name) for field in fields(Teacher)})

    def family(self) -> QuestionFamily:
        """The questions of the training data and of the in-domain test set."""
        return QuestionFamily(1, self.max_steps, 0, self.max_distractors, one_worded=self.worded_share)

    def test_families(self) -> dict[str, QuestionFamily]:
        """The test sets by name; all but the first are out of domain."""
        steps, distractors = self.max_steps, self.max_distractors
        return {
            IN_DOMAIN: self.family(),
            "longer_chains": QuestionFamily(steps + 1, steps + 1, 0, distractors),
            "more_distractors": QuestionFamily(1, steps, distractors + 1, distractors + 2),
            "all_words": QuestionFamily(2, steps, 0, distractors, all_worded=True),
            "product_runs": QuestionFamily(2, steps, 0, distractors, products="together"),
            "swapped_lines": QuestionFamily(2, steps, 0, distractors, swapped=True),
        }


def _row(question: Question, source: str) -> dict:
    return {"problem": question.text, "answer": question.answer, "kind": "math", "source": source}


def trajectories(questions: list[Question], config: QuickstartConfig) -> Iterator[dict]:
    """What the teacher answers to each question, with its mistakes."""
    teacher = config.teacher()
    rng = random.Random(f"{config.name}/{config.seed}/teacher")
    for question in questions:
        for _ in range(config.samples_per_question):
            attempt = teacher.answer(question, rng)
            yield {
                **_row(question, config.name),
                "completion": attempt.text,
                "model": "habitual-teacher",
                "pattern": attempt.mistakes[0] if attempt.mistakes else None,
                "patterns": list(attempt.mistakes),
            }


def write_data(config: QuickstartConfig, output_dir: str | os.PathLike) -> dict[str, int]:
    """Write the quickstart's data and say how many rows each file has.

    `trajectories.jsonl` holds what the teacher wrote, `questions.jsonl` the questions for reinforcement learning,
    `test_<name>.jsonl` the test sets (see [`QuickstartConfig.test_families`]). No question stands in two of them. The
    columns `pattern` and `patterns` name the first mistake that the teacher made, and all of them in order; they say
    nothing about the final answer, which only verification can judge.

    Args:
        config ([`QuickstartConfig`]): what to write.
        output_dir (`str` or `os.PathLike`): the folder; made where it is missing.

    Returns:
        `dict[str, int]`: rows by file name.

    Raises:
        UserError: a value of `config` cannot be used, or the folder cannot be written to.
    """
    config.validate()
    taken: set[str] = set()

    def draw(name: str, family: QuestionFamily, count: int) -> list[Question]:
        return list(family.distinct(random.Random(f"{config.name}/{config.seed}/{name}"), count, taken))

    # The test sets come first: whatever the sizes of the other files, the test questions of a seed stay the same.
    files: dict[str, list[dict]] = {}
    for name, family in config.test_families().items():
        files[f"test_{name}.jsonl"] = [
            _row(question, f"{config.name}/{name}") for question in draw(name, family, config.test_questions)
        ]
    questions = draw("train", config.family(), config.train_questions)
    files["trajectories.jsonl"] = list(trajectories(questions, config))
    files["questions.jsonl"] = [
        _row(question, config.name) for question in draw("rl", config.family(), config.rl_questions)
    ]
    return {name: write_jsonl(Path(output_dir) / name, rows) for name, rows in files.items()}
