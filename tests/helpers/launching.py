"""Starting the stages with `accelerate launch` and the files of accelerate_configs, on CPU."""

import os
import socket
import sys
from pathlib import Path

import yaml

from glow_trl.recipes.recipe import write_settings


ROOT = Path(__file__).resolve().parents[2]
# Options of a stage that trains a small model here
CPU = ["--use_cpu", "true", "--bf16", "false", "--gradient_checkpointing", "false", "--disable_tqdm", "true"]
CONFIGS = {path.stem: path for path in (ROOT / "accelerate_configs").glob("*.yaml")}


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def on_cpu(name: str, folder: Path, num_processes: int) -> Path:
    """A copy of the file for so many processes on CPU, in `folder`."""
    config = yaml.safe_load(CONFIGS[name].read_text())
    config |= {"use_cpu": True, "mixed_precision": "no", "num_processes": num_processes}
    # accelerate's own is the same for all launches
    config["main_process_port"] = free_port()
    if num_processes == 1 and config["distributed_type"] == "MULTI_GPU":
        config["distributed_type"] = "NO"
    path = folder / f"{name}.yaml"
    write_settings(path, config)
    return path


def launch_command(config: Path, *argv: str) -> list[str]:
    """`accelerate launch` of a module: options of the launcher, `-m`, its name and arguments."""
    return [
        *(sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"),
        *("--config_file", str(config), *argv),
    ]


def environment(**variables: str) -> dict[str, str]:
    """For a process of a stage: this checkout, and one thread, as several processes share the cores."""
    # What is there already may hold the libraries
    path = filter(None, [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH")])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path), **variables}
