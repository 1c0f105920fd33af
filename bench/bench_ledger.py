"""
What the loss ledger costs as the number of samples grows: one sync an epoch, one save and load a checkpoint.

```shell
python bench/bench_ledger.py                  # to 10 million samples; all GPUs, or two processes on CPU
python bench/bench_ledger.py --num_processes 4 --samples 1000000 100000000
```

Times are the slowest process's, the median of several calls. What a step costs is in bench_glow_step.py.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table

from glow_trl import LossLedger


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--num_processes", type=int, default=torch.cuda.device_count() or 2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu", action="store_true", help="even where there is a GPU")
    parser.add_argument("--max_sync", type=float, help="exit with 1 if a sync takes more seconds")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def timed(function, device: torch.device) -> float:
    """Seconds of a call, of the slowest process."""
    dist.barrier()
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = torch.tensor(time.perf_counter() - start, device=device)
    dist.all_reduce(seconds, op=dist.ReduceOp.MAX)
    return seconds.item()


def measure(options: argparse.Namespace) -> None:
    """What each process does."""
    cuda = torch.cuda.is_available() and not options.cpu
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.safetensors"
        for samples in options.samples:
            ledger = LossLedger(samples, device)
            ledger.begin_epoch(1)
            mine = torch.arange(rank, samples, world, device=device)
            ledger.record(mine, torch.rand(len(mine), device=device))
            times = {"sync": [], "save": [], "load": []}
            for _ in range(options.repeats):
                times["sync"].append(timed(ledger.sync, device))
                assert not ledger.current.isnan().any()
                times["save"].append(timed(partial(ledger.save, path), device))
                times["load"].append(timed(partial(ledger.load, path), device))
            medians = {name: statistics.median(values) for name, values in times.items()}
            rows.append({"samples": samples, "bytes": ledger.nbytes, "file": path.stat().st_size, **medians})
    if rank == 0:
        Path(options.worker).write_text(json.dumps({"device": str(device.type), "rows": rows}))
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    options = parse_args()
    if options.worker:
        measure(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        launcher += ["--nproc_per_node", str(options.num_processes)]
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        subprocess.run([*launcher, *sys.argv, "--worker", str(result)], check=True, env=environment)
        found = json.loads(result.read_text())
    table = Table(
        title=f"Loss ledger, {options.num_processes} processes ({found['device']}), median of {options.repeats}"
    )
    for column in ("samples", "memory, MB", "file, MB", "sync, ms", "save, ms", "load, ms"):
        table.add_column(column, justify="right")
    for row in found["rows"]:
        times = [f"{1000 * row[name]:.2f}" for name in ("sync", "save", "load")]
        table.add_row(f"{row['samples']:,}", f"{row['bytes'] / 1e6:.2f}", f"{row['file'] / 1e6:.2f}", *times)
    Console().print(table)
    slowest = max(row["sync"] for row in found["rows"])
    if options.max_sync is not None and slowest > options.max_sync:
        sys.exit(f"a sync took {slowest:.3f} s")


if __name__ == "__main__":
    main()
