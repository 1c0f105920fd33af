"""The processes of a run: which is the first, and that none outlives the one that started it."""

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
