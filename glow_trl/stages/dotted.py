"""Objects of the user's own that settings name by a dotted path: engines, judges, rewards, kinds of verifiers."""

import importlib
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import UserError
from .yaml_file import nearest, one_line


def is_dotted(name: str) -> bool:
    """Whether a name can be a dotted path."""
    return ":" in name or "." in name


def load_dotted(path: str, setting: str) -> Any:
    """
    The object at `package.module:name` or, as TRL writes it, `package.module.name`; `setting` is what names it, for
    messages. Modules of the current folder are found, as by `python -m`. Raises `UserError` where there is none.
    """
    module_name, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not all(part.isidentifier() for part in (*module_name.split("."), name)):
        raise UserError(f"{setting}: {path!r} is no dotted path: expected package.module:name")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except UserError:  # an extra that is missing
        raise
    except ImportError as error:
        raise UserError(f"{setting}: {path}: {module_name} cannot be imported ({error})") from error
    except (Exception, SystemExit) as error:  # whatever a module of the user's does when it is imported
        problem = f"{type(error).__name__}: {one_line(error)}{error_place(error)}"
        raise UserError(f"{setting}: {path}: {module_name} cannot be imported ({problem})") from error
    try:
        return getattr(module, name)
    except AttributeError as error:
        known = {key for key in dir(module) if not key.startswith("_")}
        raise UserError(f"{setting}: there is no {name} in {module_name}{nearest(name, known)}") from error


def own_code(names: Iterable[str], setting: str) -> list[str]:
    """The files of the modules that dotted paths among `names` stand in, those of installed packages aside."""
    files = []
    for name in names:
        if is_dotted(name) and not name.startswith("glow_trl."):
            load_dotted(name, setting)
            module = name.partition(":")[0] if ":" in name else name.rpartition(".")[0]
            file = getattr(sys.modules.get(module), "__file__", None)
            if file and "site-packages" not in Path(file).parts:
                files.append(file)
    return files


def error_place(error: BaseException) -> str:
    """The file and line that an error comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    return f", {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
