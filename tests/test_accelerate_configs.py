"""The files for accelerate: it can read them, and training starts under those that other tests do not start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from glow_trl.data import write_jsonl
from glow_trl.recipes import write_settings
from glow_trl.runs import read_run


ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "accelerate_configs").glob("*.yaml"))
NAMES = {
    "cpu",
    "single_gpu",
    "ddp",
    "fsdp2",
    "zero1",
    "zero2",
    "zero2_offload",
    "zero3",
    "zero3_offload",
    "multi_node",
}


def test_all_are_there():
    assert {path.stem for path in CONFIGS} == NAMES


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_reads_it(path):
    """Known keys only, and a comment that says what it is for."""
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.num_processes >= 1 and path.read_text().startswith("# ")


# As for GPUs, but on two processes on CPU. The other files are started by test_launch_lines.py, but for two kinds:
# `fsdp2` is silently DDP on CPU, and tested through `fully_shard` in tests/glow/test_glow_processes.py; with the files
# that offload, DeepSpeed first compiles an optimizer for minutes: test_glow_deepspeed.py offloads without it.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stage"),
    [("ddp", "sft"), ("ddp", "grpo"), ("zero1", "grpo")],
)
def test_training_starts(name, stage, tiny_model, tmp_path):
    config = yaml.safe_load((ROOT / "accelerate_configs" / f"{name}.yaml").read_text())
    write_settings(
        tmp_path / "accelerate.yaml", config | {"use_cpu": True, "mixed_precision": "no", "num_processes": 2}
    )
    rows = ({"problem": f"{a}+1=?", "completion": f"\\boxed{{{a + 1}}}", "answer": str(a + 1)} for a in range(8))
    write_jsonl(tmp_path / "rows.jsonl", rows)
    settings = {
        "model_name_or_path": tiny_model,
        "dataset_name": str(tmp_path / "rows.jsonl"),
        "output_dir": str(tmp_path / "out"),
        "use_cpu": True,
        "bf16": False,
        "per_device_train_batch_size": 2,
        "gradient_checkpointing": False,
        "max_steps": 2,
        "report_to": "none",
        "save_strategy": "steps",
        "save_steps": 2,
    }
    settings |= {"weighting": "uniform"} if stage == "sft" else {"num_generations": 2, "max_completion_length": 8}
    write_settings(tmp_path / "stage.yaml", settings)
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--config_file"]
    command += [str(tmp_path / "accelerate.yaml"), "-m", f"glow_trl.{stage}", "--config", str(tmp_path / "stage.yaml")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-4000:]
    assert read_run(tmp_path / "out")["status"] == "complete"
    checkpoint = tmp_path / "out" / "checkpoint-2"
    # One for each process
    assert len(list(checkpoint.glob("rng_state_*.pth"))) == 2
    assert len(list(checkpoint.glob("global_step2/*_optim_states.pt"))) == (2 if name.startswith("zero") else 0)
