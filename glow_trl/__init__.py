"""SFT-to-RL recipes on TRL that learn to reason from correct and incorrect trajectories.

Importing the package is cheap: torch, transformers and TRL load with the first name that needs them.
"""

import importlib
from typing import TYPE_CHECKING

from .version import __version__


__all__ = ["GLOWConfig", "GLOWTrainer", "LossLedger", "__version__"]

if TYPE_CHECKING:
    from .glow import GLOWConfig, GLOWTrainer, LossLedger


def __getattr__(name: str):
    if name in __all__:
        return getattr(importlib.import_module(".glow", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
