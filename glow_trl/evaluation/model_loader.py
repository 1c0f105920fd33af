"""The models of an evaluation, each loaded when it is first needed."""

from typing import Any

from ..errors import UserError
from ..generation import Engine, create_engine, engine_class
from ..generation.loading import load_model, local_folder
from ..stages.config import as_mapping
from ..stages.record import fingerprint
from .config import EvalConfig


def has_model_here(config: EvalConfig) -> bool:
    """Whether the checkpoint can be loaded in this process: a server has its model elsewhere."""
    return not engine_class(config.engine).takes_messages


def model_identity(config: EvalConfig) -> dict[str, Any]:
    """What decides which completions the model gives to a prompt: its files and the engine's options.

    Sizes of batches, addresses and the like are left out on purpose: they may change between two starts.
    """
    folder = local_folder(config.model_name_or_path) if has_model_here(config) else None
    incidental = engine_class(config.engine).incidental_options
    options = as_mapping(config.engine_options, "engine_options")
    return {
        "model": config.model_name_or_path if folder is None else fingerprint(folder),
        "engine": config.engine,
        "options": {key: value for key, value in options.items() if key not in incidental},
        "dtype": config.dtype,
    }


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
            config = self._config
            options: dict[str, Any] = {}
            if has_model_here(config):
                options |= {"dtype": config.dtype, "trust_remote_code": config.trust_remote_code}
            elif config.dtype != "auto" or config.trust_remote_code:
                raise UserError("dtype and trust_remote_code are the server's to choose: set them where it is started")
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
