"""The processes of a run: which is the first, and that none outlives the one that started it."""

import contextlib
import ctypes
import os
import signal
import sys


# Set in the environment of a stage that ends with its launcher
ENDS_WITH_PARENT = "GLOW_TRL_ENDS_WITH_PARENT"

_PR_SET_PDEATHSIG = 1


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Let this process get a signal when its parent has ended, however that ended. Only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


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
