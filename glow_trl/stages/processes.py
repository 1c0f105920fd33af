"""Processes that must not outlive the one that started them."""

import ctypes
import signal
import sys


# Set in the environment of a stage that ends with its launcher
ENDS_WITH_PARENT = "GLOW_TRL_ENDS_WITH_PARENT"

_PR_SET_PDEATHSIG = 1


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Let this process get a signal when its parent has ended, however that ended. Only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
