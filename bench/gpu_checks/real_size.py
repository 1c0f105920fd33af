"""Both stages at real size, as `glow-trl` runs them: a real model where there is one, else its shape."""

import json
import math
from pathlib import Path

import torch

from glow_trl.cli import main
from glow_trl.data import read_jsonl

from .inputs import CPU, QUIET, shaped_model, write_sums
from .rows import CheckRun, Row


SFT_STEPS, GRPO_STEPS = 8, 3


def check(run: CheckRun) -> None:
    model = run.model
    with run.row("model") as row:
        if model is None:
            model = shaped_model(run.folder / "model", run.gpu)
            row["weights"] = "random, in the shape of Qwen2.5-0.5B" if run.gpu else "random, small"
        else:
            row["weights"] = Path(model).name if "snapshots" not in model else Path(model).parents[1].name
        config = json.loads(Path(model, "config.json").read_text())
        row["hidden size"], row["layers"] = config["hidden_size"], config["num_hidden_layers"]
        row["vocabulary"] = config["vocab_size"]
    trajectories, questions = write_sums(run.folder)
    common = [*QUIET, "--save_strategy", "no", *([] if run.gpu else CPU)]
    sft, grpo = run.folder / "sft", run.folder / "grpo"
    with run.row("sft") as row:
        options = ["--model_name_or_path", model, "--dataset_name", trajectories, "--output_dir", sft, *common]
        options += ["--per_device_train_batch_size", 32, "--num_train_epochs", 2]
        options += ["--learning_rate", 1e-4 if run.gpu else 1e-3]
        stage(row, run, "sft", options, SFT_STEPS)
        # Unweighted
        log = [entry for _, entry in read_jsonl(sft / "log.jsonl")]
        losses = [entry["glow/sample_loss"] for entry in log if "glow/sample_loss" in entry]
        row["first loss"], row["last loss"] = losses[0], losses[-1]
        row.require(all(map(math.isfinite, losses)) and losses[-1] < losses[0], "nothing was learned")
    with run.row("grpo") as row:
        row.require((sft / "model.safetensors").exists(), "there is no checkpoint of stage 1")
        options = ["--model_name_or_path", sft, "--dataset_name", questions, "--output_dir", grpo, *common]
        options += ["--per_device_train_batch_size", 32 if run.gpu else 8, "--num_generations", 8]
        options += ["--max_completion_length", 64 if run.gpu else 8, "--max_steps", GRPO_STEPS]
        options += ["--reward_funcs", "gpu_checks.inputs.even_reward", "accuracy_reward"]
        options += ["--learning_rate", 1e-5, "--guard_max_clipped_ratio", 2, "--guard_max_entropy", 20]
        stage(row, run, "grpo", options, GRPO_STEPS)
        entries = [entry for _, entry in read_jsonl(grpo / "log.jsonl") if "reward" in entry]
        row["reward"], row["s a step"] = entries[-1]["reward"], entries[-1].get("step_time", 0.0)
        row.require(all(entry["grad_norm"] > 0 for entry in entries), "a step taught nothing")


def stage(row: Row, run: CheckRun, name: str, options: list, steps: int) -> None:
    """Run a stage; the row gets its time and peak memory."""
    if run.gpu:
        torch.cuda.reset_peak_memory_stats()
    code = main([name, *map(str, options)])
    row.require(code == 0, f"glow-trl {name} ended with exit code {code}; its message is in the log")
    folder = Path(options[options.index("--output_dir") + 1])
    logged = [entry for _, entry in read_jsonl(folder / "log.jsonl") if "grad_norm" in entry]
    row["steps"] = len(logged)
    row.require(len(logged) == steps, f"{len(logged)} steps were made, not {steps}")
    row["parameters"] = json.loads((folder / "run.json").read_text())["parameters"]
    if run.gpu:
        row["peak GiB"] = torch.cuda.max_memory_allocated() / 2**30
