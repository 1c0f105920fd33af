"""Time and memory of `glow-trl mix` over 200,000 trajectories, with decontamination against every local benchmark.

    python bench/bench_mix.py [--data FOLDER] [--rows 200000] [--kinds jsonl parquet json]

The rows are the real trajectories, over and over, with other numbers in question and completion in every round, so
that questions and completions differ. Bars: 60 s of wall time and 1.5 GB on two cores. Recall over planted benchmark
questions is in tests/collection/test_decontamination.py.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table


_NUMBER = re.compile(r"\d+")
_RUN = """
import os, sys, time
from pathlib import Path
from glow_trl.cli import main
start = time.perf_counter()
code = main(["mix", *sys.argv[1:]])
(peak,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(code, time.perf_counter() - start, sum(os.times()[:2]), int(peak) / 1024)
"""


def trajectories(folder: Path, count: int) -> Iterator[dict]:
    real = []
    for path in sorted(folder.glob("traj_*.jsonl")):
        for line in path.open(encoding="utf-8"):
            row = json.loads(line)
            row["answer"] = row.pop("gold")
            real.append(row)
    rng = random.Random(0)
    for number in range(count):
        turn, place = divmod(number, len(real))
        row = dict(real[place])
        if turn:
            # One substitution for a question and all of its completions
            digits = random.Random(f"{turn} {row['problem']}").sample("123456789", 9)
            table = str.maketrans("123456789", "".join(digits))
            for column in ("problem", "completion"):
                row[column] = _NUMBER.sub(lambda match: match[0].translate(table), row[column])  # noqa: B023
            row["completion"] += f"\n{rng.randrange(10**6)}"
        row["sample_id"] = f"{turn}/{place}"
        row["n_tokens"] = len(row["completion"]) // 4
        yield row


def write(path: Path, rows: Iterator[dict]) -> None:
    if path.suffix == ".jsonl":
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        return
    columns = ("problem", "completion", "answer", "is_correct", "model", "source", "sample_id", "n_tokens")
    kept = [{name: row.get(name) for name in columns} for row in rows]
    if path.suffix == ".json":
        path.write_text(json.dumps(kept), encoding="utf-8")
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(kept), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("GLOW_TRL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default, help="folder with traj_*.jsonl and the benchmarks")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--kinds", nargs="+", default=["jsonl"], choices=["jsonl", "parquet", "json"])
    options = parser.parse_args()

    table = Table("input", "settings", "wall s", "CPU s", "peak MB", "train rows", "contaminated")
    environment = os.environ | {"GLOW_TRL_DATA": str(options.data)}
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            path = Path(folder) / f"rows.{kind}"
            write(path, trajectories(options.data, options.rows))
            for name, extra in (
                ("local", ["--decontaminate", "local"]),
                (
                    "local, near-duplicates, caps, lengths, balanced",
                    *[
                        "--decontaminate local --near_duplicate_threshold 0.9 --max_per_question 8 "
                        "--max_tokens 2000 --mixture balanced".split()
                    ],
                ),
            ):
                out = Path(folder) / f"out-{kind}-{len(extra)}"
                start = time.perf_counter()
                result = subprocess.run(
                    [sys.executable, "-c", _RUN, "--dataset_name", str(path), "--output_dir", str(out), *extra],
                    env=environment,
                    capture_output=True,
                    text=True,
                )
                if result.returncode or not result.stdout.startswith("0 "):
                    sys.exit(result.stderr)
                wall = time.perf_counter() - start
                _, _, cpu, peak = map(float, result.stdout.split())
                card = json.loads((out / "card.json").read_text(encoding="utf-8"))
                size = f"{options.rows:,} rows, {path.stat().st_size / 2**20:,.0f} MB {kind}"
                numbers = (f"{wall:.1f}", f"{cpu:.1f}", f"{peak:,.0f}")
                found = f"{card['contamination']['rows']:,}"
                table.add_row(size, name, *numbers, f"{card['splits']['train']['rows']:,}", found)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
