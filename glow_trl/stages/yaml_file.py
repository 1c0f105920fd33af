"""YAML files, and what to say about names and errors in them."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from .secrets import remember


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; `{}` for an empty one. Raises `UserError` where there is no such file or mapping."""
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not valid UTF-8 (byte {error.start + 1})") from error
    except yaml.YAMLError as error:
        # What is wrong is said in its words
        for line in text.splitlines():
            remember("{" + line)
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not valid YAML ({yaml_problem(error)})") from error
    remember(content)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping of keys to values, found {type(content).__name__}")
    for key in content:
        if not isinstance(key, str):
            raise UserError(f"{path}: expected names as keys, found {key!r}")
    return content


def yaml_problem(error: yaml.YAMLError) -> str:
    """What is wrong with a text that is not YAML, in one line."""
    return getattr(error, "problem", None) or one_line(error)


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """`; did you mean ...?` with the known name that is most like `name`, or nothing when none is like it."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def one_line(error: BaseException) -> str:
    """The message of an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__
