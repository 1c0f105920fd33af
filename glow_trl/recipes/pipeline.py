"""The two-stage run: everything that a recipe says, in order, resuming where it stopped."""

import argparse
import gc
import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from ..errors import MissingExtraError, UserError
from ..stages.command import run_command
from ..stages.config import check_keys, command_types, nearest, one_line, read_yaml
from ..stages.files import write_json
from ..stages.frame import folder_of_stage
from ..stages.record import RUN_FILE, jsonable, provenance, read_run
from ..stages.registry import COMMANDS, DATA_STAGES, TRAINING_STAGES
from .recipe import ARMS, Recipe, write_settings


class StageFailed(Exception):
    """A stage that ran in processes of its own ended with an error, which it has reported. `code`: its exit code."""

    def __init__(self, code: int):
        super().__init__(f"exit code {code}")
        self.code = code


@dataclass
class Pipeline:
    """
    One run of a recipe.

    Args:
        recipe ([`~glow_trl.recipes.recipe.Recipe`]): the recipe.
        output_dir (`Path`): folder of the run.
        arms (`list[str]`): which initializations to train.
        model_name_or_path (`str`, *optional*): model to start from, in place of the recipe's.
        overrides (`dict[str, dict]`): stage to settings that replace the recipe's.
        accelerate_config (`Path`, *optional*): launch the training stages with `accelerate launch` and this file.
    """

    recipe: Recipe
    output_dir: Path
    arms: list[str]
    model_name_or_path: str | None
    overrides: dict[str, dict[str, Any]]
    accelerate_config: Path | None = None

    @property
    def built_model(self) -> bool:
        return self.model_name_or_path is None and self.recipe.file.built_model is not None

    def run(self) -> None:
        """
        Run what is not complete.

        Raises:
            UserError: something is wrong with the recipe or the data.
            StageFailed: a launched stage failed.
        """
        from ..report import write_report
        from .prepare import prepare

        started = time.monotonic()
        self.recipe.check_keys()
        self._check_prompts()
        steps = self._steps()
        self._record("running", 0.0)
        self._say("prepare", 0, len(steps))
        prepare(self.recipe, self.output_dir, self.built_model)
        checked = False
        for number, (title, stage, settings) in enumerate(steps, start=1):
            if stage == "sft" and not checked:
                self._check_questions()
                checked = True
            self._say(title, number, len(steps))
            self._run_stage(stage, settings)
        self._record("complete", time.monotonic() - started)
        write_report(self.output_dir)

    def _record(self, status: str, seconds: float) -> None:
        """Write `run.json`. Arms may be added to a run later, so this one compares nothing with what is there."""
        earlier = read_run(self.output_dir) or {}
        arms = [arm for arm in ARMS if arm in {*self.arms, *earlier.get("arms", [])}]
        record = {
            "stage": "run",
            "status": status,
            "recipe": self.recipe.name,
            "arms": arms,
            "model_name_or_path": self.model_name_or_path,
            "overrides": jsonable(self.overrides),
            "seconds": round(seconds, 3),
            **provenance(),
        }
        write_json(self.output_dir / RUN_FILE, record)

    def _steps(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Title, stage and settings of each step, in order."""
        stages = self.recipe.stages
        steps = []
        for stage in DATA_STAGES:
            if stage in stages:
                settings = self._settings(stage) | {"output_dir": str(self.output_dir / stage)}
                steps.append((stage, stage, settings))
        for arm in self.arms:
            model = None
            for stage in TRAINING_STAGES:
                if stage not in stages:
                    continue
                settings = self._settings(stage) | {"output_dir": str(self.output_dir / arm / stage)}
                if stage == "sft":
                    settings |= ARMS[arm] | self.recipe.file.arms.get(arm, {}) | self.overrides.get("sft", {})
                    settings |= {} if (name := self._initial_model()) is None else {"model_name_or_path": name}
                else:
                    settings["model_name_or_path"] = model
                model = settings["output_dir"]
                steps.append((f"{arm}: {stage}", stage, settings))
                if "eval" in stages:
                    evaluation = self._settings("eval") | {"model_name_or_path": model, "output_dir": f"{model}_eval"}
                    steps.append((f"{arm}: evaluation after {stage}", "eval", evaluation))
        return steps

    def _settings(self, stage: str) -> dict[str, Any]:
        settings = self.recipe.settings(stage, self.output_dir, self.built_model) | self.overrides.get(stage, {})
        if stage == "eval":
            # Asked as it was trained to be, unless the recipe says otherwise
            training = self.recipe.settings("sft", self.output_dir, self.built_model)
            for key in ("system_prompt", "prompt_template"):
                if key in training:
                    settings.setdefault(key, training[key])
        return settings

    def _initial_model(self) -> str | None:
        return str(self.output_dir / "prepare" / "model") if self.built_model else self.model_name_or_path

    def _check_prompts(self) -> None:
        if "grpo" not in self.recipe.stages:
            return
        sft, grpo = self._settings("sft"), self._settings("grpo")
        for key in ("system_prompt", "prompt_template"):
            if sft.get(key) != grpo.get(key):
                raise UserError(
                    f"{self.recipe.path('grpo')}: {key} is {grpo.get(key)!r}, {self.recipe.path('sft')} has "
                    f"{sft.get(key)!r}: stage 2 must ask as stage 1 taught, set both to the same"
                )

    def _check_questions(self) -> None:
        """Look at the questions of GRPO before any time is spent on SFT."""
        if "grpo" not in self.recipe.stages:
            return
        from ..grpo import GRPOStageConfig, resolve_reward, usable_questions

        settings = self._settings("grpo")
        names = {field for field in GRPOStageConfig.__dataclass_fields__ if field in settings}
        config = GRPOStageConfig(**{name: settings[name] for name in names})
        for reward in config.reward_funcs:
            resolve_reward(reward)
        usable_questions(config.distinct_questions(), config.on_bad_gold)

    def _run_stage(self, stage: str, settings: dict[str, Any]) -> None:
        folder = Path(settings["output_dir"])
        module = COMMANDS[stage].module
        # It takes its place when the stage is done: one that is refused leaves the settings of the run that is there
        config = folder / "config.new.yaml"
        write_settings(config, settings)
        if self.accelerate_config is not None and stage in TRAINING_STAGES:
            launcher = [sys.executable, "-m", "glow_trl.recipes.launch", "--config_file", str(self.accelerate_config)]
            result = subprocess.run([*launcher, "-m", module, "--config", str(config)])
            if result.returncode:
                raise StageFailed(2 if result.returncode == 2 else 1)
        else:
            importlib.import_module(module).main(["--config", str(config)])
        config.replace(folder / "config.yaml")
        gc.collect()

    def _say(self, title: str, number: int, total: int) -> None:
        print(f"[{number}/{total}] {title}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a recipe: `RECIPE_DIR [--output_dir DIR] [--compare] [--STAGE.KEY VALUE ...]`.

    Returns:
        `int`: the exit code.

    Raises:
        UserError: something is wrong with the command line, the recipe or the data.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = _Parser(
        prog="glow-trl run",
        description="Run all stages of a recipe in order. Started again, it continues where it stopped.",
        epilog="--STAGE.KEY VALUE replaces a setting of a stage's file: --sft.learning_rate 1e-5 --grpo.max_steps 50",
        allow_abbrev=False,
    )
    parser.add_argument("recipe", help="folder of the recipe, such as recipes/quickstart")
    parser.add_argument("--output_dir", help="folder of the run (default: outputs/NAME)")
    parser.add_argument("--compare", action="store_true", help=f"train every initialization: {', '.join(ARMS)}")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), help="train these initializations (default: glow)")
    parser.add_argument("--model_name_or_path", help="model to start from, in place of the recipe's")
    parser.add_argument("--accelerate_config", help="launch the training stages with this file of `accelerate`")
    parser.add_argument("--overwrite", action="store_true", help="delete what an earlier run left in the folder")
    options, rest = parser.parse_known_args(argv)
    recipe = Recipe(options.recipe)
    # Before the first import of torch, which reads OMP_NUM_THREADS once
    for name, value in recipe.file.env.items():
        os.environ.setdefault(name, str(value))
    output_dir = Path(options.output_dir or Path("outputs") / recipe.name)
    pipeline = Pipeline(
        recipe=recipe,
        output_dir=output_dir,
        arms=[arm for arm in ARMS if options.compare or arm in (options.arms or ["glow"])],
        model_name_or_path=options.model_name_or_path,
        overrides=_overrides(rest, recipe),
        accelerate_config=_accelerate_config(options.accelerate_config),
    )
    with folder_of_stage(output_dir):
        if options.overwrite:
            _delete_run(output_dir)
        try:
            pipeline.run()
        except StageFailed as failure:
            return failure.code
    from rich.console import Console

    from ..report import print_summary

    console = Console()
    print_summary(json.loads((output_dir / "summary.json").read_text(encoding="utf-8")), console)
    console.print(f"report: {output_dir / 'report.html'}", soft_wrap=True)
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{self.prog}: {message}")


def _overrides(arguments: list[str], recipe: Recipe) -> dict[str, dict[str, Any]]:
    overrides: dict[str, dict[str, Any]] = {}
    arguments = [part for argument in arguments for part in _split_option(argument)]
    while arguments:
        option = arguments.pop(0)
        stage, dot, key = option.removeprefix("--").partition(".")
        if not option.startswith("--") or not dot:
            raise UserError(
                f"glow-trl run: unknown argument {option}; a stage's setting is given as --sft.{key or stage} VALUE"
            )
        if stage not in recipe.stages:
            raise UserError(
                f"glow-trl run: {option}: the recipe has no stage {stage!r}{nearest(stage, set(recipe.stages))}"
            )
        if not arguments:
            raise UserError(f"glow-trl run: {option} needs a value")
        check_keys(Path(option), [key], command_types(stage), stage)
        try:
            overrides.setdefault(stage, {})[key] = yaml.safe_load(arguments.pop(0))
        except yaml.YAMLError as error:
            raise UserError(f"glow-trl run: {option}: the value is not valid YAML ({one_line(error)})") from error
    return overrides


def _split_option(argument: str) -> list[str]:
    option, equals, value = argument.partition("=")
    return [option, value] if equals and option.startswith("--") else [argument]


def _accelerate_config(name: str | None) -> Path | None:
    if name is None:
        return None
    folders = [Path("accelerate_configs"), Path(__file__).resolve().parents[2] / "accelerate_configs"]
    for path in (Path(name), *(folder / f"{name}.yaml" for folder in folders)):
        if path.is_file():
            if read_yaml(path).get("distributed_type") == "DEEPSPEED" and find_spec("deepspeed") is None:
                raise MissingExtraError("deepspeed", "deepspeed", str(path))
            return path
    known = {path.stem for folder in folders for path in folder.glob("*.yaml")}
    raise UserError(f"--accelerate_config: there is no file {name}{nearest(name, known)}")


def _delete_run(output_dir: Path) -> None:
    if not output_dir.exists():
        return
    if read_run(output_dir) is None:
        raise UserError(
            f"--overwrite: {output_dir} has no {RUN_FILE}, so it is not a run's folder; nothing was deleted"
        )
    for name in ("prepare", *DATA_STAGES, *ARMS):
        if (output_dir / name).is_dir():
            shutil.rmtree(output_dir / name)
    for name in ("summary.json", "report.html", RUN_FILE):
        (output_dir / name).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(run_command("run"))
