"""GLOW-weighted supervised fine-tuning: configuration, loss ledger and trainer."""

from .config import GLOWConfig
from .ledger import LossLedger
from .trainer import GLOWTrainer


__all__ = ["GLOWConfig", "GLOWTrainer", "LossLedger"]
