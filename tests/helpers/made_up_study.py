"""A study with its runs, made up in this process: nothing is started, and no chart is drawn."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from glow_trl.data.loss_history import HISTORY_DIR
from glow_trl.recipes.deciding import deciding_settings
from glow_trl.recipes.plan import Plan
from glow_trl.recipes.recipe import Recipe
from glow_trl.stages.record import jsonable, provenance
from glow_trl.study.study import main
from helpers.made_up_run import write_ledger
from helpers.study_run import evaluate


STUDY = {
    "description": "Made-up runs of the quickstart",
    "recipe": "quickstart",
    "arms": ["glow", "positive", "all"],
    "seeds": [7, 8, 9, 10],
    "control": "positive",
    "measures": {
        "after_sft": {"stage": "sft", "benchmarks": "out"},
        "after_rl": {"stage": "grpo", "benchmarks": "out"},
        "length": {"stage": "sft", "benchmarks": "in_domain", "metric": "response_length"},
        "descent": {"stage": "sft", "curve": "loss", "take": "drop"},
    },
    "primary": ["after_sft", "after_rl"],
    "claims": [
        {"name": "Better after SFT", "measure": "after_sft", "arm": "glow", "versus": "positive", "margin": 0.01},
        {"name": "Longer", "measure": "length", "arm": "glow", "versus": "positive", "margin": 0.5},
        {"name": "A loss that falls", "measure": "descent", "arm": "glow", "threshold": 0.5},
    ],
}


def make_study(folder: Path, **changes) -> Path:
    """The folder of a study whose runs are complete, with its `study.json`; `changes` are those of its file."""
    study = {key: value for key, value in {**STUDY, **changes}.items() if value is not None}
    folder.mkdir(parents=True)
    path, out = folder / "made_up.yaml", folder / "made_up"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    recipe = Recipe(study["recipe"])
    told = jsonable(deciding_settings(Plan(recipe, out, study["arms"], None, {})))
    for seed in study["seeds"]:
        for arm in study["arms"]:
            run = out / "runs" / recipe.name / f"seed-{seed}" / arm
            (run / arm).mkdir(parents=True)
            for stage in ("sft", "grpo"):
                evaluate(run / arm, arm, seed + 100 * (stage == "grpo"), stage)
            write_ledger(run / arm / "sft" / HISTORY_DIR, np.random.default_rng(seed), 0.5, samples=40, epochs=30)
            arms = {arm: jsonable(recipe.arms[arm])}
            record = {"stage": "run", "status": "complete", "seconds": 60.0, "seed": seed, "recipe": recipe.name}
            record |= {"arms": arms, "overrides": {}, "stage_settings": {arm: told[arm]}} | provenance()
            (run / "run.json").write_text(json.dumps(record))
    assemble(path, out)
    return out


def assemble(path: Path, out: Path) -> None:
    from glow_trl.report.svg import Chart

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chart, "_render", lambda chart: "<svg></svg>")
        main([str(path), "--output_dir", str(out), "--assemble", "true"])
