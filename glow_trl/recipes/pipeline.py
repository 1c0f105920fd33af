"""The two-stage run: everything that a recipe says, in order, resuming where it stopped."""

import dataclasses
import gc
import importlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Container, Iterator
from dataclasses import asdict, dataclass
from glob import has_magic
from pathlib import Path
from typing import Any

from ..data.paths import is_local, no_such_file
from ..errors import TrainingCollapsed, UserError
from ..generation.loading import check_exists, local_folder
from ..stages.config import build_settings, command_types, naming
from ..stages.console import visible
from ..stages.paths import expand_path
from ..stages.processes import LAUNCHER
from ..stages.recipe_file import PROMPT, RECIPE_FILE, rebase, replace
from ..stages.record import StageRun, jsonable, read_run
from ..stages.registry import COMMANDS, DATA_STAGES, TRAINING_STAGES
from ..stages.secrets import handing_over, without_secrets
from ..stages.yaml_file import read_yaml
from .recipe import BUILT_MODEL, PREPARE_DIR, TRAINED_MODEL, Recipe, known_settings, write_settings
from .selection import LAST, SELECT_START, Selection


logger = logging.getLogger(__name__)

# Title of the step that trains the model which was built, before all stages
_MODEL_TRAINING = "built model"


class StageFailed(Exception):
    """A stage that ran in processes of its own ended with an error, which it has reported. `code`: its exit code."""

    def __init__(self, code: int):
        super().__init__(f"exit code {code}")
        self.code = code


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
class Pipeline:
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

    def check(self) -> None:
        """Build the configuration of every stage, as the stage itself will. Writes nothing."""
        from .prepare import prepared_configs

        self.recipe.check_keys()
        prepared_configs(self.recipe, self.built_model, self.seed)
        for step in self.steps():
            settings = {key: value for key, value in step.settings.items() if key != "env"}
            where = f"{self.recipe.path(step.stage)} ({step.title})"
            config = build_settings(self._types(step.stage), settings, step.stage, where).config
            self._check_inputs(settings, where)
            if step.stage == "ready":
                with naming(where):
                    config.check_complete()
            if step.stage == "eval":
                config.resolve()
            if step.stage == "grpo":
                from ..grpo import resolve_reward

                for reward in config.reward_funcs:
                    resolve_reward(reward)

    def _check_inputs(self, settings: dict[str, Any], where: str) -> None:
        """Raise `UserError` for a file or model that is not there, and is not what an earlier stage makes."""
        for key in ("dataset_name", "questions", "trajectories"):
            names = settings.get(key) or []
            for name in [names] if isinstance(names, str) else names:
                path = Path(expand_path(name))
                if not has_magic(name) and is_local(str(path)) and not path.exists() and not self._makes(path):
                    source = f"; {self.recipe.file.data}" if self.recipe.file.data else ""
                    raise UserError(f"{where}: {key}: {no_such_file(name)}{source}")
        model = expand_path(settings.get("model_name_or_path") or "")
        if model and settings.get("engine") != "server" and not self._makes(Path(model)):
            local_folder(model)

    def check_data(self) -> None:
        """Raise `UserError` unless the run whose data are taken has made them, of this recipe and with this seed."""
        if self.data_dir is None:
            return
        record = read_run(self.data_dir) or {}
        if record.get("stage") != "run" or record.get("status") != "complete":
            raise UserError(f"data_from: {self.data_dir} holds no run that is complete; make it with --only_data true")
        for name, ours in (("recipe", self.recipe.name), ("seed", self.run_seed)):
            if record.get(name) != ours:
                raise UserError(f"data_from: {self.data_dir} was made with {name} {record.get(name)!r}, not {ours!r}")

    def _makes(self, path: Path) -> bool:
        folders = [self.output_dir, *([] if self.data_dir is None else [self.data_dir])]
        return any(path.absolute().is_relative_to(folder.absolute()) for folder in folders)

    def run(self, record: StageRun) -> dict[str, str]:
        """
        Run what is not complete; `record` is that of the run as a whole. Returns what failed of one arm alone, arm to
        reason: the others go on without it, and the next start tries it again. Whatever would end all arms the same
        way is raised, by a launched stage as `StageFailed`.
        """
        from ..report import write_report
        from .prepare import prepare

        steps = self.steps()
        self._check_models(steps)
        if self.data_dir is None:
            self._say("prepare", 0, len(steps))
            prepare(self.recipe, self.output_dir, self.built_model, self.seed)
        before_training = sum(step.title in (_MODEL_TRAINING, *DATA_STAGES) for step in steps)
        failed: dict[str, str] = {}
        passed: set[str] = set()
        for number, step in enumerate(steps, start=1):
            if number == before_training + 1:
                self._check_questions(steps)
            if step.arm in failed:
                continue
            self._say(step.title, number, len(steps))
            try:
                self._run_stage(step)
            except (TrainingCollapsed, UserError, StageFailed) as error:
                reason = _of_one_arm(error, step, passed)
                if step.arm is None or reason is None:
                    raise
                failed[step.arm] = f"{step.stage}: {reason}"
                logger.error("%s: %s", step.arm, error if str(error) else reason)
            else:
                passed.add(step.stage)
            gc.collect()
            # From here on there is something that another start goes on with
            record.is_new = False
        if failed:
            record.interrupt(failed=failed)
        else:
            record.complete()
        if not self.only_data:
            write_report(self.output_dir)
        return failed

    def facts(self, earlier: dict[str, Any]) -> dict[str, Any]:
        """
        What `run.json` says of the run beyond its own settings, given the `run.json` that the folder has: arms may be
        added to a run later. One that is another now raises a `UserError`.
        """
        arms = dict(earlier.get("arms") or {})
        selected = dict.fromkeys(arms, LAST) | (earlier.get(SELECT_START) or {})
        for arm in self.arms:
            settings = without_secrets(jsonable(self.recipe.arms[arm]))
            if arms.setdefault(arm, settings) != settings:
                raise UserError(
                    f"{self.output_dir} holds a run whose arm {arm!r} is {arms[arm]}, and {settings} in "
                    f"{self.recipe.folder / RECIPE_FILE}: give it another name, or choose another output_dir"
                )
            ours = self.recipe.select_start(arm)
            if selected.setdefault(arm, ours) != ours:
                raise UserError(
                    f"{self.output_dir} holds a run whose arm {arm!r} has {SELECT_START}: {selected[arm]}, and {ours} "
                    f"in {self.recipe.folder / RECIPE_FILE}: choose another output_dir"
                )
        facts = {"recipe": self.recipe.name, "arms": arms, "overrides": jsonable(self.overrides)}
        facts["stage_settings"] = (earlier.get("stage_settings") or {}) | self.stage_settings()
        return facts | ({SELECT_START: selected} if set(selected.values()) != {LAST} else {})

    def stage_settings(self) -> dict[str, dict[str, dict[str, Any]]]:
        """
        For each arm what its stages are told, by the stage's folder, without what does not decide the results: places,
        seed, and what may change while a stage runs. Runs that have the same here differ by their seeds.
        """
        from .prepare import prepared_configs

        root = Path("outputs") / self.recipe.name
        made = dict(zip(("data", BUILT_MODEL), prepared_configs(self.recipe, self.built_model), strict=True))
        prepared = {name: asdict(config) for name, config in made.items() if config is not None}
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for arm in self.arms:
            alike = dataclasses.replace(self, output_dir=root, arms=[arm], seed=None, data_dir=None, only_data=False)
            told = prepared | {Path(step.settings["output_dir"]).name: alike._deciding(step) for step in alike.steps()}
            told = rebase(jsonable(told), f"{root}/{arm}", f"{root}/ARM")
            found[arm] = {name: {k: v for k, v in each.items() if k != "seed"} for name, each in told.items()}
        return found

    def _deciding(self, step: Step) -> dict[str, Any]:
        """The settings of a stage that decide its results."""
        from ..training.resume import CHANGEABLE

        marked = {
            item.name
            for cls in command_types(step.stage)
            for item in dataclasses.fields(cls)
            if item.metadata.get("changeable") is True
        }
        left_out = {"output_dir", "env", *marked, *CHANGEABLE}
        settings = {key: value for key, value in step.settings.items() if key not in left_out}
        if self.accelerate_config is not None and step.stage in TRAINING_STAGES:
            settings["num_processes"] = int(read_yaml(self.accelerate_config).get("num_processes") or 1)
        return without_secrets(settings)

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
        steps = [] if training is None else [Step(_MODEL_TRAINING, "sft", training | seed)]
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

    def _types(self, stage: str) -> tuple[type, ...]:
        """The dataclasses of a stage; where it is launched, for as many processes as it will have."""
        types = command_types(stage)
        if self.accelerate_config is None or stage not in TRAINING_STAGES:
            return types
        processes = int(read_yaml(self.accelerate_config).get("num_processes") or 1)
        size = {"world_size": property(lambda args: processes)}
        return tuple(type(cls.__name__, (cls,), dict(size)) if hasattr(cls, "world_size") else cls for cls in types)

    def _check_questions(self, steps: list[Step]) -> None:
        """Look at the questions of GRPO before any time is spent on SFT."""
        from ..grpo import GRPOStageConfig

        seen: list[GRPOStageConfig] = []
        for step in steps:
            if step.stage == "grpo":
                names = GRPOStageConfig.__dataclass_fields__.keys() & step.settings.keys()
                config = GRPOStageConfig(**{name: step.settings[name] for name in names})
                if config not in seen:
                    seen.append(config)
                    config.questions()

    def _check_models(self, steps: list[Step]) -> None:
        """Find a model that does not exist before any time is spent on the data."""
        for step in steps:
            name = str(step.settings.get("model_name_or_path", self.output_dir))
            complete = (read_run(Path(step.settings["output_dir"])) or {}).get("status") == "complete"
            if step.stage in TRAINING_STAGES and not complete and not self._makes(Path(name)):
                check_exists(name, step.settings.get("model_revision", "main"))

    def _run_stage(self, step: Step) -> None:
        folder = Path(step.settings["output_dir"])
        module = COMMANDS[step.stage].module
        # It takes its place when the stage is done: one that is refused leaves the settings of the run that is there
        config = folder / "config.new.yaml"
        settings = step.settings | step.late()
        write_settings(config, without_secrets(settings))
        with handing_over(settings):
            self._start_stage(step, module, config)
        config.replace(folder / "config.yaml")

    def _start_stage(self, step: Step, module: str, config: Path) -> None:
        if self.accelerate_config is not None and step.stage in TRAINING_STAGES:
            launcher = [sys.executable, "-m", "glow_trl.recipes.launch", "--config_file", str(self.accelerate_config)]
            environment = {**os.environ, LAUNCHER: str(os.getpid())}
            command = [*launcher, "-m", module, "--config", str(config)]
            with subprocess.Popen(command, env=environment) as process:
                try:
                    code = process.wait()
                except BaseException:
                    # It ends its stage. After Ctrl-C `Popen` itself would not wait for it
                    process.terminate()
                    process.wait()
                    raise
            if code:
                raise StageFailed(2 if code == 2 else 1)
        else:
            importlib.import_module(module).main(["--config", str(config)])

    def _say(self, title: str, number: int, total: int) -> None:
        print(visible(f"[{number}/{total}] {title}"), file=sys.stderr, flush=True)


def _of_one_arm(error: Exception, step: Step, passed: Container[str]) -> str | None:
    """
    What a stage of an arm failed of, if that says nothing about the other arms: a training that collapsed, what the
    stage refuses after it has `passed` with another arm, or what may be a start with too few informative groups.
    `None` for everything else.
    """
    if isinstance(error, TrainingCollapsed):
        return error.reason
    if isinstance(error, StageFailed) and error.code != 2:
        record = read_run(Path(step.settings["output_dir"])) or {}
        return str(record["collapsed"]) if record.get("status") == "collapsed" else None
    if step.stage not in passed and step.settings.get("on_few_informative") != "error":
        return None
    return "its settings or data were refused" if isinstance(error, StageFailed) else str(error)


def _reads(step: Step, folder: Path) -> bool:
    """Whether a stage is trained on files of a folder."""
    names = step.settings.get("dataset_name") or []
    return any(Path(name).is_relative_to(folder) for name in ([names] if isinstance(names, str) else names))
