"""A node dies: stage 1 goes on with the processes that are left, from the same files, and ends as if nothing was."""

import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from glow_trl.data import read_jsonl
from glow_trl.recipes.recipe import write_settings
from glow_trl.training.deepspeed import num_partitions
from helpers.launching import environment, launch_command, on_cpu
from helpers.processes import wait_until


pytestmark = pytest.mark.slow


def start(name: str, num_processes: int, settings: dict, folder: Path) -> psutil.Popen:
    """`accelerate launch` of the stage, on CPU."""
    write_settings(folder / "sft.yaml", settings)
    config = on_cpu(name, folder, num_processes)
    command = launch_command(config, "-m", "helpers.stages", "glow_trl.sft", "--config", str(folder / "sft.yaml"))
    return psutil.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)


def finish(process: psutil.Popen) -> str:
    errors = process.communicate()[1]
    assert process.returncode == 0, errors[-3000:]
    return errors


@pytest.mark.parametrize(("name", "adapter"), [("ddp", False), ("zero3", True)])
def test_two_processes_and_then_one(name, adapter, tiny_model, trajectories, tmp_path):
    """All processes are killed in the second epoch of three; weights, ledger and losses are those of one process."""
    settings = {
        "model_name_or_path": tiny_model,
        "dataset_name": trajectories,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 3,
        "num_train_epochs": 3,
        "learning_rate": 1.0e-3,
        "weight_decay": 0.1,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "eos_token": "<|im_end|>",
        "report_to": "none",
    }
    weights = "model.safetensors"
    if adapter:
        weights = "adapter_model.safetensors"
        settings |= {"use_peft": True, "lora_r": 4, "lora_dropout": 0.0, "lora_target_modules": "all-linear"}
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    if adapter:
        # Which adapter it begins with depends on how the model is made
        finish(start(name, 2, settings | {"output_dir": str(straight)}, tmp_path))
    else:
        settings_of_one = settings | {"output_dir": str(straight), "gradient_accumulation_steps": 2}
        finish(start("cpu", 1, settings_of_one, tmp_path))

    # 40 samples, 6 a step
    process = start(name, 2, settings | {"output_dir": str(killed)}, tmp_path)
    wait_until((killed / "checkpoint-10").exists, process)
    # The launcher last, as it would end the others in good order
    for victim in reversed([process, *process.children(recursive=True)]):
        victim.kill()
    process.communicate()
    if name == "zero3":
        # Two were writing a checkpoint that one will write again
        parts = killed / "checkpoint-20" / "global_step20"
        parts.mkdir(parents=True)
        for rank in range(2):
            (parts / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").touch()
    errors = finish(start(name, 1, settings | {"output_dir": str(killed)}, tmp_path))
    assert num_partitions(killed / "checkpoint-20") == (1 if name == "zero3" else 0)
    assert "goes on with gradient_accumulation_steps: 2, as there are 1 processes now" in errors
    assert "resuming from" in errors

    expected, result = (load_file(folder / weights) for folder in (straight, killed))
    for key, value in expected.items():
        torch.testing.assert_close(result[key], value, rtol=0, atol=1e-5)
    for epoch in (1, 2, 3):
        losses = [np.load(folder / "ledger" / f"epoch-{epoch:03d}.npy") for folder in (straight, killed)]
        np.testing.assert_allclose(*losses, rtol=1e-5)
        assert np.isfinite(losses[0]).all()
    logs = [
        [row["loss"] for _, row in read_jsonl(folder / "log.jsonl") if "loss" in row] for folder in (straight, killed)
    ]
    assert len(logs[0]) == 21
    np.testing.assert_allclose(*logs, rtol=1e-4)
