"""The models of an evaluation, each loaded when it is first needed."""

from typing import Any

from ..generation import Engine
from .config import EvalConfig


class ModelLoader:
    """The engine and the model for entropy, each loaded when it is first needed and one at a time."""

    def __init__(self, config: EvalConfig, engine: Engine | None):
        self._config = config
        self._given = engine
        self._engine = engine
        self.used = False

    def __enter__(self) -> "ModelLoader":
        return self

    def __exit__(self, *_) -> None:
        self._close()

    def engine(self) -> Engine:
        self.used = True
        if self._engine is None:
            self._engine = self._config.create_engine()
        return self._engine

    def transformers_model(self) -> Any:
        self.used = True
        if self._engine is not None and self._engine.has_transformers_model:
            return self._engine.model
        self._close()
        return self._config.load_model()

    def _close(self) -> None:
        if self._engine is not None and self._engine is not self._given:
            self._engine.close()
            self._engine = None
