"""A command's settings: YAML file and command line into dataclasses, with errors that people can act on.

Importing this module loads neither torch nor TRL.
"""

import dataclasses
import difflib
import importlib
import json
import os
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import MissingExtraError, UserError
from .registry import COMMANDS


# Metadata of a field that are ours and not the argument parser's
_MARKS = ("changeable", "positional")


def setting(
    default: Any,
    help: str,
    *,
    choices: Sequence[Any] | None = None,
    changeable: bool | str = False,
    positional: bool = False,
) -> Any:
    """
    A field of a configuration.

    Args:
        default (`Any`): its default; a list or mapping is copied for each instance.
        help (`str`): what it is, for `--help`.
        choices (`Sequence`, *optional*): the values it can have.
        changeable (`bool` or `str`, *optional*, defaults to `False`): what happens when it differs from that of the
            run that the output folder holds. `False`: the run is refused, since the setting decides what comes out.
            `True`: the run goes on, or stays complete. `"recomputes"`: the run goes on, and a complete one is opened
            again; what the change does not concern is kept.
        positional (`bool`, *optional*, defaults to `False`): whether the command also takes it without its name,
            before the options. A list takes all that stand there.
    """
    metadata: dict[str, Any] = {"help": help}
    metadata |= {} if choices is None else {"choices": list(choices)}
    metadata |= {"changeable": changeable} if changeable else {}
    metadata |= {"positional": True} if positional else {}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """
    What a command was told.

    Args:
        command (`str`): name of the command.
        configs (`tuple`): its configuration, instances of the dataclasses that it is made of.
        given (`dict[str, Any]`): what file and command line set.
        changeable (`Mapping[str, bool | str]`): the settings that may change between a run and its continuation, see
            [`setting`].
        resolved (`dict[str, Any]`): all settings, those that were not given with their defaults, as they were when the
            command began.
        identity (`dict[str, Any]`): of the settings of which a part may change, the part that may not, and whatever
            else must stay: what the method `identity` of the configurations returns.
    """

    command: str
    configs: tuple[Any, ...]
    given: dict[str, Any]
    changeable: Mapping[str, bool | str]
    resolved: dict[str, Any]
    identity: dict[str, Any]

    @property
    def config(self) -> Any:
        """The first of the configurations: the command's own."""
        return self.configs[0]

    @classmethod
    def of(
        cls, command: str, configs: Sequence[Any], given: Iterable[str], changeable: Iterable[str] = ()
    ) -> "Settings":
        """Settings from configurations that were built; `given` and `changeable` name settings."""
        resolved: dict[str, Any] = {}
        marks: dict[str, bool | str] = dict.fromkeys(changeable, True)
        identity: dict[str, Any] = {}
        for config in configs:
            for item in dataclasses.fields(config):
                resolved[item.name] = getattr(config, item.name)
                if item.metadata.get("changeable"):
                    marks[item.name] = item.metadata["changeable"]
            identity |= config.identity() if hasattr(config, "identity") else {}
        chosen = {name: resolved[name] for name in given if name in resolved}
        return cls(command, tuple(configs), chosen, marks, resolved, identity)


def command_types(command: str) -> tuple[type, ...]:
    """The dataclasses that make up a command's configuration."""
    module = importlib.import_module(COMMANDS[command].module)
    return tuple(getattr(module, name) for name in COMMANDS[command].configs)


def parse_command(command: str, argv: Sequence[str], changeable: Iterable[str] = ()) -> Settings:
    """
    Parse the command line of a command: `VALUE ... --config FILE --key value ...`.

    Args:
        command (`str`): its name.
        argv (`list[str]`): the command line without the program's name.
        changeable (`Iterable[str]`, *optional*): settings beside those that are marked so at their field.

    Raises:
        UserError: the file is missing or is not a YAML mapping, a key is unknown (the nearest is named), or a value
            cannot be used.
    """
    return parse_settings(command_types(command), argv, command, changeable)


def parse_settings(
    dataclass_types: Sequence[type], argv: Sequence[str], command: str, changeable: Iterable[str] = ()
) -> Settings:
    """As [`parse_command`], for a configuration that is made up of `dataclass_types`."""
    prog = f"glow-trl {command}"
    fields = {item.name: item for cls in dataclass_types for item in dataclasses.fields(cls) if item.init}
    argv, path, from_file = read_config(argv, prog)
    check_keys(path, from_file, dataclass_types, command)
    parser = _make_parser(dataclass_types, prog, path)
    argv = _name_positionals(argv, fields.values(), prog)
    argv, structured = _take_structured(argv, _structured_fields(dataclass_types), prog)
    from_command_line = {*structured, *_named(argv, parser, fields, prog)}
    try:
        parser.set_defaults_with_config(**from_file | structured)
        configs = parser.parse_args_into_dataclasses(argv)
    except UserError:
        raise
    except ImportError as error:
        if "deepspeed" in str(error).lower():
            raise MissingExtraError("deepspeed", "deepspeed", f"{command} with DeepSpeed") from error
        raise
    except (ValueError, TypeError) as error:
        raise UserError(f"{path or prog}: {one_line(error)}") from error
    return Settings.of(command, configs, [*from_file, *from_command_line], changeable)


def _make_parser(dataclass_types: Sequence[type], prog: str, path: Path | None) -> Any:
    from trl import TrlParser

    class Parser(TrlParser):
        def add_argument(self, *names, **options):
            return super().add_argument(*names, **{key: options[key] for key in options if key not in _MARKS})

        def error(self, message):
            raise UserError(f"{path or prog}: {message}")

    return Parser(dataclass_types, prog=prog, allow_abbrev=False)


def _named(argv: list[str], parser: Any, fields: Mapping[str, Any], prog: str) -> set[str]:
    """The settings that a command line names."""
    options = {option for action in parser._actions for option in action.option_strings}
    names = set()
    for token in argv:
        option = token.split("=")[0]
        if option.startswith("--"):
            if option not in options:
                raise UserError(f"{prog}: unknown option {option}{nearest(option[2:], set(fields), '--')}")
            name = option[2:].replace("-", "_")
            names.add(name if name in fields else name.removeprefix("no_"))
    return names


def _name_positionals(argv: list[str], fields: Iterable[Any], prog: str) -> list[str]:
    """A command line with the names of its first values, which may go without."""
    count = next((index for index, token in enumerate(argv) if token.startswith("-")), len(argv))
    values, rest = argv[:count], argv[count:]
    for item in fields:
        if item.metadata.get("positional") and values:
            many = item.default_factory is not dataclasses.MISSING
            taken, values = (values, []) if many else (values[:1], values[1:])
            rest = [f"--{item.name}", *taken, *rest]
    if values:
        raise UserError(f"{prog}: unexpected argument {values[0]!r}; a setting is given as --key value")
    return rest


def _structured_fields(dataclass_types: Sequence[type]) -> set[str]:
    """The settings that can be a list or a mapping."""
    names = set()
    for cls in dataclass_types:
        for name, hint in typing.get_type_hints(cls).items():
            parts = [hint, *typing.get_args(hint)]
            if any((typing.get_origin(part) or part) in (list, dict) for part in parts):
                names.add(name)
    return names


def _take_structured(argv: list[str], names: set[str], prog: str) -> tuple[list[str], dict[str, Any]]:
    """Lists and mappings that a command line writes as YAML, `[...]` or `{...}`, taken out of it."""
    rest: list[str] = []
    found: dict[str, Any] = {}
    tokens = [part for token in argv for part in _split_option(token)]
    while tokens:
        token = tokens.pop(0)
        name = token.removeprefix("--").replace("-", "_")
        if token.startswith("--") and name in names and tokens and tokens[0].lstrip()[:1] in ("[", "{"):
            text = tokens.pop(0)
            try:
                found[name] = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise UserError(f"{prog}: {token}: not valid YAML ({_problem(error)}): {text}") from error
        else:
            rest.append(token)
    return rest, found


def _split_option(token: str) -> list[str]:
    option, equals, value = token.partition("=")
    return [option, value] if equals and option.startswith("--") else [token]


def check_keys(path: Path | None, keys: Iterable[str], dataclass_types: Sequence[type], command: str) -> None:
    """
    Check that a configuration file has only keys that its command knows.

    Raises:
        UserError: a key is unknown; the nearest known one is named.
    """
    known = {item.name for cls in dataclass_types for item in dataclasses.fields(cls) if item.init}
    for key in keys:
        if key not in known:
            raise UserError(f"{path}: unknown key {key!r} for {command}{nearest(key, known)}")


def read_config(argv: Sequence[str], prog: str) -> tuple[list[str], Path | None, dict[str, Any]]:
    """
    Read the file that `--config` names, and set the environment variables that it has under `env`.

    Returns:
        `tuple`: the command line without `--config FILE`, the file, and its settings.

    Raises:
        UserError: the file is missing or is not a YAML mapping.
    """
    rest, path = _take_config(list(argv), prog)
    return rest, path, {} if path is None else _read_settings(path)


def _take_config(argv: list[str], prog: str) -> tuple[list[str], Path | None]:
    """A command line without `--config FILE`, and the file."""
    argv = [part for token in argv for part in (_split_option(token) if token.startswith("--config=") else [token])]
    if "--config" not in argv:
        return argv, None
    position = argv.index("--config")
    if position + 1 == len(argv) or argv[position + 1].startswith("--"):
        raise UserError(f"{prog}: --config needs the path of a YAML file")
    return argv[:position] + argv[position + 2 :], Path(argv[position + 1])


def _read_settings(path: Path) -> dict[str, Any]:
    """The settings of a stage's file; environment variables that it names are set."""
    settings = read_yaml(path)
    env = settings.pop("env", None) or {}
    if not isinstance(env, dict):
        raise UserError(f"{path}: env: expected a mapping of names to values, found {type(env).__name__}")
    os.environ.update({str(name): str(value) for name, value in env.items()})
    return settings


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
        raise UserError(f"{path}{line}: not valid YAML ({_problem(error)})") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping of keys to values, found {type(content).__name__}")
    for key in content:
        if not isinstance(key, str):
            raise UserError(f"{path}: expected names as keys, found {key!r}")
    return content


def _problem(error: yaml.YAMLError) -> str:
    return getattr(error, "problem", None) or one_line(error)


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
