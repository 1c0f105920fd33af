"""The runs of a study: one for each arm, seed, model and recipe, and what they share."""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..recipes.pipeline import Pipeline
from ..recipes.recipe import PREPARE_DIR, Recipe
from ..recipes.run import find_accelerate_config
from ..stages.config import check_keys, command_types
from ..stages.files import read_json
from ..stages.record import jsonable, read_run
from ..stages.registry import DATA_STAGES
from ..stages.secrets import without_secrets
from ..stages.yaml_file import nearest
from .file import DOMAINS, Measure, StudyFile


LOGS = "logs"


@dataclass(frozen=True)
class Cell:
    """
    One run of the study.

    Args:
        name (`str`): its folder in `runs/` of the study.
        recipe (`Recipe`): what is run.
        model (`str` or `None`): the model it starts from, where that is not the recipe's.
        seed (`int`): its seed.
        arms (`tuple[str, ...]`): its arm; all of them for what makes the data that they share.
        makes_data (`bool`): whether it ends there.
        data (`Cell`, *optional*): the cell whose data it takes.
        output_dir (`Path`): the study's folder.
        study (`StudyFile`): the study.
    """

    name: str
    recipe: Recipe
    model: str | None
    seed: int
    arms: tuple[str, ...]
    makes_data: bool
    data: "Cell | None"
    output_dir: Path
    study: StudyFile

    @property
    def folder(self) -> Path:
        return self.output_dir / "runs" / self.name

    @property
    def log(self) -> Path:
        return self.output_dir / LOGS / f"{self.name}.log"

    @property
    def command(self) -> list[str]:
        """The command line of the run."""
        words = [sys.executable, "-m", "glow_trl", "run", str(self.recipe.folder.absolute())]
        words += ["--output_dir", str(self.folder), "--seed", str(self.seed), "--arms", *self.arms]
        words += ["--only_data", "true"] if self.makes_data else []
        words += [] if self.data is None else ["--data_from", str(self.data.folder)]
        words += [] if self.model is None else ["--model_name_or_path", self.model]
        if self.study.accelerate_config is not None:
            words += ["--accelerate_config", self.study.accelerate_config]
        for stage, settings in self.study.overrides.items():
            for key, value in settings.items():
                # As YAML, which reads `1e-05` as a text
                text = yaml.safe_dump([value], default_flow_style=True, width=sys.maxsize, allow_unicode=True)
                words += [f"--{stage}.{key}", text.strip()[1:-1]]
        return words

    @property
    def is_complete(self) -> bool:
        """Whether the run has ended well, with these arms and settings."""
        record = read_run(self.folder) or {}
        arms = {arm: without_secrets(jsonable(self.recipe.arms[arm])) for arm in self.arms}
        return (
            record.get("status") == "complete"
            and all((record.get("arms") or {}).get(arm) == settings for arm, settings in arms.items())
            and record.get("overrides") == jsonable(self.study.overrides)
        )

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(
            recipe=self.recipe,
            output_dir=self.folder,
            arms=list(self.arms),
            model_name_or_path=self.model,
            overrides=self.study.overrides,
            seed=self.seed,
            data_dir=None if self.data is None else self.data.folder,
            only_data=self.makes_data,
        )


@dataclass(frozen=True)
class Setting:
    """The cells of one recipe and model: `name` for people, what makes the data for each seed, and the arms' runs by
    arm and seed."""

    name: str
    data: dict[int, Cell]
    runs: dict[tuple[str, int], Cell]


def make_grid(study: StudyFile, output_dir: Path) -> list[Setting]:
    """
    The runs of a study, in its order. Raises `UserError` where a recipe is missing, has no such arm, or two would lie
    in one folder.
    """
    settings = []
    for name in study.recipes:
        recipe = Recipe(name)
        for arm in study.arms:
            if arm not in recipe.arms:
                close = nearest(arm, recipe.arms) or f"; there are {', '.join(recipe.arms)}"
                raise UserError(f"arms: {recipe.folder} has no arm {arm!r}{close}")
        models: list[str | None] = [*study.models] or [None]
        for model in models:
            place = recipe.name if model is None else f"{recipe.name}/{model.strip('/').replace('/', '--')}"
            data, runs = {}, {}
            for seed in study.seeds:
                shared: dict[str, Any] = {
                    "recipe": recipe,
                    "model": model,
                    "seed": seed,
                    "output_dir": output_dir,
                    "study": study,
                }
                cell = Cell(
                    f"{place}/seed-{seed}/{PREPARE_DIR}", arms=tuple(study.arms), makes_data=True, data=None, **shared
                )
                if _makes_anything(recipe, model):
                    data[seed] = cell
                for arm in study.arms:
                    source = data.get(seed)
                    runs[arm, seed] = Cell(
                        f"{place}/seed-{seed}/{arm}", arms=(arm,), makes_data=False, data=source, **shared
                    )
            settings.append(Setting(recipe.name if model is None else f"{recipe.name}, {model}", data, runs))
    names = [cell.name for setting in settings for cell in setting.runs.values()]
    if len(set(names)) < len(names):
        raise UserError("recipes: two of them, or of the models, have the same name, and would share folders")
    return settings


def unfinished(grid: list[Setting]) -> list[Cell]:
    """The runs that are not complete, and before them what makes their data, if that is not."""
    found = []
    for setting in grid:
        runs = [cell for cell in setting.runs.values() if not cell.is_complete]
        needed = {cell.data.name for cell in runs if cell.data is not None}
        found += [cell for cell in setting.data.values() if cell.name in needed and not cell.is_complete] + runs
    return found


def _makes_anything(recipe: Recipe, model: str | None) -> bool:
    makes_model = model is None and recipe.file.built_model is not None
    return bool(recipe.file.embedded) or makes_model or any(stage in recipe.stages for stage in DATA_STAGES)


def check_grid(study: StudyFile, grid: list[Setting]) -> None:
    """
    Build the configuration of all stages of the first seed's runs, and look for what the measures are about. Writes
    nothing. Raises `UserError` for what a run would refuse.
    """
    for setting in grid:
        seed = study.seeds[0]
        first = setting.runs[study.arms[0], seed]
        recipe = first.recipe
        for stage, settings in study.overrides.items():
            if stage not in recipe.stages:
                raise UserError(f"overrides: {recipe.folder} has no stage {stage!r}{nearest(stage, recipe.stages)}")
            check_keys(Path("overrides"), settings, command_types(stage), stage)
        # As the one run that all of them are together
        pipeline = setting.data.get(seed, first).pipeline
        pipeline.arms, pipeline.only_data = list(study.arms), False
        pipeline.accelerate_config = find_accelerate_config(study.accelerate_config)
        with _environment(recipe.file.env):
            pipeline.check()
            known = _benchmarks(pipeline)
        for name, measure in study.measures.items():
            with_stage = [arm for arm in study.arms if measure.stage in (None, *recipe.arm_stages(arm))]
            where = f"measures: {name}"
            if not with_stage:
                raise UserError(f"{where}: stage: no arm of {recipe.folder} has the stage {measure.stage}")
            if measure.is_evaluation:
                _check_benchmarks(measure, known, where, recipe)
            for claim in study.claims:
                for arm in (claim.arm, claim.versus):
                    if claim.measure == name and arm is not None and arm not in with_stage:
                        raise UserError(
                            f"claims: {claim.name!r}: the arm {arm!r} of {recipe.folder} has no {measure.stage}, "
                            f"which the measure {name!r} is of"
                        )


@contextlib.contextmanager
def _environment(variables: Mapping[str, Any]) -> Iterator[None]:
    """Environment variables that are set where they are not set already, for a block: recipes may have others."""
    added = {name: str(value) for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _benchmarks(pipeline: Pipeline) -> dict[str, str] | None:
    """Name to domain of what the runs evaluate; `None` if they do not evaluate."""
    from ..evaluation.config import EvalConfig

    step = next((step for step in pipeline.steps() if step.stage == "eval"), None)
    if step is None:
        return None
    names = {item.name for item in dataclasses.fields(EvalConfig)} & step.settings.keys()
    config = EvalConfig(**{name: step.settings[name] for name in names})
    return {item.name: "in" if config.is_in_domain(item) else "out" for item in config.resolve()}


def _check_benchmarks(measure: Measure, known: dict[str, str] | None, where: str, recipe: Recipe) -> None:
    if known is None:
        raise UserError(f"{where}: {recipe.folder} has no eval.yaml, so nothing is evaluated")
    for name in measure.benchmarks:
        if name in ("in", "out") and name not in known.values():
            raise UserError(f"{where}: benchmarks: no benchmark of {recipe.folder} is {name} of domain")
        if name not in known and name not in DOMAINS:
            close = nearest(name, known) or f"; there are in, out, all, {', '.join(known)}"
            raise UserError(f"{where}: benchmarks: there is no benchmark {name!r}{close}")


def estimated_seconds(grid: list[Setting]) -> dict[str, tuple[float | None, str]]:
    """
    What each run is likely to take, by the cell's name, and why: as long as those of its arm that are complete in this
    study; else as those of other arms; else as the mean arm of a run in `outputs/RECIPE`. `None` where there is none.
    """
    found: dict[str, tuple[float | None, str]] = {}
    for setting in grid:
        took: dict[str, list[float]] = {}
        cells = [*setting.data.values(), *setting.runs.values()]
        for cell in cells:
            if cell.is_complete:
                took.setdefault(_kind(cell), []).append(float((read_run(cell.folder) or {}).get("seconds") or 0))
        others = [seconds for kind, times in took.items() if kind != PREPARE_DIR for seconds in times]
        for cell in cells:
            if times := took.get(_kind(cell)):
                found[cell.name] = sum(times) / len(times), "runs of this study"
            elif others and not cell.makes_data:
                found[cell.name] = sum(others) / len(others), "other arms of this study"
            else:
                found[cell.name] = _elsewhere(cell)
    return found


def _kind(cell: Cell) -> str:
    return PREPARE_DIR if cell.makes_data else cell.arms[0]


def _elsewhere(cell: Cell) -> tuple[float | None, str]:
    folder = Path("outputs") / cell.recipe.name
    arms = (read_json(folder / "summary.json") or {}).get("arms") or {}
    times = [
        sum(float(stage.get(key) or 0) for stage in stages.values() for key in ("seconds", "evaluation_seconds"))
        for stages in arms.values()
    ]
    if cell.makes_data or cell.model is not None or not times:
        return None, "not known"
    return sum(times) / len(times), f"the run in {folder}"
