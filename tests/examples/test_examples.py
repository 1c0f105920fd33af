"""The examples run as their README says, and do what they are for."""

import json
import shutil

import numpy as np
import pytest

from glow_trl.data import read_jsonl
from helpers.documents import ROOT, blocks, perform


@pytest.mark.slow
def test_examples(tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    output = perform(blocks("examples/README.md"), tmp_path)
    outputs = tmp_path / "outputs" / "examples"
    assert "of 300 trajectories the loss of" in output
    logs = json.loads((outputs / "longer" / "checkpoint-114" / "trainer_state.json").read_text())["log_history"]
    assert any("glow/mean_weight" in entry for entry in logs)
    (weights,) = (outputs / "weightings" / "ledger").glob("weights-*.npy")
    assert len(np.load(weights)) == 300 and (weights.parent / "token-weights-001.npz").is_file()
    assert "'rewards/accuracy_reward/mean'" in output and (outputs / "grpo" / "model.safetensors").is_file()
    annotations = [row for _, row in read_jsonl(outputs / "annotation" / "annotations.jsonl")]
    assert [row["patterns"] for row in annotations] == [[], ["wrong_sum"], [], []]
