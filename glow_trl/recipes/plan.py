"""What a run does: the stages of a recipe in order, with their settings."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..stages.config import naming
from ..stages.recipe_file import PROMPT, RECIPE_FILE, replace
from ..stages.registry import DATA_STAGES, TRAINING_STAGES
from .recipe import BUILT_MODEL, PREPARE_DIR, TRAINED_MODEL, Recipe, known_settings
from .selection import SELECT_START, Selection


# Title of the step that trains the model which was built, before all stages
MODEL_TRAINING = "built model"


@dataclass(frozen=True)
class Step:
    """
    A stage of a run: a title for people, the stage, its settings, the arm that it is of, if it is of one, and settings
    that are known only when the steps before it are done, with others in their place until then.
    """

    title: str
    stage: str
    settings: dict[str, Any]
    arm: str | None = None
    late: Callable[[], dict[str, Any]] = dict


@dataclass
class Plan:
    """
    One run of a recipe: `arms` are those to train, `overrides` has for each stage the settings that replace the
    recipe's, and with `accelerate_config` the training stages are launched with `accelerate launch` and this file.
    `model_name_or_path` and `seed` (of everything) take the place of what the recipe's files say. With `only_data` the
    run ends before the arms; with `data_dir` it takes what such a run has made, and makes nothing of that itself.
    """

    recipe: Recipe
    output_dir: Path
    arms: list[str]
    model_name_or_path: str | None
    overrides: dict[str, dict[str, Any]]
    accelerate_config: Path | None = None
    seed: int | None = None
    data_dir: Path | None = None
    only_data: bool = False

    @property
    def built_model(self) -> bool:
        return self.model_name_or_path is None and self.recipe.file.built_model is not None

    @property
    def run_seed(self) -> int | None:
        """The seed of the run as a whole."""
        return self.recipe.file.seed if self.seed is None else self.seed

    def steps(self) -> list[Step]:
        """
        What the run does, in order. Raises `UserError` where stage 2 of an arm would ask otherwise than stage 1
        taught.
        """
        arms = [step for arm in self.arms for step in self._arm_steps(arm)]
        if self.data_dir is not None:
            return arms
        training = self._model_training
        seed = {} if self.seed is None else {"seed": self.seed}
        steps = [] if training is None else [Step(MODEL_TRAINING, "sft", training | seed)]
        for stage in DATA_STAGES:
            folder = self.output_dir / stage
            if stage in self.recipe.stages and (stage != "loss" or any(_reads(step, folder) for step in arms)):
                steps.append(Step(stage, stage, self._settings(stage, folder, replaced=self._measured_model(stage))))
        return steps if self.only_data else [*steps, *arms]

    @property
    def _initial_model(self) -> str | None:
        """The model that stage 1 begins with, where it is not the one that its file names."""
        if not self.built_model:
            return self.model_name_or_path
        name = BUILT_MODEL if self._model_training is None else TRAINED_MODEL
        return str((self.output_dir if self.data_dir is None else self.data_dir.absolute()) / PREPARE_DIR / name)

    def _measured_model(self, stage: str) -> dict[str, Any]:
        """The initial model for the stage that measures it: whose file names the same model as that of stage 1."""
        named = [self.recipe.settings(name, self.output_dir, self.built_model) for name in (stage, "sft")]
        models = {settings.get("model_name_or_path") for settings in named}
        if stage != "loss" or len(models) > 1 or self._initial_model is None:
            return {}
        return {"model_name_or_path": self._initial_model}

    @property
    def _model_training(self) -> dict[str, Any] | None:
        return self.recipe.model_training(self.output_dir) if self.built_model else None

    def _arm_steps(self, arm: str) -> Iterator[Step]:
        model = {} if self._initial_model is None else {"model_name_or_path": self._initial_model}
        taught: dict[str, Any] | None = None
        selection = self._selection(arm)
        start: Callable[[], dict[str, Any]] = dict
        stages = self.recipe.arm_stages(arm)
        if TRAINING_STAGES[0] not in stages:
            # Its file names what stage 1 leaves
            model = self._stage_one_model()
        for stage in stages:
            folder = self.output_dir / arm / stage
            settings = self._settings(stage, folder, arm, model)
            if taught is None:
                taught = {key: settings.get(key) for key in PROMPT}
            for key, value in taught.items():
                if settings.get(key) != value:
                    raise UserError(
                        f"{self.recipe.path(stage)}: {key} is {settings.get(key)!r} for the arm {arm!r}, stage 1 has "
                        f"{value!r}: stage 2 must ask as stage 1 taught, say it once, in {RECIPE_FILE}"
                    )
            if selection is not None:
                settings |= selection.of_stage(stage, settings)
            yield Step(f"{arm}: {stage}", stage, settings, arm, start)
            start, model = dict, {"model_name_or_path": str(folder)}
            # Asked as it was trained to be, whatever has replaced what the recipe says for all stages
            asked = {key: taught[key] for key in PROMPT if getattr(self.recipe.file, key) is not None}
            if selection is not None and stage == TRAINING_STAGES[0]:
                yield self._selecting_step(arm, selection, asked, settings.get("model_name_or_path"))
                start = selection.start
            if "eval" in self.recipe.stages:
                evaluation = self._settings("eval", f"{folder}_eval", replaced=asked | model)
                yield Step(f"{arm}: evaluation after {stage}", "eval", evaluation, arm, start)

    def _selection(self, arm: str) -> Selection | None:
        """How the start of an arm's stage 2 is selected, or measured alone; `None` for neither."""
        if not self.recipe.measures_start(arm):
            return None
        first, folder = TRAINING_STAGES[0], self.output_dir / arm
        selection = Selection(self.recipe.select_start(arm), folder / first, folder / "ready")
        said = {f"arms: {arm}: ": self.recipe.arm_settings(arm, first), f"--{first}.": self.overrides.get(first, {})}
        selection.check(said, f"{self.recipe.folder / RECIPE_FILE}: {SELECT_START}")
        return selection

    def _selecting_step(self, arm: str, selection: Selection, asked: dict[str, Any], initial: str | None) -> Step:
        """The step that measures what stage 2 of an arm may start from, as that stage itself will sample."""
        stage = TRAINING_STAGES[1]
        model = {"model_name_or_path": str(selection.stage_one)}
        grpo = self._settings(stage, self.output_dir / arm / stage, arm, model)
        said = self._settings("ready", selection.folder, replaced=asked)
        evaluation = self._settings("eval", selection.folder) if "eval" in self.recipe.stages else {}
        with naming(self.recipe.path("ready")):
            settings = selection.settings(said, grpo, evaluation, initial)
        return Step(f"{arm}: ready", "ready", settings, arm, selection.starts)

    def _stage_one_model(self) -> dict[str, Any]:
        """The settings that name the model which stage 1 begins with."""
        replaced = {} if self._initial_model is None else {"model_name_or_path": self._initial_model}
        settings = self._settings(TRAINING_STAGES[0], self.output_dir, replaced=replaced)
        return {name: settings[name] for name in ("model_name_or_path", "model_revision") if name in settings}

    def _settings(
        self, stage: str, folder: str | Path, arm: str | None = None, replaced: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        settings = self.recipe.settings(stage, self.output_dir, self.built_model, self.data_dir)
        if self.seed is not None and "seed" in known_settings(stage):
            settings["seed"] = self.seed
        settings |= replaced or {}
        settings = (
            settings
            if arm is None
            else replace(settings, self.recipe.arm_settings(arm, stage, self.output_dir, self.data_dir))
        )
        return replace(settings, self.overrides.get(stage, {})) | {"output_dir": str(folder)}


def _reads(step: Step, folder: Path) -> bool:
    """Whether a stage is trained on files of a folder."""
    names = step.settings.get("dataset_name") or []
    return any(Path(name).is_relative_to(folder) for name in ([names] if isinstance(names, str) else names))
