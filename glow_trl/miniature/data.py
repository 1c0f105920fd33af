"""The miniature's files: a mixture for pretraining, a teacher's trajectories, questions for RL, and the test sets."""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ..data.jsonl import write_jsonl
from ..errors import UserError
from ..quickstart.data import IN_DOMAIN, QuickstartConfig, trajectories
from ..quickstart.task import distinct, unseen
from .families import FAR, Family, Task, chains


@dataclass
class MiniatureConfig(QuickstartConfig):
    r"""
    What the miniature's data are made of. Its chains and their teacher are the quickstart's, and so is what is not
    listed here, see [`~glow_trl.quickstart.QuickstartConfig`].

    Args:
        train_questions (`int`, *optional*, defaults to `150`):
            Questions that the teacher answers: few.
        rl_questions (`int`, *optional*, defaults to `1000`):
            Further questions of the same family, without solutions, for reinforcement learning.
        test_questions (`int`, *optional*, defaults to `100`):
            Questions in each test set.
        pretraining_tasks (`int`, *optional*, defaults to `150000`):
            Solved tasks of all families, for the training before all stages.
        chain_share (`float`, *optional*, defaults to `0.35`):
            Share of the chains among them. Each other family has the same share of the rest.
        chain_slips (`float`, *optional*, defaults to `0.3`):
            How likely a slip is at each step of a chain in pretraining, which has no habits: so that the student is
            not sure of them. All other tasks are solved without mistakes.
    """

    name: ClassVar[str] = "miniature"

    train_questions: int = 150
    rl_questions: int = 1000
    test_questions: int = 100
    pretraining_tasks: int = 150000
    chain_share: float = 0.35
    chain_slips: float = 0.3

    def validate(self) -> None:
        super().validate()
        if self.pretraining_tasks < 1:
            raise UserError(f"miniature data: pretraining_tasks must be at least 1, found {self.pretraining_tasks}")
        for name in ("chain_share", "chain_slips"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"miniature data: {name} is a probability, found {getattr(self, name)}")

    def near(self) -> dict[str, Family]:
        """The chains by the name of their test set: those that are fine-tuned on, and others."""
        writer = replace(self.teacher(), habit_rate=0.0, habit_growth=0.0, slip_rate=self.chain_slips)
        families = {name: chains(questions, writer) for name, questions in self.test_families().items()}
        return families | {"in_prose": chains(self.family(), writer, in_prose=True)}


def _row(task: Task, source: str) -> dict[str, Any]:
    return {"problem": task.text, "answer": task.answer, "kind": task.kind, "source": source}


def _pretraining(config: MiniatureConfig, taken: set[str]) -> Iterator[dict[str, Any]]:
    """A task may come twice, but none that another file has, in whatever wording."""
    rng = random.Random(f"{config.name}/{config.seed}/pretraining")
    near, far = list(config.near().items()), list(FAR.items())
    for _ in range(config.pretraining_tasks):
        name, family = rng.choice(near if rng.random() < config.chain_share else far)
        task = unseen(family, lambda task: task.content, rng, taken)
        if task is None:
            raise UserError(f"{config.name} data: the other files leave no task of {name} for pretraining")
        yield {**_row(task, f"{config.name}/{name}"), "completion": task.solution}


def write_data(config: MiniatureConfig, output_dir: str | os.PathLike) -> dict[str, int]:
    """Write the miniature's data and say how many rows each file has.

    `pretraining.jsonl` holds solved tasks of all families; `trajectories.jsonl` what the quickstart's
    teacher wrote on few questions of one, chains; `questions.jsonl` other questions of that family, for reinforcement
    learning; `test_<name>.jsonl` the test sets: `in_domain` of that family, the others of [`MiniatureConfig.near`],
    and those of [`~glow_trl.miniature.families.FAR`]. What is asked in one of the files is asked in no other.

    Args:
        config ([`MiniatureConfig`]): what to write.
        output_dir (`str` or `os.PathLike`): the folder; made where it is missing.

    Returns:
        `dict[str, int]`: rows by file name.

    Raises:
        UserError: a value of `config` cannot be used, or the folder cannot be written to.
    """
    config.validate()
    taken: set[str] = set()

    def draw(name: str, family: Family, count: int) -> list[Task]:
        rng = random.Random(f"{config.name}/{config.seed}/{name}")
        return list(distinct(family, lambda task: task.content, rng, count, taken))

    # The test sets come first: whatever the sizes of the other files, the test questions of a seed stay the same.
    near = config.near()
    files: dict[str, list[dict[str, Any]]] = {}
    for name, family in (near | FAR).items():
        tasks = draw(name, family, config.test_questions)
        files[f"test_{name}.jsonl"] = [_row(task, f"{config.name}/{name}") for task in tasks]
    rng = random.Random(f"{config.name}/{config.seed}/train")
    questions = list(config.family().distinct(rng, config.train_questions, taken))
    files["trajectories.jsonl"] = list(trajectories(questions, config))
    tasks = draw("rl", near[IN_DOMAIN], config.rl_questions)
    files["questions.jsonl"] = [_row(task, config.name) for task in tasks]
    files["pretraining.jsonl"] = list(_pretraining(config, taken))
    return {name: write_jsonl(Path(output_dir) / name, rows) for name, rows in files.items()}
