"""Sampling from a model through one interface, whatever runs it. Importing this package loads no engine."""

from .base import Engine, Generation, Prompt, SamplingConfig
from .engine_config import CheckpointConfig, EngineConfig
from .prompts import render_conversation
from .registry import ENGINES, create_engine, engine_class


__all__ = [
    "ENGINES",
    "CheckpointConfig",
    "Engine",
    "EngineConfig",
    "Generation",
    "Prompt",
    "SamplingConfig",
    "create_engine",
    "engine_class",
    "render_conversation",
]
