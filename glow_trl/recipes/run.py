"""`glow-trl run`: a recipe from its data to the report."""

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import MissingDataError, MissingExtraError, UserError
from ..stages.command import fail, run_command
from ..stages.config import check_keys, command_types, parse_command, setting
from ..stages.console import say_results
from ..stages.frame import stage_run
from ..stages.recipe_file import shipped
from ..stages.record import read_run
from ..stages.yaml_file import nearest, parse_yaml, read_yaml
from .overwrite import delete_made, delete_run
from .pipeline import Pipeline, StageFailed
from .recipe import PREPARE_DIR, Recipe


@dataclass
class RunConfig:
    r"""
    What to run.

    Parameters:
        recipe (`str`):
            Folder of the recipe, or the name of one that is shipped. Beside the options here, `--STAGE.KEY VALUE`
            replaces a setting of a stage: `--sft.learning_rate 1e-5 --grpo.max_steps 50`.
        output_dir (`str`, *optional*):
            Folder of the run; by default `outputs/NAME`.
        seed (`int`, *optional*):
            Seed of data, model and all stages, in place of those in the recipe's files.
        arms (`list[str]`, *optional*):
            Arms of the recipe to train; by default its first.
        compare (`bool`, *optional*, defaults to `False`):
            Whether to train all of its arms, or those that the recipe says are to be compared.
        model_name_or_path (`str`, *optional*):
            Model to start from, in place of the recipe's.
        accelerate_config (`str`, *optional*):
            Launch the training stages with this file of `accelerate`, or the one of this name in
            `accelerate_configs/`.
        only_data (`bool`, *optional*, defaults to `False`):
            Whether to end before the arms, when the data are made, and the model that the recipe builds.
        data_from (`str`, *optional*):
            Folder of a run of this recipe with this seed, such as one with `only_data`: its data and the model that it
            has built are used, and not made again.
        overwrite (`bool`, *optional*, defaults to `False`):
            Whether to delete first what an earlier run left in the folder. What no stage writes is kept, and named.
    """

    recipe: str = setting(
        "",
        "Folder of the recipe, or the name of one that is shipped.",
        positional=True,
        changeable=True,
        required=True,
    )
    output_dir: str | None = setting(None, "Folder of the run (default: outputs/NAME).")
    seed: int | None = setting(None, "Seed of data, model and all stages, in place of the recipe's.")
    arms: list[str] = setting([], "Arms of the recipe to train (default: its first).", changeable=True)
    compare: bool = setting(
        False, "Train all arms of the recipe, or those that it names to be compared.", changeable=True
    )
    model_name_or_path: str | None = setting(None, "Model to start from, in place of the recipe's.")
    accelerate_config: str | None = setting(
        None, "Launch the training stages with this file of `accelerate`.", changeable=True
    )
    only_data: bool = setting(False, "End when the data are made, before the arms.", changeable=True)
    data_from: str | None = setting(None, "Folder of a run whose data are used, and not made again.")
    overwrite: bool = setting(False, "Delete what an earlier run left in the folder.", changeable=True)

    def __post_init__(self):
        if not self.recipe:
            raise UserError("which recipe? `glow-trl run recipes/quickstart`, for example")
        if self.output_dir == "":
            raise UserError("output_dir is empty; leave it out for outputs/NAME")
        if self.only_data and self.data_from:
            raise UserError("only_data makes the data that data_from takes from another run: give one of them")

    def chosen_arms(self, recipe: Recipe) -> list[str]:
        """The arms to train, in the recipe's order. Raises `UserError` if it has no such arm; the nearest is named."""
        for arm in self.arms:
            if arm not in recipe.arms:
                close = nearest(arm, recipe.arms) or f"; there are {', '.join(recipe.arms)}"
                raise UserError(f"--arms: {recipe.folder} has no arm {arm!r}{close}")
        if self.compare:
            chosen = [*recipe.compared, *self.arms]
            return [arm for arm in recipe.arms if arm in chosen]
        return [arm for arm in recipe.arms if arm in self.arms] or list(recipe.arms)[:1]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `glow-trl run` with the arguments `argv`, by default those of the command line and return its exit code."""
    argv, overrides = _take_overrides(list(sys.argv[1:] if argv is None else argv))
    settings = parse_command("run", argv)
    config: RunConfig = settings.config
    recipe = Recipe(config.recipe)
    output_dir = Path(config.output_dir or Path("outputs") / recipe.name)
    pipeline = Pipeline(
        recipe=recipe,
        output_dir=output_dir,
        arms=config.chosen_arms(recipe),
        model_name_or_path=config.model_name_or_path,
        overrides={},
        accelerate_config=find_accelerate_config(config.accelerate_config),
        seed=config.seed,
        data_dir=None if config.data_from is None else Path(config.data_from),
        only_data=config.only_data,
    )
    # Before the first import of torch, which reads OMP_NUM_THREADS once
    for name, value in (recipe.file.env | (recipe.file.built_model_env if pipeline.built_model else {})).items():
        os.environ.setdefault(name, str(value))
    pipeline.overrides = _parse_overrides(overrides, recipe)
    pipeline.check()
    pipeline.check_data()
    if config.overwrite:
        delete_run(output_dir)
    # The seed that the run has, whoever has said it
    seed = {"seed": pipeline.run_seed}
    settings = dataclasses.replace(settings, given=settings.given | seed, resolved=settings.resolved | seed)
    try:
        with stage_run(settings, output_dir, reopens=True) as run:
            run.record |= pipeline.facts(read_run(output_dir) or {})
            run.start()
            is_new = run.is_new and not (output_dir / PREPARE_DIR).exists()
            try:
                failed = pipeline.run(run)
            except (UserError, StageFailed) as error:
                # A first start that failed leaves the folder to other settings, that of what it has prepared too
                if run.is_new and getattr(error, "code", 2) == 2:
                    run.release()
                    delete_made([output_dir / PREPARE_DIR] if is_new else [])
                if isinstance(error, MissingDataError) and recipe.file.data:
                    raise UserError(f"{error}; {recipe.file.data}") from error
                raise
    except StageFailed as failure:
        return failure.code
    if config.only_data:
        say_results(output_dir)
        return 0
    from rich.console import Console

    from ..report import print_summary

    print_summary(json.loads((output_dir / "summary.json").read_text(encoding="utf-8")), Console())
    say_results(output_dir / "report.html")
    if failed:
        reasons = "; ".join(f"{arm} ({reason})" for arm, reason in failed.items())
        return fail(
            f"{len(failed)} of {len(pipeline.arms)} arms failed: {reasons}. Started again, they are tried again", 1
        )
    return 0


def _take_overrides(argv: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """A command line without what replaces settings of stages; that as `STAGE.KEY` and value."""
    known = {item.name for item in dataclasses.fields(RunConfig)} | {"config", "help"}
    rest: list[str] = []
    overrides = []
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        option, equals, value = token.partition("=")
        name = option.removeprefix("--")
        if not option.startswith("--") or name.replace("-", "_") in known or name.removeprefix("no_") in known:
            rest.append(token)
        elif "." not in name:
            raise UserError(
                f"glow-trl run: unknown option {option}{nearest(name, known, '--')}; a stage's setting is given as "
                f"--sft.{name} VALUE"
            )
        elif not equals and not tokens:
            raise UserError(f"glow-trl run: {option} needs a value")
        else:
            overrides.append((name, value if equals else tokens.pop(0)))
    return rest, overrides


def _parse_overrides(overrides: list[tuple[str, str]], recipe: Recipe) -> dict[str, dict[str, Any]]:
    parsed: dict[str, dict[str, Any]] = {}
    for name, value in overrides:
        stage, _, key = name.partition(".")
        if stage not in recipe.stages:
            raise UserError(
                f"glow-trl run: --{name}: the recipe has no stage {stage!r}{nearest(stage, recipe.stages)}"
            )
        check_keys(Path(f"--{name}"), [key], command_types(stage), stage)
        parsed.setdefault(stage, {})[key] = parse_yaml(value, f"glow-trl run: --{name}")
    return parsed


def find_accelerate_config(name: str | None) -> Path | None:
    """The file of `accelerate` at a path, or of this name in `accelerate_configs/`. Raises `UserError` without one."""
    if name is None:
        return None
    folders = [Path("accelerate_configs"), shipped() / "accelerate_configs"]
    for path in (Path(name), *(folder / f"{name}.yaml" for folder in folders)):
        if path.is_file():
            if read_yaml(path).get("distributed_type") == "DEEPSPEED" and find_spec("deepspeed") is None:
                raise MissingExtraError("deepspeed", "deepspeed", str(path))
            return path
    known = {path.stem for folder in folders for path in folder.glob("*.yaml")}
    raise UserError(f"--accelerate_config: there is no file {name}{nearest(name, known)}")


if __name__ == "__main__":
    sys.exit(run_command("run"))
