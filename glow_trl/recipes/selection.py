"""Which checkpoint of stage 1 an arm's stage 2 starts from: what `select_start` says, and what follows from it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..analysis.readiness.chosen import read_pick
from ..analysis.readiness.config import KNOWN_MEASURES, is_measure, taken_from_grpo
from ..analysis.readiness.measures import COVERAGE
from ..errors import UserError
from ..stages.registry import TRAINING_STAGES


SELECT_START = "select_start"
LAST, READY = "last", "ready"
# What stage 1 saves where one of its epochs is selected
EPOCHS: dict[str, Any] = {"save_strategy": "epoch", "save_total_limit": None}
# What a run says of the starts itself, or has no use for
_TAKEN = ("generations", "only")
# How the recipe samples with checkpoints, and how stage 2 judges
_OF_EVALUATION = ("engine", "engine_options", "dtype", "trust_remote_code", "batch_size", "batch_tokens")
_OF_STAGE_TWO = ("on_bad_gold", "restated")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def check_select_start(value: Any, where: str) -> None:
    """Raise a `UserError` for what `select_start` cannot be."""
    if value not in (LAST, READY) and not (isinstance(value, str) and is_measure(value)):
        raise UserError(
            f"{where}: {SELECT_START} is {value!r}: it must be {LAST}, {READY}, or a measure: {KNOWN_MEASURES}"
        )


@dataclass(frozen=True)
class Selection:
    """
    The selection of an arm's start.

    Args:
        select_start (`str`): what selects; with `"last"` the start is measured, and stays what it is.
        stage_one (`Path`): folder of the arm's stage 1.
        folder (`Path`): folder of the step that measures.
    """

    select_start: str
    stage_one: Path
    folder: Path

    def check(self, said: Mapping[str, Mapping[str, Any]], where: str) -> None:
        """
        Raise a `UserError` where something that is `said` of stage 1 by the arm or on the command line, by the words
        that name it, contradicts that it keeps its epochs. What `sft.yaml` says holds for arms that select nothing.
        """
        for words, settings in said.items():
            for name, kept in self._kept.items():
                if settings.get(name, kept) != kept:
                    raise UserError(
                        f"{where} is {self.select_start}, so that stage 1 keeps all of its epochs, and {words}{name} "
                        f"is {settings[name]}: leave one out"
                    )

    @property
    def _kept(self) -> dict[str, Any]:
        return {} if self.select_start == LAST else EPOCHS

    def of_stage(self, stage: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What to set for a training stage: stage 1 keeps what is selected from, stage 2 is told what was found."""
        if stage == TRAINING_STAGES[0]:
            return self._kept
        model = settings.get("model_name_or_path")
        if model == str(self.stage_one):
            return {"readiness": str(self.folder)}
        if self.select_start == LAST:
            return {}
        raise UserError(
            f"{SELECT_START} is {self.select_start}, and model_name_or_path of {stage} is {model}: both say what it "
            "starts from; leave one out"
        )

    def settings(
        self,
        said: Mapping[str, Any],
        grpo: Mapping[str, Any],
        evaluation: Mapping[str, Any],
        initial_model: str | None,
    ) -> dict[str, Any]:
        """
        The settings of the step that measures: what the recipe has `said`, on the questions and with the sampling of
        the arm's own stage 2, by the engine of the evaluations. Which checkpoints these are is known once stage 1 is
        done.
        """
        for name in _TAKEN:
            if said.get(name):
                raise UserError(f"{name}: a run selects among the epochs of its own stage 1; leave it out here")
        settings = {name: grpo[name] for name in _OF_STAGE_TWO if name in grpo}
        if "engine" not in said and evaluation.get("engine") != "server":
            settings |= {name: evaluation[name] for name in _OF_EVALUATION if name in evaluation}
        settings |= said
        settings |= {"grpo": taken_from_grpo(grpo), "checkpoints": [str(self.stage_one)]}
        if self.select_start not in (LAST, READY):
            settings["rank_by"] = self.select_start
        if settings.get("rank_by") == COVERAGE and initial_model:
            settings = {"base": initial_model} | settings
        return settings | {"output_dir": str(self.folder)}

    def starts(self) -> dict[str, Any]:
        """The checkpoints to measure, once stage 1 is done."""
        return {} if self.select_start == LAST else {"checkpoints": epochs(self.stage_one)}

    def start(self) -> dict[str, Any]:
        """The model to start from, once it is selected."""
        return {} if self.select_start == LAST else {"model_name_or_path": read_pick(self.folder)}


def epochs(folder: Path) -> list[str]:
    """The checkpoints of a training, the first first; the last is its result."""
    found = ((match, path) for path in folder.iterdir() if (match := _CHECKPOINT.fullmatch(path.name)))
    checkpoints = [str(path) for _, path in sorted((int(match[1]), path) for match, path in found)]
    if not checkpoints:
        raise UserError(f"{folder} has no checkpoint-N any more, of which {SELECT_START} could select one")
    return checkpoints
