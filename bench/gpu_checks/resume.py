"""A run that is killed and goes on ends as one that was not, to the bit, with deterministic algorithms."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from glow_trl.data import read_jsonl
from glow_trl.training.checkpoints import last_complete_checkpoint
from helpers.processes import kill_when

from .inputs import CPU, QUIET, small_model, write_sums
from .rows import CheckRun, Row, run_through


# The kill comes with this checkpoint
KILLED_AT = 4


def check(run: CheckRun) -> None:
    model = small_model(run.folder / "model", dropout=0.1)
    trajectories, _ = write_sums(run.folder)

    def command(folder: Path) -> list[str]:
        options = ["--model_name_or_path", model, "--dataset_name", trajectories, "--output_dir", folder]
        # Sets CUBLAS_WORKSPACE_CONFIG and torch.use_deterministic_algorithms
        options += ["--full_determinism", "true", *QUIET, *([] if run.gpu else CPU)]
        options += ["--per_device_train_batch_size", 16, "--num_train_epochs", 3, "--learning_rate", 5e-3]
        options += ["--save_steps", 1, "--glow_alpha", 1.8, "--glow_beta", 8, "--eos_token", "<|im_end|>"]
        return [sys.executable, "-m", "glow_trl", "sft", *map(str, options)]

    with run.row("sft") as row:
        straight, killed = run.folder / "straight", run.folder / "killed"
        # The two take turns on the GPU as they like: what they compute must not depend on it
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(run_through, command(straight))
            kill_when((killed / f"checkpoint-{KILLED_AT}").exists, command(killed), env=None)
            other.result()
        row.require(not (killed / "model.safetensors").exists(), "the run ended before it was killed")
        checkpoint = last_complete_checkpoint(killed)
        row.require(checkpoint is not None, "no checkpoint was left by the run that was killed")
        said = run_through(command(killed))
        row.require(f"resuming from {checkpoint}" in said, f"it did not go on from {checkpoint}")
        row["killed at checkpoint"] = int(Path(checkpoint).name.rpartition("-")[2])
        compare(row, straight, killed)


def read_log(folder: Path) -> list[dict]:
    return [entry for _, entry in read_jsonl(folder / "log.jsonl")]


def compare(row: Row, straight: Path, killed: Path) -> None:
    """Weights and the losses of all samples in all epochs byte by byte, and the log but for its times."""
    files = ["model.safetensors", *(f"ledger/{path.name}" for path in (straight / "ledger").iterdir())]
    logs = [[entry for entry in read_log(folder) if "train_runtime" not in entry] for folder in (straight, killed)]
    row["files"], row["log entries"] = len(files), len(logs[0])
    row["steps"] = sum("loss" in entry for entry in logs[0])
    row.require(row["steps"] > KILLED_AT, "the run is too short to be killed in its middle")
    differ = [name for name in files if (straight / name).read_bytes() != (killed / name).read_bytes()]
    differ += ["log.jsonl"] if logs[0] != logs[1] else []
    row.require(not differ, f"not the same: {', '.join(differ)}")
