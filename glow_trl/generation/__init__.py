"""Sampling from a model through one interface, whatever runs it. Importing this package loads no engine."""

from .base import Engine, Generation, SamplingConfig
from .registry import ENGINES, create_engine


__all__ = ["ENGINES", "Engine", "Generation", "SamplingConfig", "create_engine"]
