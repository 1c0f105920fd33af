"""The paper's regime in miniature: a mixture of verifiable tasks to pretrain on, and one of them to fine-tune on."""

from .data import MiniatureConfig, write_data
from .families import VOCABULARY


__all__ = ["VOCABULARY", "MiniatureConfig", "write_data"]
