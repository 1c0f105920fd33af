"""The questions for stage 2: which, and in which order."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...data.columns import QUESTION_COLUMNS, present
from ...data.loss_history import HISTORY_DIR, SAMPLES_FILE, LossHistory, recorded_epochs
from ...errors import UserError
from .config import MixConfig
from .facts import Facts
from .selection import Selection, remove_outside, validation_questions
from .text import mixed


@dataclass
class LedgerMeans:
    """
    Means over the trajectories of each question that stage 1 trained on, of shape `(q,)`, float64, NaN for a question
    without: the loss in the last epoch, in nats per token, and its fall since the epoch before, `gain`. So many
    `samples` of the ledger stand among the rows.
    """

    loss: np.ndarray
    gain: np.ndarray
    samples: int


def read_ledger(folder: str | Path, facts: Facts, sample_ids: Sequence[str]) -> LedgerMeans:
    """
    Read what `glow-trl sft` keeps of the losses (see [`glow_trl.data.loss_history`]); `sample_ids` are the rows' ids,
    as they were trained on.
    """
    folder = Path(folder)
    history, files = LossHistory.read(folder), recorded_epochs(folder)
    if history is None or not history.sample_ids:
        raise UserError(
            f"ledger: {folder} has no losses of epochs, or not a row in {SAMPLES_FILE} for each; name the folder "
            f"`{HISTORY_DIR}` in the output of `glow-trl sft`"
        )
    if history.epochs[-1] != max(files):
        raise UserError(f"ledger: {files[max(files)]}: cannot be read, or is of other samples than the rest")
    last = len(history.epochs) - 1
    row_of = {str(sample_id): row for row, sample_id in enumerate(sample_ids)}
    known = [(number, row_of[sample]) for number, sample in enumerate(history.sample_ids) if sample in row_of]
    if not known:
        raise UserError(
            f"ledger: none of the {len(history):,} samples in {folder / SAMPLES_FILE} stands among the rows; stage "
            "1 must have been trained on a mixture of the same trajectories"
        )
    numbers, rows = np.array(known).T
    question = facts.question[rows]
    return LedgerMeans(
        loss=_mean(history.losses[last][numbers], question, facts.num_questions),
        gain=_mean(history.gain(last)[numbers], question, facts.num_questions),
        samples=len(known),
    )


def _mean(values: np.ndarray, group: np.ndarray, size: int) -> np.ndarray:
    finite = np.isfinite(values)
    count = np.bincount(group[finite], minlength=size)
    total = np.bincount(group[finite], weights=values[finite], minlength=size)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


class PromptSet:
    """
    The questions for stage 2, gathered while the rows are read a second time.

    A question is left out when a benchmark has it, its rows give different gold answers, it is on the side of
    validation, its pass rate is outside of the bounds, or all or none of its rows are positive. The pass rate is that
    over all usable rows of the question, whatever else is filtered. `waterfall` has the reasons and the numbers of
    questions left out for each, in order.
    """

    def __init__(self, facts: Facts, config: MixConfig, ledger: LedgerMeans | None = None):
        self._facts = facts
        self._config = config
        self._ledger = ledger
        self._count, self._positive = facts.pass_rates()
        self.rate = self._positive / np.maximum(self._count, 1)
        selection = Selection(np.ones(facts.num_questions, dtype=bool))
        if config.decontaminate:
            selection.remove("benchmark contamination", facts.contaminated())
        selection.remove("gold answers that contradict each other", facts.contradictory)
        selection.remove("validation", validation_questions(facts, config.validation_split, config.seed))
        if config.prompts_never_solved == "drop":
            selection.remove("never solved", self._positive == 0)
        if config.prompts_always_solved == "drop":
            selection.remove("always solved", self._positive == self._count)
        remove_outside(selection, self.rate, config)
        self.waterfall = selection.waterfall
        self._wanted = selection.kept
        self._rows: dict[int, str] = {}

    def add(self, question: int, row: dict[str, Any]) -> None:
        """Take a question over from one of its rows, unless it is left out or there already."""
        if not self._wanted[question] or question in self._rows:
            return
        prompt = present(row, QUESTION_COLUMNS)
        prompt["sample_id"] = f"question-{int(self._facts.question_digest[question]):016x}"
        prompt |= {"n": int(self._count[question]), "n_correct": int(self._positive[question])}
        prompt["pass_rate"] = float(self.rate[question])
        if self._ledger is not None:
            for name in ("loss", "gain"):
                value = getattr(self._ledger, name)[question]
                prompt[f"sft_{name}"] = float(value) if np.isfinite(value) else None
        # As text a row takes a fraction of the memory
        self._rows[question] = json.dumps(prompt, ensure_ascii=False, default=str)

    def __len__(self) -> int:
        return len(self._rows)

    def ordered(self) -> list[dict[str, Any]]:
        """The questions in the order of the configuration; the random order decides between equal ones."""
        questions = np.fromiter(self._rows, dtype=np.int64, count=len(self._rows))
        keys = [mixed(self._facts.question_digest[questions], self._config.seed)]
        if self._config.prompt_order != "random":
            difficulty = self._difficulty()[questions]
            keys.append(difficulty if self._config.prompt_order == "easy_first" else -difficulty)
            # A question that the ledger does not know comes last in either order
            keys.append(np.isnan(difficulty))
        return [json.loads(self._rows[int(question)]) for question in questions[np.lexsort(keys)]]

    def _difficulty(self) -> np.ndarray:
        if self._ledger is None:
            return -self.rate
        return self._ledger.loss if self._config.ledger_measure == "loss" else -self._ledger.gain
