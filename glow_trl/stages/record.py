"""The record of a stage's run, `run.json`: what was run, on what, with what, and whether it is complete."""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import UserError
from .files import make_writable, read_json, write_json


RUN_FILE = "run.json"

_PACKAGES = ("glow-trl", "torch", "trl", "transformers", "accelerate", "peft", "datasets", "math-verify", "vllm")
# Settings that do not change what a stage makes
_INCIDENTAL = {
    "output_dir",
    "run_name",
    "project",
    "report_to",
    "disable_tqdm",
    "logging_strategy",
    "logging_steps",
    "log_level",
    "save_strategy",
    "save_steps",
    "save_total_limit",
    "resume_from_checkpoint",
    "overwrite_output_dir",
    "dataloader_num_workers",
    "dataset_num_proc",
    # Where and how fast a step is computed
    "use_cpu",
    "gradient_checkpointing",
    "gradient_checkpointing_kwargs",
    "dataloader_pin_memory",
    "dataloader_persistent_workers",
    "dataloader_prefetch_factor",
    "ddp_timeout",
    "per_device_eval_batch_size",
    "vllm_mode",
    "vllm_gpu_memory_utilization",
    "vllm_tensor_parallel_size",
    "vllm_enable_sleep_mode",
    # When a run stops, and where its server is
    "guard_patience",
    "guard_min_reward_share",
    "guard_max_clipped_ratio",
    "guard_max_kl",
    "guard_max_entropy",
    "start_vllm_server",
    "vllm_server_devices",
    "vllm_server_args",
    "vllm_server_host",
    "vllm_server_port",
    "vllm_server_base_url",
    "vllm_server_timeout",
}
# How the samples of a step are divided
DIVISION = {"per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation"}
_HASHED_WHOLE = 16 << 20


class StageRun:
    """
    One run of a stage in its own output folder.

    Args:
        stage (`str`):
            Name of the stage.
        output_dir (`str` or `os.PathLike`):
            The stage's folder; made if it does not exist.
        settings (`dict`):
            What the user set, by name.
        inputs (`Iterable[str]`, *optional*):
            Files and folders that the stage reads. Their fingerprints are recorded.
        main_process (`bool`, *optional*, defaults to `True`):
            Whether this process writes. The other processes of a distributed run only read.
        step_size (`dict`, *optional*):
            Samples of a step on all processes, by name. A run may go on with the same divided in another way.

    Raises:
        UserError: the folder cannot be written to, or holds a run with other settings or inputs.
    """

    def __init__(
        self,
        stage: str,
        output_dir: str | os.PathLike,
        settings: Mapping[str, Any],
        inputs: Iterable[str | os.PathLike] = (),
        main_process: bool = True,
        step_size: Mapping[str, int] | None = None,
    ):
        self.stage = stage
        self.output_dir = Path(output_dir)
        self.main_process = main_process
        self._started = time.monotonic()
        self.record: dict[str, Any] = {
            "stage": stage,
            "status": "running",
            "seconds": 0.0,
            "config": jsonable(settings),
            "data": {str(path): fingerprint(path) for path in inputs},
            "seed": settings.get("seed"),
            **({} if step_size is None else {"step_size": dict(step_size)}),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            **provenance(),
        }
        make_writable(self.output_dir)
        earlier = read_run(self.output_dir)
        self.is_complete = False
        if earlier is not None:
            self._check_same(earlier)
            self.is_complete = earlier.get("status") == "complete"
            self.record["seconds"] = float(earlier.get("seconds") or 0.0)
            if self.is_complete:
                self.record = earlier

    def _check_same(self, earlier: Mapping[str, Any]) -> None:
        ours, theirs = _identity(self.record), _identity(earlier)
        if ours == theirs:
            return
        if "step_size" in self.record and self.record["step_size"] == earlier.get("step_size"):
            ours, theirs = _identity(self.record, DIVISION), _identity(earlier, DIVISION)
            if ours == theirs:
                return
        differences = []
        for part in ("config", "data"):
            for key in sorted(ours[part].keys() | theirs[part].keys()):
                old, new = theirs[part].get(key), ours[part].get(key)
                if old != new and part == "config":
                    differences.append(f"{key}: {old!r} -> {new!r}")
                elif old != new:
                    differences.append(f"the content of {key}" if old and new else f"the input {key}")
        raise UserError(
            f"{self.output_dir} holds a run of {self.stage} that differs in {'; '.join(differences) or 'its stage'}. "
            "Choose another output_dir, or delete that folder to start over"
        )

    def start(self) -> None:
        """Record that the run is under way."""
        self._started = time.monotonic()
        self._write()

    def complete(self, **facts: Any) -> None:
        """Record that the run is complete, with further `facts` about it, and the time it took over all its starts."""
        self.record |= jsonable(facts)
        self.record["seconds"] = round(self.record["seconds"] + time.monotonic() - self._started, 3)
        self.record["status"] = "complete"
        self.record["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        self._write()
        self.is_complete = True

    def interrupt(self, **facts: Any) -> None:
        """Record `facts` about a run that stops before its end, and the time spent so far."""
        self.record |= jsonable(facts)
        self.record["seconds"] = round(self.record["seconds"] + time.monotonic() - self._started, 3)
        self._write()

    def _write(self) -> None:
        if self.main_process:
            write_json(self.output_dir / RUN_FILE, self.record)


def read_run(output_dir: str | os.PathLike) -> dict[str, Any] | None:
    """The `run.json` of a stage's folder, or `None` without a readable one."""
    return read_json(Path(output_dir) / RUN_FILE)


def fingerprint(path: str | os.PathLike) -> str | None:
    """
    A digest of a file's content, or of the names and contents of a folder's files, checkpoints aside; `None` where
    there is no such path. Of files over 16 MiB, size and both ends count.
    """
    path = Path(path)
    digest = hashlib.sha256()
    if path.is_file():
        _digest_file(path, digest)
    elif path.is_dir():
        for file in sorted(path.iterdir()):
            # What the stage that made the folder keeps beside its result does not change the result
            if file.is_file() and file.suffix in (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt"):
                if file.name not in (RUN_FILE, "trainer_state.json"):
                    digest.update(file.name.encode())
                    _digest_file(file, digest)
    else:
        return None
    return digest.hexdigest()[:16]


def _digest_file(path: Path, digest) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _HASHED_WHOLE:
            digest.update(file.read())
            return
        digest.update(str(size).encode())
        digest.update(file.read(1 << 20))
        file.seek(-(1 << 20), os.SEEK_END)
        digest.update(file.read())


def jsonable(value: Any) -> Any:
    """`value` with everything that JSON does not know turned into strings."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [jsonable(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return getattr(value, "value", None) if isinstance(getattr(value, "value", None), str) else str(value)


def _identity(record: Mapping[str, Any], without: set[str] = frozenset()) -> dict[str, Any]:
    left_out = _INCIDENTAL | without
    config = {key: value for key, value in (record.get("config") or {}).items() if key not in left_out}
    return {"stage": record.get("stage"), "config": config, "data": record.get("data") or {}}


def provenance() -> dict[str, Any]:
    """With what something was made: `versions` of the packages, `git` revision of this one, `command` line."""
    return {"versions": _versions(), "git": _git_revision(), "command": sys.argv}


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _git_revision() -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.stdout.strip() or None if result.returncode == 0 else None
