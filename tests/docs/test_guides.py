"""Each guide is followed word for word in an empty folder, and what it promises is there at its end."""

import json
import shutil

import numpy as np
import pyarrow.parquet
import pytest

from glow_trl.data import read_jsonl
from glow_trl.stages.record import read_run
from helpers.documents import ROOT, blocks, perform


pytestmark = pytest.mark.slow


def rows(path):
    return [row for _, row in read_jsonl(path)]


def read_json(path):
    return json.loads(path.read_text())


def test_add_a_verifier(tmp_path):
    perform(blocks("docs/add-a-verifier.md"), tmp_path)
    labelled = rows(tmp_path / "outputs" / "label" / "trajectories.jsonl")
    assert [row["is_correct"] for row in labelled] == [True, False]
    assert [row["extracted"] for row in rows(tmp_path / "outputs" / "verdicts.jsonl")] == ["3, 2.", "1, 2, 3."]


def test_add_a_benchmark(tmp_path):
    perform(blocks("docs/add-a-benchmark.md"), tmp_path)
    results = read_json(tmp_path / "outputs" / "eval_two" / "results.json")["benchmarks"]
    assert {name: row["n"] for name, row in results.items()} == {"capitals": 3, "capitals_short": 2}
    assert results["capitals"]["version"] == 1
    generations = rows(tmp_path / "outputs" / "eval" / "generations_capitals.jsonl")
    assert {row["kind"] for row in generations} == {"text"}


def test_add_a_reward(tmp_path):
    perform(blocks("docs/add-a-reward.md"), tmp_path)
    folder = tmp_path / "outputs" / "grpo"
    logs = rows(folder / "log.jsonl")
    assert {"rewards/brevity_reward/mean", "rewards/accuracy_reward/mean", "brevity/mean"} <= logs[0].keys()
    assert read_run(folder)["status"] == "complete"


def test_add_a_weighting(tmp_path):
    output = perform(blocks("docs/add-a-weighting.md"), tmp_path)
    run = tmp_path / "outputs" / "my-weightings"
    arms = {arm: stages["sft"] for arm, stages in read_json(run / "summary.json")["arms"].items()}
    assert [arms[arm]["weighting"] for arm in ("patient", "both")] == [
        ["my_weightings.patient"],
        ["glow", "more_weightings.focal"],
    ]
    for arm, facts in arms.items():
        logs = rows(run / arm / "sft" / "log.jsonl")
        logged = {"glow/mean_weight", "glow/share_dropped", "glow/effective_sample_size"} <= logs[0].keys()
        assert logged and ("glow/share_at_min" in logs[0]) == (arm == "patient"), arm
        assert ("token_weights" in facts) == (arm in ("push_away", "both", "dft")), arm
    losses = np.load(run / "patient" / "sft" / "ledger" / "epoch-002.npy")
    weights = np.load(run / "patient" / "sft" / "ledger" / "weights-002.npy")
    np.testing.assert_allclose(weights, np.clip(1 - losses / 4, 0.2, 1), atol=1e-6)
    assert arms["easier_half"]["weights"][-1]["dropped"] > 0 > arms["push_away"]["weights"][-1]["weight_negative"]
    page = (run / "report.html").read_text()
    assert "my_<wbr>weightings.<wbr>patient" in page and "patience 4, min_weight 0.2, max_weight 1" in page
    assert "mean weight of tokens in epoch 2" in output
    table = pyarrow.parquet.read_table(run / "both" / "sft" / "dynamics" / "samples.parquet")
    assert {"weight_epoch_1", "weight_epoch_2"} <= {*table.column_names}


def test_add_a_recipe(tmp_path):
    perform(blocks("docs/add-a-recipe.md"), tmp_path)
    outputs = tmp_path / "outputs"
    arms = read_json(outputs / "my-recipe" / "summary.json")["arms"]
    assert {*arms} == {"beta5", "beta30", "unweighted"}
    assert read_run(outputs / "my-recipe" / "beta30" / "sft")["config"]["glow_beta"] == 30
    assert read_run(outputs / "second")["seed"] == 2 and (outputs / "second" / "beta30" / "grpo_eval").is_dir()
    slow = read_run(outputs / "my-recipe-slow" / "beta5" / "sft")["config"]
    assert (slow["learning_rate"], slow["glow_alpha"], slow["seed"]) == (1e-4, 2.0, 1)
    # By hand as in the run
    ours, theirs = (read_run(outputs / name)["config"] for name in ("by_hand", "my-recipe/beta5/sft"))
    assert (ours["prompt_template"], ours["seed"]) == (theirs["prompt_template"], theirs["seed"])


def test_add_a_stage(tmp_path):
    """In a copy of the package, whose registry gets the guide's entry."""
    package = tmp_path / "package"
    shutil.copytree(ROOT / "glow_trl", package / "glow_trl", ignore=shutil.ignore_patterns("__pycache__"))
    found = blocks("docs/add-a-stage.md")
    (entry,) = [block for block in found if block.text.lstrip().startswith('"lengths": Command(')]
    registry = package / "glow_trl" / "stages" / "registry.py"
    head, start, rest = registry.read_text().partition("COMMANDS: dict[str, Command] = {\n")
    registry.write_text(head + start + entry.text + rest)
    (module,) = [block for block in found if block.file and block.file.startswith("glow_trl/")]
    (package / module.file).write_text(module.text)
    rest = [block for block in found if block not in (entry, module)]
    output = perform(rest, tmp_path, package=package)
    folder = tmp_path / "outputs" / "lengths"
    assert read_json(folder / "results.json") == {"positive": [8.0, 8.0, 8.0], "negative": [17.0, 17.0, 17.0]}
    # Complete at the second start, whose only other setting may change
    assert read_run(folder)["rows"] == 2 and "2 rows" not in output
