"""The verifiers in a process that uses CUDA: verdicts as without, and no fork of it."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import torch

from glow_trl.verifiers import verify_batch
from helpers.undecided import DIFFERENT, EQUAL, equal

from .rows import CheckRun


# Answers and gold answers that exact arithmetic decides, and such that need computer algebra in a worker process
QUICK = [(rf"\boxed{{\frac{{{n}}}{{2}}}}", str(n / 2 if n % 3 else n)) for n in range(1, 25)]
SLOW = [equal(2), EQUAL, DIFFERENT]


def pairs() -> tuple[list[str], list[str]]:
    answers, golds = zip(*QUICK, *SLOW, strict=True)
    return list(answers), list(golds)


def verdicts() -> list[list]:
    """What the verifiers say of the pairs."""
    return [[each.correct, each.extracted, each.reason] for each in verify_batch(*pairs())]


def check(run: CheckRun) -> None:
    forks: list[int] = []
    os.register_at_fork(before=lambda: forks.append(1))
    device = "cuda" if run.gpu else "cpu"
    with run.row("verdicts") as row:
        code = "import json; from gpu_checks.verifiers import verdicts; print(json.dumps(verdicts()))"
        # The same code where CUDA is never touched
        elsewhere = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=elsewhere)
        matrix = torch.randn(512, 512, device=device)
        before = (matrix @ matrix).sum().item()
        start = time.perf_counter()
        found = verdicts()
        row["ms a pair"] = 1000 * (time.perf_counter() - start) / len(found)
        row["right"], row["wrong"] = (sum(correct is which for correct, *_ in found) for which in (True, False))
        row["pairs"] = len(found)
        row.require(row["right"] > 5 and row["wrong"] > 5, "hardly anything was judged")
        expected = json.loads(other.communicate()[0].splitlines()[-1])
        differ = [pair for pair, (one, two) in enumerate(zip(found, expected, strict=True)) if one != two]
        row.require(not differ, f"pairs {differ} are judged otherwise than without CUDA")
        row.require((matrix @ matrix).sum().item() == before, "the device computes otherwise than before")
    with run.row("no fork") as row:
        workers = psutil.Process().children(recursive=True)
        row["worker processes"] = len(workers)
        row.require(bool(workers), "no worker process was started: the pairs did not need one")
        # Only a fork would have what this process has loaded
        inherited = [worker.pid for worker in workers if holds_cuda(worker.pid)]
        row.require(not inherited and not forks, f"{len(inherited)} workers hold CUDA, {len(forks)} forks were made")


def holds_cuda(pid: int) -> bool:
    """Whether a process has torch or CUDA loaded, or a GPU open."""
    process, loaded, opened = Path("/proc", str(pid)), "", []
    # A worker may just have been replaced by another
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        loaded = (process / "maps").read_text()
        opened = [os.readlink(link) for link in (process / "fd").iterdir()]
    return "libcuda" in loaded or "libtorch" in loaded or any("/dev/nvidia" in name for name in opened)
