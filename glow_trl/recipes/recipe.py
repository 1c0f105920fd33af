"""Recipes: a folder of YAML files, one a stage, and what they resolve to for a run."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..stages.config import check_keys, command_types, nearest, read_yaml
from ..stages.files import atomic_file
from ..stages.registry import RECIPE_STAGES


# The initializations that `--compare` trains: what each changes in the SFT stage
ARMS: dict[str, dict[str, Any]] = {
    "glow": {},
    "positive": {"trajectories": "positive", "weighting": "uniform"},
    "negative": {"trajectories": "negative", "weighting": "uniform"},
    "all": {"trajectories": "all", "weighting": "uniform"},
}


@dataclass
class RecipeFile:
    r"""
    The file `recipe.yaml`: what the recipe makes on the spot, and how its arms differ. Every key may be left out.

    Parameters:
        description (`str`, *optional*):
            What the recipe is for.
        quickstart (`dict`, *optional*):
            Parameters of the embedded task's data, see [`~glow_trl.quickstart.QuickstartConfig`]; `{}` for the
            defaults. Without it the recipe makes no data.
        built_model (`dict`, *optional*):
            Sizes of a small model, see [`~glow_trl.recipes.built_model.BuiltModelConfig`], that is built and used
            unless `--model_name_or_path` names another.
        built_model_settings (`dict[str, dict]`, *optional*):
            Stage to the settings that replace those of the stage's file while the built model is used.
        arms (`dict[str, dict]`, *optional*):
            Arm to the settings of the SFT stage that it changes beyond its data and its weighting.
        env (`dict[str, str]`, *optional*):
            Environment variables to set where they are not set already.
    """

    description: str = ""
    quickstart: dict[str, Any] | None = None
    built_model: dict[str, Any] | None = None
    built_model_settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    arms: dict[str, dict[str, Any]] = field(default_factory=dict)
    env: dict[str, Any] = field(default_factory=dict)


class Recipe:
    """
    A recipe's folder, read and checked.

    Args:
        folder (`str` or `Path`): the folder.

    Attributes:
        name (`str`): the folder's name.
        file ([`RecipeFile`]): the content of `recipe.yaml`.
        stages (`list[str]`): the stages that the recipe has a file for, in the order in which they run.

    Raises:
        UserError: the folder or a stage's file is missing or malformed, or has an unknown key.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UserError(f"{self.folder}: there is no such recipe folder{self._similar()}")
        self.name = self.folder.resolve().name
        self.stages = [stage for stage in RECIPE_STAGES if self.path(stage).is_file()]
        if "sft" not in self.stages:
            raise UserError(f"{self.folder} has no sft.yaml, so it is not a recipe{self._similar()}")
        self._settings = {stage: read_yaml(self.path(stage)) for stage in self.stages}
        self.file = self._read_recipe_file()

    def path(self, stage: str) -> Path:
        """The file of a stage."""
        return self.folder / f"{stage}.yaml"

    def check_keys(self) -> None:
        """
        Check the keys of all stage files against the stages' dataclasses.

        Raises:
            UserError: a key is unknown; the nearest known one is named.
        """
        for stage in self.stages:
            types = command_types(stage)
            check_keys(self.path(stage), self._settings[stage], types, stage)
            overrides = self.file.built_model_settings.get(stage, {})
            check_keys(self.folder / "recipe.yaml", overrides, types, f"built_model_settings, {stage}")
        for arm in self.file.arms.values():
            check_keys(self.folder / "recipe.yaml", arm, command_types("sft"), "arms, sft")

    def settings(self, stage: str, output_dir: Path, built_model: bool) -> dict[str, Any]:
        """
        The settings of a stage for a run.

        Args:
            stage (`str`): the stage.
            output_dir (`Path`): folder of the run. It takes the place of `outputs/NAME` in the recipe's paths.
            built_model (`bool`): whether the run uses the model that the recipe builds.
        """
        settings = dict(self._settings[stage])
        if built_model:
            settings |= self.file.built_model_settings.get(stage, {})
        return self._rebase(settings, str(output_dir))

    def _rebase(self, value: Any, output_dir: str) -> Any:
        if isinstance(value, str):
            root = f"outputs/{self.name}"
            return output_dir + value.removeprefix(root) if value == root or value.startswith(root + "/") else value
        if isinstance(value, Mapping):
            return {key: self._rebase(item, output_dir) for key, item in value.items()}
        if isinstance(value, list):
            return [self._rebase(item, output_dir) for item in value]
        return value

    def _read_recipe_file(self) -> RecipeFile:
        path = self.folder / "recipe.yaml"
        if not path.is_file():
            return RecipeFile()
        content = read_yaml(path)
        check_keys(path, content, [RecipeFile], "recipe.yaml")
        for key in ("quickstart", "built_model", "built_model_settings", "arms", "env"):
            if content.get(key) is not None and not isinstance(content[key], dict):
                raise UserError(f"{path}: {key} must be a mapping, found {type(content[key]).__name__}")
        file = RecipeFile(**{key: value for key, value in content.items() if value is not None})
        for key, known in (("built_model_settings", set(RECIPE_STAGES)), ("arms", set(ARMS))):
            for name, settings in getattr(file, key).items():
                if name not in known:
                    raise UserError(f"{path}: {key}: unknown name {name!r}{nearest(str(name), known)}")
                if not isinstance(settings, dict):
                    raise UserError(f"{path}: {key}: {name} must be a mapping")
        return file

    def _similar(self) -> str:
        parent = self.folder.resolve().parent
        names = (
            {path.name for path in parent.glob("*/") if (path / "sft.yaml").is_file()} if parent.is_dir() else set()
        )
        return nearest(self.folder.name, names) or (f"; there are {', '.join(sorted(names))}" if names else "")


def build(cls: type, settings: Mapping[str, Any], where: str) -> Any:
    """
    A dataclass from settings.

    Raises:
        UserError: a key is unknown (the nearest is named), or a value cannot be used.
    """
    known = {item.name for item in dataclasses.fields(cls)}
    for key in settings:
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}{nearest(str(key), known)}")
    try:
        return cls(**settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {error}") from error


def write_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """
    Write the resolved settings of a stage, as a configuration file that the stage can be run with by hand.

    Raises:
        UserError: the file cannot be written.
    """
    with atomic_file(path) as file:
        file.write(yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True))
