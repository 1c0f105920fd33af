"""Paths in settings: `~` and environment variables in them."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UserError


# Settings, of all commands, that are paths or can be; names of data sets are expanded where they are read
PATHS = frozenset(
    "output_dir output export run_dir source first second adapter base_model model_name_or_path models file "
    "data ledger cache_dir prompt_file chat_template_path taxonomy recipe accelerate_config resume_from_checkpoint "
    "deepspeed fsdp_config accelerator_config logging_dir checkpoints generations base grpo trajectories "
    "readiness data_from study".split()
)
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}|\$(\w+)")


def expand_path(path: str) -> str:
    """Expand `~`, `$NAME`, `${NAME}` and `${NAME:-default}` as a shell would; other unset variables are an error."""

    def value(match: re.Match) -> str:
        name, default = match[1] or match[3], match[2]
        if os.environ.get(name):
            return os.environ[name]
        if default is None:
            raise UserError(f"{path}: the environment variable {name} is not set")
        return default

    return os.path.expanduser(_VARIABLE.sub(value, path))


def variables(path: str) -> list[str]:
    """The environment variables that a path names."""
    return [match[1] or match[3] for match in _VARIABLE.finditer(path)]


def expand_setting(name: str, value: Any) -> Any:
    """The value of a setting with its paths expanded. Raises `UserError`, naming it, where a variable is not set."""
    if name not in PATHS or isinstance(value, Mapping):
        return value
    if isinstance(value, list):
        return [expand_setting(name, item) for item in value]
    try:
        return expand_path(value) if isinstance(value, str) else value
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def expand_arguments(argv: Sequence[str]) -> list[str]:
    """A command line, options apart from their values, with the paths in it expanded."""
    expanded, name = [], ""
    for token in argv:
        if token.startswith("--"):
            name = token.removeprefix("--").replace("-", "_")
        expanded.append(token if token.startswith("--") else expand_setting(name, token))
    return expanded
