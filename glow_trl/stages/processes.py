"""The processes of a run: which is the first, and that none outlives the one that started it."""

import atexit
import contextlib
import ctypes
import os
import re
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import NoReturn


# In the environment of a process that ends with its launcher: the launcher's process id
LAUNCHER = "GLOW_TRL_LAUNCHER"

# Programs that start the processes of a training and wait for them: by their commands, modules and files
_LAUNCHERS = re.compile(
    r"(?:.*/)?(?:accelerate|accelerate-launch|torchrun|deepspeed)"
    r"|(?:.*/)?(?:accelerate[./]commands|torch[./]distributed|deepspeed[./]launcher)[./]\w+(?:\.py)?"
)
_PR_SET_PDEATHSIG = 1


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Let this process get a signal when its parent has ended, however that ended. Only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def end_with_launcher() -> None:
    """
    Let this process end with `accelerate launch`, `torchrun` or `deepspeed`, if one of them is its parent: it would go
    on training without it. One that a shell or a notebook has started stays.
    """
    parent, launcher = os.getppid(), os.environ.get(LAUNCHER)
    if launcher is None and not _is_launcher(parent):
        return
    end_with_parent()
    # It may have ended before
    if os.getppid() != parent or (launcher is not None and not _is_alive(int(launcher))):
        os.kill(os.getpid(), signal.SIGTERM)


def _is_launcher(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    program, *words = words
    if re.fullmatch(r"(?:.*/)?python[\d.]*", program):
        # The script or module that it runs
        while words and words[0].startswith("-") and words[0] != "-m":
            words = words[2 if words[0] in ("-X", "-W") else 1 :]
        program = next((word for word in words if word != "-m"), "")
    return _LAUNCHERS.fullmatch(program) is not None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def wait_for_others(time: timedelta) -> None:
    """From now on, let this process give up a run whose other processes make it wait for so long."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.distributed_c10d._set_pg_timeout(time)


def leave(code: int) -> NoReturn:
    """
    End this process as `sys.exit` does. Where it is one of several that trained, skip what Python does last: on CPU,
    threads of torch that are still there abort the process now and then ("terminate called without an active
    exception"), after all work is done.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Where trackers send what they still have
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def is_main_process() -> bool:
    """Whether this is the only process of the run, or the first of several, by what their launcher set."""
    return int(os.environ.get("RANK", "0")) == 0


def end_children(seconds: float = 60.0) -> None:
    """Let the processes that this one has started end in good order, and wait for it; kill those that do not."""
    import psutil

    children = psutil.Process().children()
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                end(child)
        _, children = psutil.wait_procs(children, timeout=seconds)
