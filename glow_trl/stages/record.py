"""The record of a stage's run, `run.json`: what was run, on what, with what, and whether it is complete."""

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
from .config import Settings
from .files import make_writable, read_json, write_json
from .fingerprint import fingerprint, hub_commit
from .machine import machine
from .secrets import hide, without_secrets


RUN_FILE = "run.json"
# How the samples of a step are divided
DIVISION = {"per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation"}

_PACKAGES = ("glow-trl", "torch", "trl", "transformers", "accelerate", "peft", "datasets", "math-verify", "vllm")
# Where a run is, not what it is
_PLACE = {"output_dir"}


class StageRun:
    """
    The record of one run of a stage in its own output folder.

    Args:
        stage (`str`):
            Name of the stage.
        output_dir (`str` or `os.PathLike`):
            The stage's folder. It is made when the run starts.
        settings ([`~glow_trl.stages.config.Settings`], *optional*):
            What the stage was told.
        inputs (`Iterable[str]`, *optional*):
            Files and folders that the stage reads; `None` and `""` are passed over. Their fingerprints are recorded,
            and must be the same when the run goes on.
        depends_on (`dict`, *optional*):
            What else a complete run is complete for: where it differs, the run is opened again.
        main_process (`bool`, *optional*, defaults to `True`):
            Whether this process writes. The other processes of a distributed run only read.
        step_size (`dict`, *optional*):
            Samples of a step on all processes, by name. A run may go on with the same divided in another way.
        reopens (`bool`, *optional*, defaults to `False`):
            Whether a complete run is opened again.
        recomputes (`bool`, *optional*, defaults to `False`):
            Whether the stage takes any settings and inputs, and does all of its work again.

    Attributes:
        record (`dict`): the content of `run.json`.
        is_complete (`bool`): whether nothing is left to do.
        is_new (`bool`): whether the folder holds no earlier start of this run.

    Raises:
        UserError: the folder holds a run with other settings or inputs.
    """

    def __init__(
        self,
        stage: str,
        output_dir: str | os.PathLike,
        settings: Settings | None = None,
        inputs: Iterable[str | os.PathLike | None] = (),
        depends_on: Mapping[str, Any] | None = None,
        main_process: bool = True,
        step_size: Mapping[str, int] | None = None,
        reopens: bool = False,
        recomputes: bool = False,
    ):
        self.stage = stage
        self.output_dir = Path(output_dir)
        self.main_process = main_process
        self._settings = settings or Settings(stage, (), {}, {}, {}, {})
        self._started = time.monotonic()
        self._is_written = False
        self.record: dict[str, Any] = {
            "stage": stage,
            "status": "running",
            "seconds": 0.0,
            "given": without_secrets(jsonable(self._settings.given)),
            "config": without_secrets(jsonable(self._settings.resolved)),
            # Reading a large model takes minutes: one process of several does it, and refuses for all
            "data": {hide(str(path)): fingerprint(path) for path in inputs if path} if main_process else {},
            "seed": self._settings.resolved.get("seed"),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            **provenance(),
        }
        optional = {"identity": self._settings.identity, "depends_on": depends_on, "step_size": step_size}
        self.record |= {name: without_secrets(jsonable(value)) for name, value in optional.items() if value}
        earlier = read_run(self.output_dir)
        self.is_new = earlier is None
        if earlier is None and (self.output_dir / RUN_FILE).exists():
            raise UserError(
                f"{self.output_dir / RUN_FILE} is damaged, so it is not known what the folder holds; choose another "
                "output_dir, or delete that folder to start over"
            )
        self.is_complete = False
        if earlier is not None:
            changes = {} if recomputes and earlier.get("stage") == stage else self._changes(earlier)
            # Of all its starts, and of the first
            self.record["seconds"] = float(earlier.get("seconds") or 0.0)
            self.record["started"] = earlier.get("started") or self.record["started"]
            is_same = not changes and self.record.get("depends_on") == earlier.get("depends_on")
            self.is_complete = earlier.get("status") == "complete" and is_same and not (reopens or recomputes)
            if self.is_complete:
                self.record = earlier

    def _changes(self, earlier: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that differ and make a complete run be opened again. Raises where one may not differ."""
        names = {*self.record["given"], *(earlier.get("given") or earlier.get("config") or {})}
        marks = self._settings.changeable
        ours, theirs = self.record["config"], earlier.get("config") or {}
        own_part = self.record.get("identity", {}).keys() | earlier.get("identity", {}).keys()
        differing = {name for name in names - own_part if ours.get(name) != theirs.get(name)}
        refused = {name for name in differing if not marks.get(name) and name not in _PLACE}
        if self.record.get("step_size") and self.record["step_size"] == earlier.get("step_size"):
            refused -= DIVISION
        differences = [f"{name}: {theirs.get(name)!r} -> {ours.get(name)!r}" for name in sorted(refused)]
        for name in sorted(own_part):
            old, new = (record.get("identity", {}).get(name) for record in (earlier, self.record))
            if old != new:
                differences.append(f"{name}: {old!r} -> {new!r}")
        old, new = earlier.get("hub_commit"), self._hub_commit()
        if old and new and old != new:
            differences.append(f"the commit of {ours.get('model_name_or_path')} on the Hub: {old} -> {new}")
        data, earlier_data = self.record["data"], earlier.get("data") or {}
        earlier_data = earlier_data if self.main_process else {}
        for path in sorted(data.keys() | earlier_data.keys()):
            old, new = earlier_data.get(path), data.get(path)
            if old != new:
                differences.append(f"the content of {path}" if old and new else f"the input {path}")
        if differences or earlier.get("stage") != self.stage:
            raise UserError(
                f"{self.output_dir} holds a run of {earlier.get('stage')} that differs in "
                f"{'; '.join(differences) or 'its stage'}. Choose another output_dir, or delete that folder to start "
                "over"
            )
        return {name: ours.get(name) for name in differing if marks.get(name) == "recomputes"}

    def start(self) -> None:
        """Record that the run is under way."""
        self._started = time.monotonic()
        self._write()

    def complete(self, **facts: Any) -> None:
        """Record that the run is complete, with further `facts` about it, and the time it took over all its starts."""
        self._stop(facts)
        self.record["status"] = "complete"
        self.record["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        self._write()
        self.is_complete = True

    def interrupt(self, **facts: Any) -> None:
        """Record `facts` about a run that stops before its end, and the time spent so far. Nothing if not started."""
        if self._is_written and not self.is_complete:
            self._stop(facts)
            self._write()

    def release(self) -> None:
        """Leave the folder to other settings: for a run whose first start failed before it had done anything."""
        if self.is_new and self._is_written and self.main_process:
            (self.output_dir / RUN_FILE).unlink(missing_ok=True)
            self._is_written = False

    def _hub_commit(self) -> str | None:
        settings = self._settings.resolved
        name = settings.get("model_name_or_path")
        if not isinstance(name, str) or settings.get("engine") == "server" or os.path.exists(name):
            return None
        return hub_commit(name, settings.get("model_revision"))

    def _stop(self, facts: Mapping[str, Any]) -> None:
        self.record |= jsonable(facts)
        # Known when the model was loaded
        self.record |= {"hub_commit": commit} if (commit := self._hub_commit()) else {}
        now = time.monotonic()
        self.record["seconds"] = round(self.record["seconds"] + now - self._started, 3)
        self._started = now

    def _write(self) -> None:
        self._is_written = True
        if self.main_process:
            make_writable(self.output_dir)
            write_json(self.output_dir / RUN_FILE, without_secrets(self.record))


def read_run(output_dir: str | os.PathLike) -> dict[str, Any] | None:
    """The `run.json` of a stage's folder, or `None` without a readable one."""
    return without_secrets(read_json(Path(output_dir) / RUN_FILE))


def jsonable(value: Any) -> Any:
    """`value` with everything that JSON does not know turned into strings."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [jsonable(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return getattr(value, "value", None) if isinstance(getattr(value, "value", None), str) else str(value)


def provenance() -> dict[str, Any]:
    """With what something was made: `versions` of packages, `git` revision of this one, `machine`, `command` line."""
    command = without_secrets(sys.argv)
    return {"versions": _versions(), "git": _git_revision(), "machine": machine(), "command": command}


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
