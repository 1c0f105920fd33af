"""The runs of a study in processes of their own, so many at a time, that end with it."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..stages.console import visible
from ..stages.files import write_errors
from ..stages.lock import LOCK_FILE, exclusive
from ..stages.machine import machine
from ..stages.processes import LAUNCHER, end_children
from ..stages.secrets import hide_known
from .grid import Cell, Setting, unfinished


_POLL_SECONDS = 0.1
# For the runs of a study that was killed: they end in good order
_ENDING_SECONDS = 120.0
_ERROR = "glow-trl: error: "
_PROGRESS = re.compile(r"\d%\|.*\|")


@dataclass(frozen=True)
class Slot:
    """What one of the runs at a time has: cores and, where there are any, GPUs."""

    cores: tuple[int, ...]
    gpus: tuple[str, ...]


def slots(jobs: int) -> list[Slot]:
    """This machine's cores and GPUs shared out to so many runs: the same number of cores to each, one at least."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    found = machine()["gpus"]
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = (named.split(",") if named else [str(number) for number in range(len(found))]) if found else []
    return [Slot(_share(cores, number, jobs), _share(gpus, number, jobs)) for number in range(jobs)]


def _share(things: Sequence, number: int, jobs: int) -> tuple:
    if not things:
        return ()
    size = len(things) // jobs
    return tuple(things[number * size : (number + 1) * size]) if size else (things[number % len(things)],)


def run_cells(grid: list[Setting], jobs: int) -> None:
    """
    Run what is not complete: data before the arms that take them, else in the study's order. A run that fails is said
    and passed over. However this process ends, the runs end with it.
    """
    waiting = sorted(unfinished(grid), key=lambda cell: cell.study.seeds.index(cell.seed))
    total, begun = len(waiting), 0
    missing = {cell.name for cell in waiting if cell.makes_data}
    running: dict[int, tuple[Cell, subprocess.Popen]] = {}
    free = dict(enumerate(slots(jobs)))
    _await_earlier(waiting)
    try:
        while waiting or running:
            for number in sorted(free.keys() - running.keys()):
                ready = next((cell for cell in waiting if cell.data is None or cell.data.name not in missing), None)
                if ready is None:
                    break
                waiting.remove(ready)
                begun += 1
                _say(f"[{begun}/{total}] {ready.name}")
                running[number] = ready, _start(ready, free[number])
            for number, (cell, process) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[number]
                if process.returncode == 0:
                    missing.discard(cell.name)
                    continue
                if process.returncode < 0:
                    with write_errors(cell.log), cell.log.open("a", encoding="utf-8") as log:
                        log.write(f"{_ERROR}it was ended by {signal.Signals(-process.returncode).name}\n")
                _say(f"{cell.name} failed: {last_error(cell)}; see {cell.log}")
                for other in [other for other in waiting if other.data is cell]:
                    waiting.remove(other)
                    _say(f"{other.name} is not run: it needs {cell.name}")
            time.sleep(_POLL_SECONDS)
    except BaseException:
        end_children()
        raise


def _await_earlier(cells: list[Cell]) -> None:
    """Wait for the runs that an earlier start of the study has left, and that have not quite ended yet."""
    deadline = time.monotonic() + _ENDING_SECONDS
    for cell in cells:
        while cell.folder.is_dir() and time.monotonic() < deadline:
            try:
                with exclusive(cell.folder / LOCK_FILE, cell.folder):
                    break
            except UserError:
                time.sleep(_POLL_SECONDS)


def _start(cell: Cell, slot: Slot) -> subprocess.Popen:
    environment = {**os.environ, LAUNCHER: str(os.getpid())}
    if slot.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(slot.gpus)
    with write_errors(cell.log):
        cell.log.parent.mkdir(parents=True, exist_ok=True)
        with cell.log.open("wb") as log, _on(slot.cores):
            return subprocess.Popen(
                cell.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
            )


@contextlib.contextmanager
def _on(cores: Sequence[int]) -> Iterator[None]:
    """Let processes that are started meanwhile use these cores alone; their libraries start as many threads."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def last_error(cell: Cell) -> str:
    """The last line of error in a run's log, or else its last line that is no progress bar."""
    if not cell.log.is_file():
        return "it was not run"
    with cell.log.open("rb") as file:
        file.seek(max(0, os.stat(file.fileno()).st_size - (1 << 16)))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    lines = [line for line in lines if not _PROGRESS.search(line)]
    errors = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
    return hide_known(visible((errors or lines or ["its log is empty"])[-1]))[:500]


def slurm_files(grid: list[Setting], output_dir: Path, study: Path) -> dict[str, str]:
    """
    The files with which Slurm runs the study, by name: `data.txt` and `runs.txt`, a command a line, `task.sbatch`,
    which does that of its number in one of them, and `submit.sh`, which submits all of them and the page behind them.
    """
    data = [cell for setting in grid for cell in setting.data.values()]
    runs = [cell for setting in grid for cell in setting.runs.values()]
    output, here = output_dir.absolute(), Path.cwd()
    assemble = [sys.executable, "-m", "glow_trl", "study", str(study.absolute()), "--output_dir", str(output)]
    quoted = shlex.quote
    submit = [
        "#!/bin/bash",
        "# Submits the study: the data that runs share, the runs, one task each, and the page. Options of sbatch,",
        "# such as --partition, go to data and runs: bash submit.sh --gpus 1 --time 2:00:00",
        "set -euo pipefail",
        f"cd {quoted(str(output / 'slurm'))}",
        "after=()",
    ]
    for name, cells in (("data", data), ("runs", runs)):
        if cells:
            submit += [
                f'job=$(sbatch --parsable --job-name study-{name} --array 0-{len(cells) - 1} "${{after[@]}}" "$@" '
                f"task.sbatch {name}.txt)",
                'after=(--dependency "afterany:${job%%;*}")',
            ]
    submit.append('sbatch --job-name study-page "${after[@]}" task.sbatch page.txt')
    task = [
        "#!/bin/bash",
        "#SBATCH --output=/dev/null",
        "# Runs the line of its number in the file that it is given; the page is line 0. Every line names its log.",
        "set -euo pipefail",
        f"cd {quoted(str(here))}",
        f'command=$(sed -n "$((${{SLURM_ARRAY_TASK_ID:-0}} + 1))p" {quoted(str(output / "slurm"))}/"$1")',
        'eval "$command"',
    ]

    def line(words: Sequence[str], log: Path) -> str:
        return f"mkdir -p {quoted(str(log.parent))}; {shlex.join(words)} >{quoted(str(log))} 2>&1"

    return {
        "data.txt": "".join(line(cell.command, cell.log.absolute()) + "\n" for cell in data),
        "runs.txt": "".join(line(cell.command, cell.log.absolute()) + "\n" for cell in runs),
        "page.txt": line([*assemble, "--assemble", "true"], output / "logs" / "page.log") + "\n",
        "task.sbatch": "\n".join(task) + "\n",
        "submit.sh": "\n".join(submit) + "\n",
    }


def _say(text: str) -> None:
    print(visible(text), file=sys.stderr, flush=True)
