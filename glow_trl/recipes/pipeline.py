"""The two-stage run: everything that a recipe says, in order, resuming where it stopped."""

import gc
import importlib
import logging
import os
import subprocess
import sys
from collections.abc import Container
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
from ..stages.recipe_file import RECIPE_FILE
from ..stages.record import StageRun, jsonable, read_run
from ..stages.registry import COMMANDS, DATA_STAGES, TRAINING_STAGES
from ..stages.secrets import handing_over, without_secrets
from ..stages.yaml_file import read_yaml
from .deciding import deciding_settings
from .plan import MODEL_TRAINING, Plan, Step
from .recipe import write_settings
from .selection import LAST, SELECT_START


logger = logging.getLogger(__name__)


class StageFailed(Exception):
    """A stage that ran in processes of its own ended with an error, which it has reported. `code`: its exit code."""

    def __init__(self, code: int):
        super().__init__(f"exit code {code}")
        self.code = code


class Pipeline(Plan):
    """The run of a plan: what is checked before it, its stages one after the other, and what is recorded of it."""

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
        before_training = sum(step.title in (MODEL_TRAINING, *DATA_STAGES) for step in steps)
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
        facts["stage_settings"] = (earlier.get("stage_settings") or {}) | deciding_settings(self)
        return facts | ({SELECT_START: selected} if set(selected.values()) != {LAST} else {})

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
