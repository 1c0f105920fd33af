"""Stage configurations: YAML file and command line into dataclasses, with errors that people can act on.

Importing this module loads neither torch nor TRL.
"""

import dataclasses
import difflib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..errors import MissingExtraError, UserError


def parse_stage(
    dataclass_types: Sequence[type], argv: Sequence[str], prog: str, stage: str
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """
    Parse `--config FILE --key value ...` with TRL's parser.

    Args:
        dataclass_types (`list[type]`): the dataclasses that make up the stage's configuration.
        argv (`list[str]`): the command line without the program's name.
        prog (`str`): name of the command, for messages.
        stage (`str`): name of the stage, for messages.

    Returns:
        `tuple`: the dataclass instances, and a `dict` of what was set by file or command line, with parsed values.

    Raises:
        UserError: the file is missing or is not a YAML mapping, a key is unknown (the nearest is named), or a value
            cannot be used.
    """
    from trl import TrlParser

    class Parser(TrlParser):
        def error(self, message):
            raise UserError(f"{path or prog}: {message}")

    argv = list(argv)
    known = {field.name for cls in dataclass_types for field in dataclasses.fields(cls) if field.init}
    path, from_file = _config_file(argv, prog)
    check_keys(path, from_file, dataclass_types, stage)
    parser = Parser(dataclass_types, prog=prog, allow_abbrev=False)
    options = {option for action in parser._actions for option in action.option_strings}
    from_command_line = set()
    for token in argv:
        option = token.split("=")[0]
        if option.startswith("--") and option != "--config":
            if option not in options:
                close = nearest(option[2:], known, "--")
                raise UserError(f"{prog}: unknown option {option} for {stage}{close}")
            name = option[2:].replace("-", "_")
            from_command_line.add(name if name in known else name.removeprefix("no_"))
    try:
        instances = parser.parse_args_and_config(argv)
    except UserError:
        raise
    except ImportError as error:
        if "deepspeed" in str(error).lower():
            raise MissingExtraError("deepspeed", "deepspeed", f"{stage} with DeepSpeed") from error
        raise
    except (ValueError, TypeError) as error:
        raise UserError(f"{path or prog}: {one_line(error)}") from error
    given = {}
    for instance in instances:
        for field in dataclasses.fields(instance):
            if field.name in from_file or field.name in from_command_line:
                given[field.name] = getattr(instance, field.name)
    return tuple(instances), given


def check_keys(path: Path | None, keys: Iterable[str], dataclass_types: Sequence[type], stage: str) -> None:
    """
    Check that a configuration file has only keys that its stage knows.

    Raises:
        UserError: a key is unknown; the nearest known one is named.
    """
    known = {field.name for cls in dataclass_types for field in dataclasses.fields(cls) if field.init}
    for key in keys:
        if key != "env" and key not in known:
            raise UserError(f"{path}: unknown key {key!r} for {stage}{nearest(key, known)}")


def _config_file(argv: list[str], prog: str) -> tuple[Path | None, dict[str, Any]]:
    for position, token in enumerate(argv):
        if token.startswith("--config="):
            argv[position : position + 1] = ["--config", token.removeprefix("--config=")]
    if "--config" not in argv:
        return None, {}
    position = argv.index("--config")
    if position + 1 == len(argv):
        raise UserError(f"{prog}: --config needs the path of a YAML file")
    path = Path(argv[position + 1])
    return path, read_yaml(path)


def read_yaml(path: Path) -> dict[str, Any]:
    """
    The mapping in a YAML file; `{}` for an empty one.

    Raises:
        UserError: the file is missing, unreadable, not YAML, or not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not valid UTF-8 (byte {error.start + 1})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(
            f"{path}{line}: not valid YAML ({getattr(error, 'problem', None) or one_line(error)})"
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping of keys to values, found {type(content).__name__}")
    for key in content:
        if not isinstance(key, str):
            raise UserError(f"{path}: expected names as keys, found {key!r}")
    return content


def as_mapping(value: dict[str, Any] | str | None, name: str) -> dict[str, Any]:
    """
    A mapping given in YAML, or on the command line as JSON.

    Raises:
        UserError: it is neither.
    """
    if value is None:
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise UserError(f"{name}: not valid JSON ({error.msg} at column {error.colno}): {value}") from error
    if not isinstance(value, dict):
        raise UserError(f"{name}: expected a mapping, found {type(value).__name__}")
    return value


def nearest(name: str, known: Sequence[str] | set[str], prefix: str = "") -> str:
    """`; did you mean ...?` with the known name that is most like `name`, or nothing when none is like it."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def one_line(error: BaseException) -> str:
    """The message of an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__
