"""The models of an evaluation, each loaded when it is first needed."""

from typing import Any

from ..generation import Engine, create_engine
from ..generation.loading import load_model
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
            from ..config import as_mapping

            config = self._config
            options: dict[str, Any] = {"dtype": config.dtype, "trust_remote_code": config.trust_remote_code}
            if config.engine == "transformers":
                options |= {"batch_size": config.batch_size, "batch_tokens": config.batch_tokens}
            options |= as_mapping(config.engine_options, "engine_options")
            self._engine = create_engine(config.engine, config.model_name_or_path, **options)
        return self._engine

    def transformers_model(self) -> Any:
        self.used = True
        if self._engine is not None and self._engine.has_transformers_model:
            return self._engine.model
        self._close()
        config = self._config
        return load_model(config.model_name_or_path, config.dtype, trust_remote_code=config.trust_remote_code)

    def _close(self) -> None:
        if self._engine is not None and self._engine is not self._given:
            self._engine.close()
            self._engine = None
