"""
What test_kills.py starts: `-m helpers.command_worker` runs one command of the package after the other, and kills it if
it is to. A job says {"argv", "log"}, and may say {"kill": {"signal", "delay"}}: so many seconds from when it takes
signals on, and {"alone": true}: as a process of its own from its first import on, not one forked from this, whose
imports serve all. The answer is {"code", "seconds", "killed", "strays"}: exit code, duration, whether it still ran
when it was to be killed, and the command lines of the processes that lived on without it.
"""

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import psutil

from glow_trl.stages.registry import COMMANDS
from helpers.launching import ROOT
from helpers.processes import LIMIT


PR_SET_CHILD_SUBREAPER = 36
# How long what a command has started may take to see that it is gone
GRACE = 30.0
LATE = [
    "transformers.models.qwen2.modeling_qwen2",
    "transformers.models.qwen2.tokenization_qwen2",
    "trl.trainer.grpo_trainer",
    "trl.trainer.sft_trainer",
    "peft",
    "trl.scripts.utils",
    "glow_trl.evaluation.runner",
    "glow_trl.generation.transformers_engine",
    "glow_trl.training.grpo_trainer",
    "glow_trl.report.page",
    "glow_trl.recipes.prepare",
    "glow_trl.quickstart.judge",
    "glow_trl.verifiers.gold",
]


def start(job: dict) -> int:
    """The command, first of a session of its own, as in a terminal; its process id."""
    with open(job["log"], "wb") as log:
        if job.get("alone"):
            command = [sys.executable, "-m", "glow_trl", *job["argv"]]
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "start_new_session": True}
            process = subprocess.Popen(command, **options)
            process.returncode = 0  # it is waited for here
            return process.pid
        pid = os.fork()
        if pid:
            return pid
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    code = 1
    try:
        # The record of a run has it, here as there
        sys.argv = [str(ROOT / "glow_trl" / "__main__.py"), *job["argv"]]
        code = importlib.import_module("glow_trl.cli").main(job["argv"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def takes_signals(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM, as commands have from their first line on."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) & 1 << signal.SIGTERM - 1)
    return False


def ended(pid: int) -> int | None:
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def run(job: dict) -> dict:
    pid = start(job)
    code = None
    while code is None and not takes_signals(pid):
        code = ended(pid)
    started = time.monotonic()
    kill, killed = job.get("kill"), False
    while code is None and time.monotonic() - started < LIMIT:
        if kill and time.monotonic() - started >= kill["delay"]:
            killed = send(pid, kill["signal"])
            kill = None
        time.sleep(0.001)
        code = ended(pid)
    return {"code": code, "seconds": time.monotonic() - started, "killed": killed, "strays": strays()}


def send(pid: int, number: int) -> bool:
    """Send a signal to a command that is still at work, as it stands still for it; whether it was."""
    process = psutil.Process(pid)
    os.kill(pid, signal.SIGSTOP)
    while process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
        time.sleep(0.0005)
    at_work = process.status() == psutil.STATUS_STOPPED and takes_signals(pid)
    if at_work:
        # Ctrl-C is for all the processes in the foreground
        (os.killpg if number == signal.SIGINT else os.kill)(pid, number)
    os.kill(pid, signal.SIGCONT)
    return at_work


def strays() -> list[str]:
    """What a command that is gone has left running; it is ended here."""
    deadline = time.monotonic() + GRACE
    while True:
        left = []
        for process in psutil.Process().children(recursive=True):
            # It may be gone by now
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE:
                    left.append(process)
                # Orphans are this process's children
                elif process.ppid() == os.getpid():
                    ended(process.pid)
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.005)
    lines = [" ".join(process.cmdline()) for process in left]
    for process in left:
        process.kill()
    return lines


def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    for module in [*LATE, *(command.module for command in COMMANDS.values())]:
        importlib.import_module(module)
    # The trainers import it where it is installed
    with contextlib.suppress(ImportError):
        importlib.import_module("deepspeed")
    for line in sys.stdin:
        print("answer", json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
