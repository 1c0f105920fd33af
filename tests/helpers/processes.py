"""
Processes that tests start, wait for and kill. No test says how long something may take: the one limit here ends a
test that hangs.
"""

import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from helpers.launching import environment


LIMIT = 600


def wait_until(happened: Callable[[], Any], process: subprocess.Popen | None = None, log: Path | None = None) -> None:
    """Until `happened` is true. The process, if any, must not end before; `log` has what it said."""
    deadline = time.monotonic() + LIMIT
    while not happened():
        if (process is None or process.poll() is None) and time.monotonic() < deadline:
            time.sleep(0.002)
            continue
        said = log.read_text() if log else ""
        if process is not None and process.poll() is not None and process.stderr is not None:
            said += process.stderr.read()
        raise AssertionError(f"did not happen: {said[-3000:]}")


def kill_when(happened: Callable[[], Any], command: list[str], delay: float = 0.0, **options: Any) -> None:
    """Start the command and kill it (SIGKILL) when `happened` is true, or so many seconds later."""
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "env": environment(), **options}
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            wait_until(happened, process)
            time.sleep(delay)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"


def run_to_the_end(command: list[str], **options: Any) -> subprocess.CompletedProcess:
    """Run the command; its exit code is 0."""
    options = {"env": environment(), **options}
    run = subprocess.run(command, capture_output=True, text=True, **options)
    assert run.returncode == 0, run.stderr[-4000:]
    return run


class Worker:
    """
    A module of this package in a process of its own, which imports everything once and then does one job after the
    other, such as forking a process to be killed. Jobs go to its standard input as JSON lines.
    """

    def __init__(self, module: str, *argv: str | Path, errors: Path):
        self.errors = errors
        with errors.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, argv)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment(),
            )

    def __call__(self, **job: Any) -> Any:
        """What the worker answers: the JSON after `answer ` in a line of its own."""
        self.process.stdin.write(json.dumps(job, default=str) + "\n")
        self.process.stdin.flush()
        # Libraries print there too
        while not (line := self.process.stdout.readline()).startswith("answer "):
            assert line, self.errors.read_text()[-3000:]
        return json.loads(line.removeprefix("answer "))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=LIMIT)


def answers(address: str) -> bool:
    """Whether a server answers there."""
    with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=60):
        return True
    return False


def cpu_seconds() -> float:
    """Seconds of the processor that the children of this process have had, with those of theirs that have ended."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
