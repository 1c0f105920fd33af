"""Engines by name. Only the chosen engine's module is imported."""

import inspect
from types import MappingProxyType
from typing import Any

from ..errors import UserError
from ..stages.config import nearest
from ..stages.dotted import is_dotted, load_dotted
from .base import Engine


ENGINES = MappingProxyType(
    {
        "transformers": "glow_trl.generation.transformers_engine:TransformersEngine",
        "server": "glow_trl.generation.server_engine:ServerEngine",
        "vllm": "glow_trl.generation.vllm_engine:VLLMEngine",
    }
)


def engine_class(name: str) -> type[Engine]:
    """
    The class of an engine.

    Args:
        name (`str`): a key of `ENGINES`, or `"package.module:Class"` for an [`Engine`] of your own.

    Raises:
        UserError: there is no such engine.
        MissingExtraError: the engine's package is not installed.
    """
    path = ENGINES.get(name, name)
    if not is_dotted(path):
        raise UserError(
            f"unknown generation engine {name!r}{nearest(name, ENGINES.keys())}; known: {', '.join(ENGINES)}, or "
            "package.module:Class"
        )
    found = load_dotted(path, "generation engine")
    if not (isinstance(found, type) and issubclass(found, Engine)):
        raise UserError(f"generation engine: {path}: expected a subclass of {Engine.__name__}, found {found!r:.60}")
    return found


def create_engine(name: str, model_name_or_path: str, **options: Any) -> Engine:
    """Load a model in the engine called `name`.

    Args:
        name (`str`):
            A key of `ENGINES`, or `"package.module:Class"` for an [`Engine`] of your own.
        model_name_or_path (`str`):
            A checkpoint's folder (a full model or a PEFT adapter) or a model id on the Hub; for `"server"` the name
            under which the server has the model.
        **options:
            Passed to the engine's class.

    Returns:
        `Engine`: the engine, ready to generate.

    Raises:
        UserError: there is no such engine, or it does not know an option.
        MissingExtraError: the engine's package is not installed.
    """
    cls: Any = engine_class(name)
    try:
        inspect.signature(cls).bind(model_name_or_path, **options)
    except TypeError as error:
        known = [key for key in inspect.signature(cls).parameters if key != "model_name_or_path"]
        raise UserError(f"engine_options of the engine '{name}': {error}; it takes {', '.join(known)}") from error
    return cls(model_name_or_path, **options)
