"""What a run left in its folder, read as far as it is there."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..data import MalformedLine, read_jsonl
from ..data.loss_history import HISTORY_DIR, LossHistory
from ..errors import UserError
from ..stages.files import read_json
from ..stages.record import read_run
from ..stages.registry import DATA_STAGES, RECIPE_STAGES
from .arm_styles import ArmStyle
from .inputs import ANALYSES, Inputs


STAGES = ("sft", "grpo")


@dataclass
class StageData:
    """One training stage of one arm (`run.json`, empty if there is none, and `log.jsonl`), with the evaluation that
    followed it (`results.json` and `run.json`)."""

    folder: Path
    run: dict[str, Any]
    log: list[dict[str, Any]]
    results: dict[str, Any] | None
    evaluation_folder: Path
    evaluation_run: dict[str, Any]

    def summary(self, benchmark: str) -> dict[str, Any]:
        """What the evaluation's results say of a benchmark; empty if nothing."""
        return (self.results or {}).get("benchmarks", {}).get(benchmark) or {}

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
class ArmData:
    """One arm of the run: the training stages that it has, the losses of its SFT stage, how it is drawn, and the
    settings that the run says it changes (`None` if it does not say)."""

    name: str
    stages: dict[str, StageData]
    ledger: LossHistory | None
    style: ArmStyle
    changes: dict[str, Any] | None


@dataclass
class RunData:
    """A run folder: the run's own `run.json`, that of each stage that belongs to no arm by the name of its folder, the
    arms that have any stage, in the order of the run's `run.json`, and what became of what the stages have read."""

    folder: Path
    recipe: str
    run: dict[str, Any]
    single_runs: dict[str, dict[str, Any]]
    inputs: Inputs
    arms: dict[str, ArmData] = field(default_factory=dict)

    @property
    def main_arm(self) -> ArmData | None:
        """The arm that the report speaks of where it shows one: the run's first."""
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

    def stage_results(
        self, stage: str, file: str = "results.json"
    ) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        """
        Results of the stages of a kind, `"annotate"`, `"loss"` or `"ready"`, that were run into folders of this one or
        of an arm, by the folder's name relative to the run's, with their `run.json` and the `file` of their results.
        """
        found = []
        for path in sorted([*self.folder.glob("*/run.json"), *self.folder.glob("*/*/run.json")]):
            record = read_run(path.parent) or {}
            results = read_json(path.parent / file) if record.get("stage") == stage else None
            if results is not None:
                found.append((path.parent.relative_to(self.folder).as_posix(), record, results))
        return found

    def records(self) -> list[tuple[str, Path, dict[str, Any]]]:
        """Name, folder and `run.json` of the run, of each stage, and of each evaluation, as far as they are there."""
        found = [("run", self.folder, self.run)]
        found += [(name, self.folder / name, record) for name, record in self.single_runs.items()]
        for name, arm in self.arms.items():
            for stage_name, stage in arm.stages.items():
                title = f"{name} / {stage_name}"
                found += [
                    (title, stage.folder, stage.run),
                    (f"{title} evaluation", stage.evaluation_folder, stage.evaluation_run),
                ]
        for path in sorted(self.folder.glob("*/*/run.json")):
            record = read_json(path) or {}
            if record.get("stage") in ANALYSES:
                found.append((path.parent.relative_to(self.folder).as_posix(), path.parent, record))
        return [item for item in found if item[2]]


def read_run_folder(folder: Path) -> RunData:
    """Read a run folder, whatever of it exists.

    Raises:
        UserError: there is no such folder, or it is no run's.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder")
    run = read_run(folder) or {}
    single_runs = _by_start({path.parent.name: path for path in folder.glob("*/run.json")})
    if run.get("stage", "run") != "run":
        raise UserError(
            f"{folder}: not a run folder: its run.json is that of a stage, {run['stage']}; give the folder of the run"
        )
    data = RunData(folder, _recipe_name(run, folder), run, single_runs, Inputs(folder))
    # A list of names, or a mapping to the settings that an arm changes
    listed = run.get("arms") or []
    places = [path for stage in STAGES for path in folder.glob(f"*/{stage}*") if path.name in (stage, f"{stage}_eval")]
    found = _by_start({path.parent.name: path / "run.json" for path in reversed(places)})
    for place, name in enumerate(dict.fromkeys([*map(str, listed), *found])):
        stages = {stage: _read_stage(folder / name, stage) for stage in STAGES if _exists(folder / name, stage)}
        if stages:
            changes = (listed[name] or {}) if isinstance(listed, dict) and name in listed else None
            ledger = LossHistory.read(folder / name / "sft" / HISTORY_DIR)
            data.arms[name] = ArmData(name, stages, ledger, ArmStyle.at(place), changes)
    if not data.arms and not run:
        _refuse_other_folders(folder, single_runs)
    return data


def _refuse_other_folders(folder: Path, stages: dict[str, dict[str, Any]]) -> None:
    """Refuse a folder without a run and arms: one of whole runs, an arm's, and one without data or analyses."""
    runs = [name for name, record in stages.items() if record.get("stage") == "run"]
    if runs:
        raise UserError(f"{folder}: not a run folder: runs lie in it, {', '.join(runs[:5])}; give the folder of one")
    training = [name for name in stages if name in STAGES]
    if training:
        raise UserError(
            f"{folder}: not a run folder: it is that of an arm, with {' and '.join(training)}; give the folder that "
            "it lies in"
        )
    if not any(record.get("stage") in (*DATA_STAGES, *ANALYSES) for record in stages.values()):
        raise UserError(f"{folder}: not a run folder: it has neither the run.json of a run nor arms or data of one")


def _by_start(paths: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """The run records at the paths, by the same names, in the order of their starts; in a recipe's within a second."""
    records = [(name, read_run(path.parent) or {}) for name, path in paths.items()]
    places = {name: place for place, name in enumerate(RECIPE_STAGES, start=1)}
    return dict(sorted(records, key=lambda item: (str(item[1].get("started") or ""), places.get(item[0], 0), item[0])))


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
    """Whether an arm has a stage: a folder with anything that the stage or its evaluation writes."""
    written = ("run.json", "log.jsonl", HISTORY_DIR), ("run.json", "results.json")
    places = zip((folder / stage, folder / f"{stage}_eval"), written, strict=True)
    return any((place / name).exists() for place, names in places for name in names)


def _read_stage(folder: Path, stage: str) -> StageData:
    evaluation = folder / f"{stage}_eval"
    return StageData(
        folder=folder / stage,
        run=read_run(folder / stage) or {},
        log=list(rows_of(folder / stage / "log.jsonl")),
        results=read_json(evaluation / "results.json"),
        evaluation_folder=evaluation,
        evaluation_run=read_run(evaluation) or {},
    )
