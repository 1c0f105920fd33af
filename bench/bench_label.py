"""Speed and memory of `glow-trl label` on the real trajectories.

    python bench/bench_label.py [--data FOLDER] [--rows 200000] [--workers 2]

The real rows once for the speed, and repeated to `--rows` for the memory: the most that the command and its children
hold at a time (resident, shared pages counted in each), over what it held when it had read its first rows.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table


KINDS = {"traj_mmlupro_4models": "choice", "traj_bbh_davinci002": "text"}


def write_rows(data: Path, path: Path, count: int | None = None) -> int:
    """The real trajectories, each with its kind, repeated to `count` rows."""
    lines = []
    for file in sorted(data.glob("traj_*.jsonl")):
        for line in file.open(encoding="utf-8"):
            lines.append(json.dumps({**json.loads(line), "kind": KINDS.get(file.stem, "math")}) + "\n")
    count = count or len(lines)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            file.write(lines[number % len(lines)])
    return count


def resident(process: psutil.Process) -> int:
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def measure(rows: Path, output_dir: Path, workers: int) -> dict[str, float]:
    command = [sys.executable, "-m", "glow_trl", "label", "--dataset_name", str(rows), "--workers", str(workers)]
    command += ["--columns", '{"answer": "gold"}', "--output_dir", str(output_dir)]
    started = time.perf_counter()
    process = psutil.Popen(command, stderr=subprocess.DEVNULL)
    partial = output_dir / "trajectories.jsonl.partial"
    at_start = peak = 0
    while process.poll() is None:
        now = resident(process)
        peak = max(peak, now)
        if not at_start and partial.exists() and partial.stat().st_size:
            at_start = now
        time.sleep(0.02)
    assert process.returncode == 0
    facts = json.loads((output_dir / "run.json").read_text())
    return {
        "rows": facts["rows"],
        "seconds": time.perf_counter() - started,
        "rows/s": facts["rows_per_second"],
        "at start": at_start / 2**20,
        "peak": peak / 2**20,
        "over start": (peak - at_start) / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("GLOW_TRL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if not Path(options.data).is_dir():
        Console().print(f"no real data at {options.data}: nothing measured (--data)")
        return
    table = Table("rows", "seconds", "rows/s (at least 1500)", "MiB at start", "peak", "over start (at most 300)")
    with tempfile.TemporaryDirectory(prefix="bench_label_") as name:
        folder = Path(name)
        for number, count in enumerate((None, options.rows)):
            write_rows(Path(options.data), folder / "rows.jsonl", count)
            found = measure(folder / "rows.jsonl", folder / f"out{number}", options.workers)
            table.add_row(*(f"{value:,.0f}" for value in found.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
