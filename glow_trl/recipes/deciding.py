"""What decides the results of a run: two that are told the same differ by their seeds alone."""

import dataclasses
from pathlib import Path
from typing import Any

from ..stages.config import command_types
from ..stages.recipe_file import rebase
from ..stages.record import jsonable
from ..stages.registry import TRAINING_STAGES
from ..stages.secrets import without_secrets
from ..stages.yaml_file import read_yaml
from .plan import Plan, Step
from .recipe import BUILT_MODEL


def deciding_settings(plan: Plan) -> dict[str, dict[str, dict[str, Any]]]:
    """
    For each arm what its stages are told, by the stage's folder, without what does not decide the results: places,
    seed, and what may change while a stage runs.
    """
    from .prepare import prepared_configs

    root = Path("outputs") / plan.recipe.name
    made = dict(zip(("data", BUILT_MODEL), prepared_configs(plan.recipe, plan.built_model), strict=True))
    prepared = {name: dataclasses.asdict(config) for name, config in made.items() if config is not None}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for arm in plan.arms:
        alike = dataclasses.replace(plan, output_dir=root, arms=[arm], seed=None, data_dir=None, only_data=False)
        told = prepared | {Path(step.settings["output_dir"]).name: _told(alike, step) for step in alike.steps()}
        told = rebase(jsonable(told), f"{root}/{arm}", f"{root}/ARM")
        found[arm] = {name: {k: v for k, v in each.items() if k != "seed"} for name, each in told.items()}
    return found


def _told(plan: Plan, step: Step) -> dict[str, Any]:
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
    if plan.accelerate_config is not None and step.stage in TRAINING_STAGES:
        settings["num_processes"] = int(read_yaml(plan.accelerate_config).get("num_processes") or 1)
    return without_secrets(settings)
