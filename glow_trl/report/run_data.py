"""What a run left in its folder, read as far as it is there."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..data import MalformedLine, read_jsonl
from ..errors import UserError


ARMS = ("glow", "positive", "negative", "all")
STAGES = ("sft", "grpo")


@dataclass
class StageData:
    """One training stage of one arm, with the evaluation that followed it.

    Args:
        folder (`Path`): the stage's folder.
        run (`dict`): its `run.json`, empty if there is none.
        log (`list[dict]`): its `log.jsonl`.
        results (`dict` or `None`): `results.json` of its evaluation.
        evaluation_folder (`Path`): the evaluation's folder.
        evaluation_run (`dict`): the evaluation's `run.json`.
    """

    folder: Path
    run: dict[str, Any]
    log: list[dict[str, Any]]
    results: dict[str, Any] | None
    evaluation_folder: Path
    evaluation_run: dict[str, Any]

    def series(self, *names: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values of the first of the named metrics that was logged."""
        for name in names:
            points = [
                (row["step"], row[name])
                for row in self.log
                if isinstance(row.get(name), int | float) and isinstance(row.get("step"), int | float)
            ]
            if points:
                steps, values = zip(*points, strict=True)
                return np.array(steps, dtype=float), np.array(values, dtype=float)
        return np.empty(0), np.empty(0)


@dataclass
class LedgerData:
    """The loss of every sample in every epoch.

    Args:
        epochs (`list[int]`): numbers of the epochs that were recorded.
        losses (`np.ndarray`): of shape `(epochs, samples)`; NaN where a sample was not visited.
        is_correct (`np.ndarray`): per sample 1 (positive), 0 (negative) or -1 (unknown).
    """

    epochs: list[int]
    losses: np.ndarray
    is_correct: np.ndarray

    def gains(self) -> list[tuple[int, np.ndarray]]:
        """For each epoch that follows a recorded one, its number and every sample's gain."""
        return [
            (epoch, self.losses[row - 1] - self.losses[row])
            for row, epoch in enumerate(self.epochs)
            if row > 0 and epoch == self.epochs[row - 1] + 1
        ]


@dataclass
class ArmData:
    """One arm of the comparison."""

    name: str
    stages: dict[str, StageData]
    ledger: LedgerData | None


@dataclass
class RunData:
    """A run folder.

    Args:
        folder (`Path`): the folder.
        recipe (`str`): name of the recipe.
        run (`dict`): the run's own `run.json`.
        label_run (`dict`): `run.json` of the labelling stage.
        arms (`dict[str, ArmData]`): the arms that have any stage, in the order of `ARMS`.
    """

    folder: Path
    recipe: str
    run: dict[str, Any]
    label_run: dict[str, Any]
    arms: dict[str, ArmData] = field(default_factory=dict)

    @property
    def main_arm(self) -> ArmData | None:
        """The arm that the report speaks of where it shows one: GLOW if it was trained."""
        return next(iter(self.arms.values()), None)

    @property
    def benchmarks(self) -> dict[str, str]:
        """Every benchmark that was evaluated and its domain, in-domain first."""
        domains: dict[str, str] = {}
        for arm in self.arms.values():
            for stage in arm.stages.values():
                for name, row in (stage.results or {}).get("benchmarks", {}).items():
                    domains.setdefault(name, row.get("domain", "in"))
        return dict(sorted(domains.items(), key=lambda item: item[1] != "in"))

    def trajectories(self) -> Iterator[dict[str, Any]]:
        """The labelled trajectories that the run trained on."""
        return rows_of(self.folder / "label" / "trajectories.jsonl")


def read_run_folder(folder: Path) -> RunData:
    """Read a run folder, whatever of it exists.

    Raises:
        UserError: there is no such folder, or nothing in it that a run writes.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder")
    run = read_json(folder / "run.json") or {}
    data = RunData(folder, _recipe_name(run, folder), run, read_json(folder / "label" / "run.json") or {})
    for name in ARMS:
        stages = {stage: _read_stage(folder / name, stage) for stage in STAGES if _exists(folder / name, stage)}
        if stages:
            data.arms[name] = ArmData(name, stages, _read_ledger(folder / name / "sft" / "ledger"))
    if not data.arms and not run and not data.label_run:
        raise UserError(f"{folder}: not a run folder (it has neither run.json nor any stage's output)")
    return data


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; `None` if there is no such file or it was cut off."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSONL file that may be missing or still be written to."""
    if path.is_file():
        for _, row in read_jsonl(path, on_malformed=_ignore):
            yield row


def _ignore(line: MalformedLine) -> None:
    """A run that was killed leaves a last line without an end."""


def _recipe_name(run: dict[str, Any], folder: Path) -> str:
    recipe = run.get("recipe") or (run.get("config") or {}).get("recipe")
    return Path(str(recipe)).name if recipe else folder.resolve().name


def _exists(folder: Path, stage: str) -> bool:
    return (folder / stage).is_dir() or (folder / f"{stage}_eval").is_dir()


def _read_stage(folder: Path, stage: str) -> StageData:
    evaluation = folder / f"{stage}_eval"
    return StageData(
        folder=folder / stage,
        run=read_json(folder / stage / "run.json") or {},
        log=list(rows_of(folder / stage / "log.jsonl")),
        results=read_json(evaluation / "results.json"),
        evaluation_folder=evaluation,
        evaluation_run=read_json(evaluation / "run.json") or {},
    )


def _read_ledger(folder: Path) -> LedgerData | None:
    files = sorted(folder.glob("epoch-*.npy"), key=lambda path: int(path.stem.removeprefix("epoch-")))
    if not files:
        return None
    losses = np.stack([np.load(path).astype(np.float64) for path in files])
    labels = [row.get("is_correct") for row in rows_of(folder / "samples.jsonl")]
    is_correct = np.full(losses.shape[1], -1)
    for position, label in enumerate(labels[: losses.shape[1]]):
        if label is not None:
            is_correct[position] = int(label)
    return LedgerData([int(path.stem.removeprefix("epoch-")) for path in files], losses, is_correct)
