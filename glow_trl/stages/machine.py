"""On what a stage runs: the processor, its cores and memory, and the GPUs that the process may use."""

import os
import platform
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any


UNKNOWN = "unknown"


def machine() -> dict[str, Any]:
    """`cpu` (its name), `cores` (that the process may use), `memory` in GiB, and `gpus`, each with `name` and
    `memory` in GiB. Asked of the system and the driver: the stages' own libraries may not be loaded for this."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": _cpu(), "cores": cores, "memory": _memory(), "gpus": _gpus()}


def describe_machine(facts: Mapping[str, Any] | None) -> str:
    """The same for people: `4 × NVIDIA H100 (80 GiB), Intel Xeon (64 cores), 512 GiB`."""
    if not facts:
        return UNKNOWN
    gpus = Counter((gpu.get("name"), gpu.get("memory")) for gpu in facts.get("gpus") or [])
    parts = [f"{count} × {name}" + (f" ({size:g} GiB)" if size else "") for (name, size), count in gpus.items()] or [
        "no GPU"
    ]
    cores = facts.get("cores")
    parts.append(str(facts.get("cpu") or UNKNOWN) + (f" ({cores} core{'s' if cores > 1 else ''})" if cores else ""))
    if facts.get("memory"):
        parts.append(f"{facts['memory']:g} GiB of memory")
    return ", ".join(parts)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine() or UNKNOWN


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _gpus() -> list[dict[str, Any]]:
    """NVIDIA's GPUs, those of CUDA_VISIBLE_DEVICES where it is set."""
    command = shutil.which("nvidia-smi")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if command is None or visible in ("", "-1"):
        return []
    query = [command, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        result = subprocess.run(
            [*query, *([f"--id={visible}"] if visible else [])], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = (line.rpartition(",") for line in result.stdout.splitlines() if result.returncode == 0)
    return [
        {"name": name.strip(), "memory": round(int(size) / 1024, 1) if size.strip().isdigit() else None}
        for name, _, size in rows
    ]
