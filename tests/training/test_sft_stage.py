"""The SFT stage as its users run it: what it leaves, what it refuses, and that a kill costs nothing."""

import json
import random
import sys

import numpy as np
import pytest
from safetensors.torch import load_file

from glow_trl.data import read_jsonl, write_jsonl
from helpers.launching import CPU
from helpers.processes import kill_when, run_to_the_end


@pytest.fixture
def sft(glow_trl, tiny_model, trajectories, tmp_path):
    def run(*argv, output_dir=tmp_path / "out", dataset_name=trajectories):
        options = ["--model_name_or_path", tiny_model, "--dataset_name", dataset_name, "--output_dir", output_dir]
        return glow_trl("sft", *options, *CPU, "--per_device_train_batch_size", 8, "--num_train_epochs", 2, *argv)

    return run


def test_what_the_stage_leaves(sft, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr("glow_trl.training.loop.wait_for_others", waits.append)
    code, _ = sft("--logging_steps", 1, "--system_prompt", "Add.", "--ddp_timeout", 77)
    out = tmp_path / "out"
    assert code == 0
    # For the data, and for a step
    assert [time.total_seconds() for time in waits] == [7 * 24 * 3600, 77]
    assert (out / "model.safetensors").is_file() and (out / "tokenizer_config.json").is_file()
    run = json.loads((out / "run.json").read_text())
    assert (run["status"], run["samples"], run["trained_samples"]) == ("complete", 40, 40)
    assert run["seconds"] > 0 and run["data"] and run["versions"]["trl"] and run["config"]["system_prompt"] == "Add."
    tensors = load_file(out / "model.safetensors")
    assert run["parameters"] == run["trainable_parameters"] == sum(tensor.numel() for tensor in tensors.values())
    assert run["machine"]["cores"] > 0
    losses = [np.load(out / "ledger" / f"epoch-00{epoch}.npy") for epoch in (1, 2)]
    assert all(loss.shape == (40,) and loss.dtype == np.float32 and np.isfinite(loss).all() for loss in losses)
    samples = [row for _, row in read_jsonl(out / "ledger" / "samples.jsonl")]
    assert len(samples) == 40 and samples[1]["is_correct"] is False and samples[0]["model"] == "made-up"
    log = [row for _, row in read_jsonl(out / "log.jsonl")]
    assert sum("loss" in row for row in log) == 10 and any("glow/epoch_loss_negative" in row for row in log)
    handover = json.loads((out / "handover.json").read_text())
    assert (handover["system_prompt"], handover["end_token_share"]) == ("Add.", 1.0)


def test_a_complete_stage_is_skipped_and_other_settings_are_refused(sft, tmp_path):
    assert sft()[0] == 0
    before = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    assert sft("--logging_steps", 3)[0] == 0
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == before
    code, error = sft("--learning_rate", 0.1)
    assert code == 2 and "learning_rate" in error and "Choose another output_dir" in error


def test_epochs_on_the_command_line_hold_against_steps_in_the_file(sft, tmp_path):
    """As in the README's launch line: a recipe's `max_steps` won, whatever was asked for."""
    (tmp_path / "sft.yaml").write_text("max_steps: 3\n")
    code, said = sft("--config", tmp_path / "sft.yaml", "--logging_steps", 1)
    assert code == 0 and f"--num_train_epochs takes the place of max_steps: 3 in {tmp_path / 'sft.yaml'}" in said
    log = [row for _, row in read_jsonl(tmp_path / "out" / "log.jsonl")]
    assert sum("loss" in row for row in log) == 10 and max(row["epoch"] for row in log) == 2


@pytest.mark.parametrize("which", ["positive", "negative"])
def test_an_arm_trains_on_its_trajectories_only(sft, tmp_path, which):
    assert sft("--trajectories", which, "--weighting", "uniform")[0] == 0
    samples = [row for _, row in read_jsonl(tmp_path / "out" / "ledger" / "samples.jsonl")]
    assert len(samples) == 20 and {row["is_correct"] for row in samples} == {which == "positive"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--max_length", 4], "has a target token left within max_length=4"),
        (["--eos_token", "<|endoftext|>"], "the model would not learn to stop"),
        (["--num_train_epochs", 1], "weighting='glow' never takes effect"),
        (["--packing", "true", "--packing_strategy", "wrapped"], "cuts samples in pieces"),
        (["--model_name_or_path", "./nowhere"], "there is no folder nowhere"),
        (["--trajectories", "good"], "invalid choice: 'good'"),
        (["--prompt_template", "no place"], "prompt_template must contain {problem}"),
        (["--glow_alfa", 2], "did you mean --glow_alpha?"),
        (["--columns", '{"problem": "question"}'], "no column 'question'"),
        (["--columns", "{problem"], "--columns: not valid YAML"),
        (["--output_dir", "/proc/nowhere"], "output_dir /proc/nowhere: cannot be written to"),
    ],
)
def test_bad_configuration_is_one_line(sft, argv, message):
    code, error = sft(*argv)
    assert code == 2 and message in error and error.count("glow-trl: error") == 1 and "Traceback" not in error


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the data set is empty"),
        ([{"problem": "1"}], "column 'completion' is missing"),
        ([{"problem": "1", "completion": "2"}], "has no is_correct: run `glow-trl label` first"),
        ([{"problem": "1", "completion": "2", "is_correct": False}], "none of the 1 trajectories is positive"),
    ],
)
def test_bad_data_is_one_line(sft, tmp_path, rows, message):
    write_jsonl(tmp_path / "rows.jsonl", rows)
    code, error = sft("--trajectories", "positive", dataset_name=tmp_path / "rows.jsonl")
    assert code == 2 and message in error and "Traceback" not in error


@pytest.mark.slow
def test_a_killed_stage_ends_like_one_that_was_not(tiny_model, trajectories, tmp_path):
    """SIGKILL at random moments, three times, and the same command again: same weights, same ledger, to the bit."""

    def command(name):
        options = ["--model_name_or_path", tiny_model, "--dataset_name", trajectories, "--output_dir", tmp_path / name]
        options += [*CPU, "--per_device_train_batch_size", 4, "--num_train_epochs", 6, "--learning_rate", 1e-2]
        options += ["--save_steps", 3, "--save_total_limit", 3]
        return [sys.executable, "-m", "glow_trl", "sft", *map(str, options)]

    run_to_the_end(command("undisturbed"))
    rng = random.Random(0)

    def newest() -> int:
        return max((int(path.name[11:]) for path in (tmp_path / "killed").glob("checkpoint-*")), default=0)

    for _ in range(3):
        before = newest()
        # Fast machines take ten steps of the 60 meanwhile
        kill_when(lambda before=before: newest() > before, command("killed"), delay=rng.uniform(0, 0.1))
    run_to_the_end(command("killed"))

    for file in ("model.safetensors", "checkpoint-60/glow/ledger.safetensors"):
        expected, found = load_file(tmp_path / "undisturbed" / file), load_file(tmp_path / "killed" / file)
        assert expected.keys() == found.keys()
        assert all(np.array_equal(expected[key], found[key], equal_nan=True) for key in expected), file
    for epoch in range(1, 7):
        name = f"ledger/epoch-{epoch:03d}.npy"
        assert np.array_equal(np.load(tmp_path / "undisturbed" / name), np.load(tmp_path / "killed" / name)), name
