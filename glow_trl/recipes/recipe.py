"""Recipes: a folder of YAML files, one a stage, and what they resolve to for a run."""

import dataclasses
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..stages.config import check_keys, command_types, naming
from ..stages.files import atomic_file
from ..stages.recipe_file import RECIPE_FILE, lineage, read_recipe_file, rebase, replace, resolve_stage_file, shipped
from ..stages.registry import COMMANDS, DATA_STAGES, RECIPE_STAGES, TRAINING_STAGES
from ..stages.values import typed
from ..stages.yaml_file import nearest
from .selection import LAST, SELECT_START, check_select_start


# The arms of a recipe that names none: GLOW, and the initializations that the paper compares it with
DEFAULT_ARMS: dict[str, dict[str, Any]] = {
    "glow": {},
    "positive": {"trajectories": "positive", "weighting": "uniform"},
    "negative": {"trajectories": "negative", "weighting": "uniform"},
    "all": {"trajectories": "all", "weighting": "uniform"},
}

# What a run, or a command on it, writes beside the folders of its arms
PREPARE_DIR = "prepare"
BUILT_MODEL, TRAINED_MODEL = "model", "trained_model"
# What an arm lists its stages under
_STAGES = "stages"
_READY = "ready"
_TAKEN = {*COMMANDS, PREPARE_DIR, "annotation", "run.json", "summary.json", "report.html"}


class Recipe:
    """
    A recipe's folder, read and checked.

    Args:
        folder (`str` or `Path`): the folder, or the name of a recipe that is shipped.

    Attributes:
        name (`str`): the folder's name.
        file ([`~glow_trl.stages.recipe_file.RecipeFile`]): the content of `recipe.yaml`.
        stages (`list[str]`): the stages that the recipe, or its base, has a file for, in the order in which they run.
        arms (`dict[str, dict]`): for each arm what it changes.
        compared (`list[str]`): the arms that `--compare` trains.

    Raises:
        UserError: the folder is missing, `recipe.yaml` is malformed, or an arm cannot be named so.
    """

    def __init__(self, folder: str | Path):
        self.folder = _find(Path(folder))
        self.name = self.folder.resolve().name
        folders = lineage(self.folder)
        self._files = [stage for stage in RECIPE_STAGES if any((f / f"{stage}.yaml").is_file() for f in folders)]
        self.stages = list(self._files)
        if "sft" not in self.stages:
            raise UserError(f"{self.folder} has no sft.yaml, so it is not a recipe{_similar(self.folder)}")
        self.file = read_recipe_file(self.folder)
        self.arms = self.file.arms or DEFAULT_ARMS
        where = self.folder / RECIPE_FILE
        for stage, settings in self.file.built_model_settings.items():
            if stage not in RECIPE_STAGES:
                raise UserError(
                    f"{where}: built_model_settings: unknown name {stage!r}{nearest(str(stage), RECIPE_STAGES)}"
                )
            _check_mapping(settings, f"{where}: built_model_settings: {stage}")
        for arm, settings in self.arms.items():
            if not isinstance(arm, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", arm) or arm in _TAKEN:
                raise UserError(
                    f"{where}: arms: {arm!r} cannot be the name of an arm: take letters, digits, '_', '-' and '.', "
                    "and nothing that a run has another use for"
                )
            _check_mapping(settings, f"{where}: arms: {arm}")
            for stage in TRAINING_STAGES[1:]:
                _check_mapping(settings.get(stage, {}), f"{where}: arms: {arm}: {stage}")
            self._check_stages(arm, f"{where}: arms: {arm}")
        self._check_selection(where)
        self.compared = self.file.compare or list(self.arms)
        for arm in self.compared:
            if not isinstance(arm, str) or arm not in self.arms:
                raise UserError(f"{where}: compare: there is no arm {arm!r}{nearest(str(arm), self.arms)}")

    def _check_stages(self, arm: str, where: str) -> None:
        """Check the stages that an arm lists: there is one at least, and nothing is set for one that it leaves out."""
        if _STAGES not in self.arms[arm]:
            return
        listed = self.arms[arm][_STAGES]
        if not isinstance(listed, list) or not listed:
            raise UserError(f"{where}: {_STAGES} must list training stages: {', '.join(TRAINING_STAGES)}")
        for stage in listed:
            if stage not in TRAINING_STAGES:
                raise UserError(f"{where}: {_STAGES}: unknown stage {stage!r}{nearest(str(stage), TRAINING_STAGES)}")
            if stage not in self.stages:
                raise UserError(f"{where}: {_STAGES}: the recipe has no {stage}.yaml")
        for stage in TRAINING_STAGES:
            if stage not in self.arm_stages(arm) and (unused := self.arm_settings(arm, stage)):
                raise UserError(
                    f"{where}: {', '.join(map(str, unused))}: a setting of {stage}, which {_STAGES} leaves out"
                )

    def arm_stages(self, arm: str) -> list[str]:
        """The training stages of an arm, in order: those that its `stages` lists, else all that the recipe has."""
        return [stage for stage in TRAINING_STAGES if stage in self.arms[arm].get(_STAGES, self.stages)]

    def _check_selection(self, where: Path) -> None:
        """Check `select_start` of the recipe and of its arms, and take in the stage that it needs."""
        said = {str(where): (self.file.select_start, self._files)}
        said |= {
            f"{where}: arms: {arm}": (self.arms[arm].get(SELECT_START), self.arm_stages(arm)) for arm in self.arms
        }
        for place, (value, stages) in said.items():
            if value is None:
                continue
            check_select_start(value, place)
            if value != LAST and (missing := [stage for stage in TRAINING_STAGES if stage not in stages]):
                raise UserError(f"{place}: {SELECT_START} is {value}, and there is no stage {missing[0]} here")
        if _READY not in self.stages and any(self.select_start(arm) != LAST for arm in self.arms):
            self.stages.append(_READY)

    def select_start(self, arm: str) -> str:
        """What selects the checkpoint of stage 1 that stage 2 of an arm starts from."""
        for_all = self.file.select_start if self._has_both(arm) else None
        return self.arms[arm].get(SELECT_START) or for_all or LAST

    def measures_start(self, arm: str) -> bool:
        """Whether an arm's start is measured before stage 2: where one is selected, and with a `ready.yaml`."""
        return self.select_start(arm) != LAST or (_READY in self._files and self._has_both(arm))

    def _has_both(self, arm: str) -> bool:
        return self.arm_stages(arm) == list(TRAINING_STAGES)

    def path(self, stage: str) -> Path:
        """The file of a stage; it may be a base's alone."""
        return self.folder / f"{stage}.yaml"

    def check_keys(self) -> None:
        """
        Check the keys of all stage files and of what replaces them against the stages' dataclasses. Raises `UserError`
        for an unknown one.
        """
        where = self.folder / RECIPE_FILE
        for stage in self.stages:
            types = command_types(stage)
            settings = self._read(stage)
            settings.pop("env", None)
            check_keys(self.path(stage), settings, types, stage)
            overrides = self.file.built_model_settings.get(stage, {})
            check_keys(where, overrides, types, f"built_model_settings, {stage}")
            if stage == "sft":
                check_keys(where, self.file.built_model_training or {}, types, "built_model_training")
            for arm in self.arms:
                check_keys(where, self.arm_settings(arm, stage), types, f"arms, {arm}, {stage}")

    def settings(
        self, stage: str, output_dir: Path, built_model: bool, data_dir: Path | None = None
    ) -> dict[str, Any]:
        """
        The settings of a stage for a run. Its `output_dir` takes the place of `outputs/NAME` in the recipe's paths, in
        those of what is made before all training that of the run that made it, `data_dir`; `built_model` is whether it
        uses the model that the recipe builds.
        """
        settings = self._read(stage)
        if built_model:
            settings = replace(settings, self.file.built_model_settings.get(stage, {}))
        return self._placed(settings, output_dir, data_dir)

    def model_training(self, output_dir: Path) -> dict[str, Any] | None:
        """The settings with which the built model is trained before all stages; `None` where it is not."""
        if self.file.built_model_training is None:
            return None
        folder = output_dir / PREPARE_DIR
        files = {"model_name_or_path": str(folder / BUILT_MODEL), "output_dir": str(folder / TRAINED_MODEL)}
        own = self._placed(self.file.built_model_training, output_dir, None)
        return replace(self.settings("sft", output_dir, built_model=True), own) | files

    def arm_settings(
        self, arm: str, stage: str, output_dir: Path | None = None, data_dir: Path | None = None
    ) -> dict[str, Any]:
        """
        What an arm changes in a stage: `grpo` in it is for that stage, all else but `stages` and `select_start` for
        SFT. In a run its `output_dir` and `data_dir` take the place of `outputs/NAME` here, too.
        """
        changes = self.arms[arm]
        if output_dir is not None:
            changes = self._placed(changes, output_dir, data_dir)
        if stage == TRAINING_STAGES[0]:
            others = (_STAGES, SELECT_START, *TRAINING_STAGES[1:])
            return {key: value for key, value in changes.items() if key not in others}
        return dict(changes.get(stage, {})) if stage in TRAINING_STAGES else {}

    def _placed(self, settings: Any, output_dir: Path, data_dir: Path | None) -> Any:
        root = f"outputs/{self.name}"
        if data_dir is not None:
            # Absolute, and so not placed again below
            for part in (PREPARE_DIR, *DATA_STAGES):
                settings = rebase(settings, f"{root}/{part}", str(data_dir.absolute() / part))
        return rebase(settings, root, str(output_dir))

    def _read(self, stage: str) -> dict[str, Any]:
        if stage not in self._files:
            # What selects a start goes without a file
            return {} if self.file.seed is None else {"seed": self.file.seed}
        return resolve_stage_file(self.path(stage), known_settings(stage))


def known_settings(stage: str) -> set[str]:
    """Names of the settings that a stage knows."""
    return {item.name for cls in command_types(stage) for item in dataclasses.fields(cls) if item.init}


def _find(folder: Path) -> Path:
    places = (folder, Path("recipes") / folder, shipped() / folder, shipped() / "recipes" / folder)
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise UserError(f"{folder}: there is no such recipe folder{_similar(folder)}")
    return found


def _similar(folder: Path) -> str:
    places = {folder.resolve().parent, shipped() / "recipes"}
    names = {path.parent.name for place in places for path in place.glob("*/sft.yaml")}
    return nearest(folder.name, names) or (f"; there are {', '.join(sorted(names))}" if names else "")


def _check_mapping(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise UserError(f"{where} must be a mapping, found {type(value).__name__}")


def build(cls: type, settings: Mapping[str, Any], where: str) -> Any:
    """A dataclass from settings. Raises `UserError` for an unknown key (the nearest is named) or an unusable value."""
    known = {item.name for item in dataclasses.fields(cls)}
    for key in settings:
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}{nearest(str(key), known)}")
    hints = typing.get_type_hints(cls)
    try:
        with naming(where):
            return cls(**{name: typed(name, value, hints[name], parsed=False) for name, value in settings.items()})
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {error}") from error


def write_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Write the resolved settings of a stage, as a configuration file that the stage can be run with by hand."""
    with atomic_file(path) as file:
        file.write(yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True))
