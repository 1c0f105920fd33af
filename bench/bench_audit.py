"""Speed of `glow-trl audit` on the real trajectories, repeated to many rows, without a model that judges.

    python bench/bench_audit.py [--data FOLDER] [--rows 100000] [--workers 2] [--distinct]

With `--distinct` no two completions are alike, as rollouts of a model that samples are; their answers still repeat.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table


KINDS = {"traj_mmlupro_4models": "choice", "traj_bbh_davinci002": "text"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("GLOW_TRL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--distinct", action="store_true")
    options = parser.parse_args()
    if not Path(options.data).is_dir():
        Console().print(f"no real data at {options.data}: nothing measured (--data)")
        return
    rows = [
        {**json.loads(line), "kind": KINDS.get(file.stem, "math")}
        for file in sorted(Path(options.data).glob("traj_*.jsonl"))
        for line in file.open(encoding="utf-8")
    ]
    random.Random(0).shuffle(rows)
    table = Table("rows", "seconds (at most 60)", "of the processors", "agreement with math-verify")
    with tempfile.TemporaryDirectory(prefix="bench_audit_") as name:
        source = Path(name) / "rows.jsonl"
        with source.open("w", encoding="utf-8") as file:
            for number in range(options.rows):
                row = rows[number % len(rows)]
                if options.distinct:
                    row = row | {"completion": f"Attempt {number}.\n{row['completion']}"}
                file.write(json.dumps(row) + "\n")
        command = [sys.executable, "-m", "glow_trl", "audit", str(source), "--output_dir", f"{name}/out"]
        started, before = time.perf_counter(), os.times()
        subprocess.run([*command, "--workers", str(options.workers)], check=True, capture_output=True)
        seconds, after = time.perf_counter() - started, os.times()
        used = sum(after[2:4]) - sum(before[2:4])
        results = json.loads((Path(name) / "out" / "results.json").read_text())
        table.add_row(
            f"{results['rows']:,}", f"{seconds:.1f}", f"{used:.1f}", f"{results['agreement']['ours, math-verify']:.2%}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
