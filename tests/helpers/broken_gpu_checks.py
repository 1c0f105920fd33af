"""Checks for the runner of bench/gpu_check.py, most of which end in a way that a check should not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def passes(run) -> None:
    with run.row("first") as row:
        row |= {"ms": 1234.5, "loss": float("nan"), "where": Path("here")}
    with run.row("second") as row:
        # What the table had when this check was started
        row["rows so far"] = len(json.loads(Path(os.environ["GLOW_TRL_TEST_TABLE"]).read_text())["results"])


def misses(run) -> None:
    from gpu_checks.rows import Skipped

    with run.row("missed") as row:
        row["ratio"] = 1.5
        row.require(row["ratio"] <= 1.05, "1.5 | of the time")
    with run.row("raised"):
        raise ValueError("first line\nthe cause")
    with run.row("skipped"):
        raise Skipped("there is no such thing here")


def crashes(run) -> None:
    with run.row("first"):
        pass
    raise RuntimeError("the end of it")


def is_killed(run) -> None:
    with run.row("first"):
        pass
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs(run) -> None:
    """With a process that has left its group, and one that has also lost its parent."""
    with run.row("first"):
        pass
    left = subprocess.Popen(["sleep", "600"], start_new_session=True)
    start = ["sh", "-c", "setsid sleep 600 > /dev/null 2>&1 & echo $!"]
    orphan = subprocess.run(start, stdout=subprocess.PIPE, text=True, check=True).stdout
    path = Path(os.environ["GLOW_TRL_TEST_TABLE"]).with_name("pids")
    path.with_suffix(".part").write_text(f"{left.pid} {orphan}")
    path.with_suffix(".part").rename(path)
    time.sleep(600)


def prints_garbage(run) -> None:
    with run.row("first"):
        pass
    sys.stdout.buffer.write(b"\xff\xfe{]\n")
    with run._rows_file.open("ab") as file:
        file.write(b'\xff{"row": "second", "result"\n"text"\n{"row": "third"}\n')
        file.write(b'{"row": "third", "result": "fine", "why": "", "figures": {}, "seconds": 1}\n')


def says_nothing(run) -> None:
    pass


def dies_after_its_rows(run) -> None:
    with run.row("first"):
        pass
    sys.exit("could not leave")
