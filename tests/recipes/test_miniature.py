"""The miniature's recipe: its student is pretrained before the arms, once a seed, and known tasks are evaluated."""

import json
from pathlib import Path

import pytest
import yaml

from glow_trl.data import read_jsonl
from glow_trl.errors import UserError
from glow_trl.miniature import MiniatureConfig
from glow_trl.miniature.families import FAR
from glow_trl.recipes.pipeline import Pipeline
from glow_trl.recipes.recipe import Recipe
from glow_trl.recipes.run import main
from helpers.launching import ROOT
from helpers.small_recipe import small_miniature


FOLDER = ROOT / "recipes" / "miniature"


def test_every_family_is_evaluated_where_it_belongs():
    """In domain what is fine-tuned on, near the other chains, far the rest: the study counts on these names."""
    entries = yaml.safe_load((FOLDER / "eval.yaml").read_text())["benchmarks"]
    domains = {entry["name"]: entry["domain"] for entry in entries}
    near = MiniatureConfig().near().keys() - {"in_domain"}
    assert domains == {"in_domain": "in"} | dict.fromkeys(near, "near") | dict.fromkeys(FAR, "far")
    assert all(entry["path"].endswith(f"/test_{entry['name']}.jsonl") for entry in entries)


def test_arms_begin_with_the_pretrained_student(tmp_path):
    """Each of them, also the one that leaves stage 1 out; and pretraining reads what `prepare` writes in this run."""
    recipe = Recipe(FOLDER)
    run = Pipeline(recipe, tmp_path / "out", list(recipe.arms), None, {}, seed=100)
    run.check()
    steps = {step.title: step.settings for step in run.steps()}
    pretraining = steps["built model"]
    assert pretraining["dataset_name"] == str(tmp_path / "out" / "prepare" / "data" / "pretraining.jsonl")
    for arm in recipe.arms:
        first = steps.get(f"{arm}: sft", steps.get(f"{arm}: grpo"))
        assert first["model_name_or_path"] == pretraining["output_dir"] and first["seed"] == 100
    sizes = recipe.file.built_model
    layer = 4 * sizes["hidden_size"] ** 2 + 3 * sizes["hidden_size"] * sizes["intermediate_size"]
    assert 1e6 < sizes["num_hidden_layers"] * layer < 5e6


def test_two_kinds_of_data_are_refused(tmp_path):
    recipe = small_miniature(tmp_path / "mine", recipe={"quickstart": {}})
    with pytest.raises(UserError, match="quickstart and miniature both say what the data are made of"):
        Pipeline(Recipe(recipe), tmp_path / "out", ["glow"], None, {}).check()


@pytest.mark.slow
def test_a_small_one_runs_with_the_data_and_the_student_of_another_run(tmp_path, monkeypatch):
    """`--only_data` pretrains; two arms take that with `--data_from`, train on it, and their report has all groups."""
    monkeypatch.chdir(tmp_path)
    # As they stand they take long to evaluate
    few = {"only": ["in_domain", "in_prose", "links"]}
    recipe = small_miniature(tmp_path / "recipes" / "miniature", eval=few)
    data = ["--seed", "100", "--output_dir", "data", "--only_data", "true"]
    assert main([str(recipe), *data]) == 0
    student = Path("data/prepare/trained_model")
    weights = (student / "model.safetensors").read_bytes()
    assert weights != Path("data/prepare/model/model.safetensors").read_bytes()
    labels = [row["is_correct"] for _, row in read_jsonl("data/label/trajectories.jsonl")]
    assert 0 < sum(labels) < len(labels)
    arms = ["--arms", "glow", "from_base", "pretrained"]
    assert main([str(recipe), "--seed", "100", "--output_dir", "out", "--data_from", "data", *arms]) == 0
    assert (student / "model.safetensors").read_bytes() == weights and not Path("out/prepare").exists()
    assert Path("out/pretrained/sft/model.safetensors").read_bytes() == weights
    summary = json.loads(Path("out/summary.json").read_text())
    assert {arm: sorted(stages) for arm, stages in summary["arms"].items()} == {
        "glow": ["grpo", "sft"],
        "from_base": ["grpo"],
        "pretrained": ["sft"],
    }
    found = summary["arms"]["glow"]["grpo"]["benchmarks"]
    assert {row["domain"] for row in found.values()} == {"in", "out"} and found.keys() == {
        "in_domain",
        "in_prose",
        "links",
    }
    groups = json.loads(Path("out/glow/grpo_eval/results.json").read_text())["benchmarks"]
    assert [row["group"] for row in groups.values()] == ["in", "near", "far"]
