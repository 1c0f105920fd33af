"""What the runs of a study say of its measures, seed by seed and question by question."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..evaluation.paired import Evaluation
from ..report.run_data import ArmData, StageData, read_run_folder
from ..stages.files import read_json
from ..statistics.estimates import pass_at_k
from ..statistics.seeds import Part
from .file import LOSSES, Measure


# Of a benchmark: by question, a figure and its weight
Answers = dict[Hashable, tuple[float, float]]
# Of a measure: by benchmark; a figure that is one number of the run is the answer to one question
Observed = dict[str, Answers]

_ONE: Hashable = ""


@dataclass
class RunResults:
    """One run of an arm, read once; each file of generations, too."""

    folder: Path
    arm: str
    _data: ArmData | None = field(init=False)
    _evaluations: dict[str, Evaluation] = field(init=False, default_factory=dict)

    def __post_init__(self):
        self._data = None
        if (self.folder / self.arm).is_dir():
            self._data = read_run_folder(self.folder).arms.get(self.arm)

    def benchmarks(self, stage_name: str) -> dict[str, str]:
        """The benchmarks that were evaluated after a stage, and their domains."""
        stage = self._stage(stage_name)
        rows = {} if stage is None or stage.results is None else stage.results["benchmarks"]
        return {name: row.get("domain", "in") for name, row in rows.items()}

    def observe(self, measure: Measure) -> Observed | None:
        """What the run says of a measure; `None` where it has not come so far, or does not have it."""
        if measure.file is not None:
            value = _number(self.folder / measure.file.replace("{arm}", self.arm), str(measure.key))
            return None if value is None else _single(value)
        stage = self._stage(measure.stage)
        if stage is None:
            return None
        if measure.curve is not None:
            values = self.curve(str(measure.stage), measure.curve)[1]
            return _single(_taken(np.asarray(values), measure.take)) if len(values) else None
        if stage.results is None:
            return None
        if measure.stage not in self._evaluations:
            self._evaluations[str(measure.stage)] = Evaluation(stage.evaluation_folder, stage.results)
        evaluation = self._evaluations[str(measure.stage)]
        found = {
            name: _answers(evaluation, name, measure)
            for name, domain in self.benchmarks(str(measure.stage)).items()
            if {"all", name, domain} & set(measure.benchmarks)
        }
        return found if found and all(found.values()) else None

    def curve(self, stage_name: str, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps (epochs, for losses by label) and values of a curve; empty where there is none that is whole."""
        stage = self._stage(stage_name)
        if stage is None or self._data is None or stage.run.get("status") != "complete":
            return np.empty(0), np.empty(0)
        if name not in LOSSES:
            return stage.series(name)
        ledger = self._data.ledger
        if ledger is None:
            return np.empty(0), np.empty(0)
        losses = ledger.losses[:, ledger.is_correct == (1 if name == "loss_positive" else 0)]
        visited = ~np.isnan(losses).all(axis=1) if losses.size else np.zeros(len(losses), dtype=bool)
        return np.array(ledger.epochs, dtype=float)[visited], np.array([np.nanmean(row) for row in losses[visited]])

    def _stage(self, name: str | None) -> StageData | None:
        return None if self._data is None else self._data.stages.get(str(name))


def parts(runs: list[Observed], others: list[Observed] | None = None) -> tuple[list[Part], list[Part]] | None:
    """
    The observations of runs, one a seed, as [`~glow_trl.statistics.seeds.mean_over_seeds`] takes them; and those of
    others, of the same seeds, with the same questions in the same places. `None` where there is no common benchmark,
    or no question of one for some seed.
    """
    every = [*runs, *(others or [])]
    names = [name for name in every[0] if all(name in run for run in every)] if every else []
    found: tuple[list[Part], list[Part]] = ([], [])
    for name in names:
        columns: dict[Hashable, int] = {}
        for run in every:
            for key in run[name]:
                columns.setdefault(key, len(columns))
        for side, chosen in zip(found, (runs, others or []), strict=True):
            values = np.full((len(chosen), len(columns)), np.nan)
            weights = np.ones_like(values)
            for row, run in enumerate(chosen):
                for key, (value, weight) in run[name].items():
                    values[row, columns[key]], weights[row, columns[key]] = value, weight
            side.append((values, weights))
        if others is not None and not all(
            run[name].keys() & other[name].keys() for run, other in zip(runs, others, strict=True)
        ):
            return None
    return found if names else None


def _answers(evaluation: Evaluation, benchmark: str, measure: Measure) -> Answers:
    """A metric for each question of a benchmark. A question is known by its text, among equal ones by their order."""
    try:
        questions = evaluation.questions(benchmark)
    except UserError:
        return {}
    entropies: Mapping[Hashable, tuple[float, int]] = {}
    if measure.metric == "entropy":
        entropies = evaluation.entropies(benchmark)
    found: Answers = {}
    seen: dict[Hashable, int] = {}
    for question in questions:
        seen[question.text] = seen.get(question.text, 0) + 1
        key = (question.text, seen[question.text])
        if measure.k is not None:
            if question.judged >= measure.k:
                drawn, right = np.array([question.judged]), np.array([question.correct])
                found[key] = float(pass_at_k(drawn, right, measure.k)[0]), 1.0
        elif measure.metric == "entropy":
            if question.index in entropies and entropies[question.index][1]:
                total, tokens = entropies[question.index]
                found[key] = total / tokens, float(tokens)
        else:
            name = "tokens" if measure.metric == "response_length" else measure.metric
            found[key] = getattr(question, name) / question.samples, 1.0
    return found


def _taken(values: np.ndarray, take: str) -> float:
    if take in ("mean", "min", "max"):
        return float(getattr(np, take)(values))
    if take == "drop":
        return float(values[0] - values[-1])
    if take == "rise":
        return float((values - np.minimum.accumulate(values)).max())
    return float(values[0 if take == "first" else -1])


def _single(value: float) -> Observed | None:
    return {"": {_ONE: (value, 1.0)}} if np.isfinite(value) else None


def _number(path: Path, key: str) -> float | None:
    value = read_json(path)
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
