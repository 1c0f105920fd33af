"""A command's settings: YAML file and command line into dataclasses, with errors that people can act on.

Importing this module loads neither torch nor TRL.
"""

import contextlib
import dataclasses
import importlib
import itertools
import json
import logging
import os
import typing
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, UserError
from .paths import expand_arguments, expand_path, expand_setting
from .recipe_file import LENGTHS, resolve_stage_file, said
from .registry import COMMANDS
from .secrets import HANDED_OVER, remember, remember_environment
from .values import check_choice, check_number, typed
from .yaml_file import nearest, one_line, parse_yaml


logger = logging.getLogger(__name__)

# What a switch may be set to, as `transformers` reads it
_SWITCH = ("yes", "true", "t", "y", "1", "no", "false", "f", "n", "0")
# Metadata of a field that are ours and not the argument parser's
_MARKS = ("changeable", "positional", "required", "mappings")


def setting(
    default: Any,
    help: str,
    *,
    choices: Sequence[Any] | None = None,
    changeable: bool | str = False,
    positional: bool = False,
    required: bool = False,
    mappings: bool = False,
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
        positional (`bool`, *optional*, defaults to `False`): whether the command also takes it without its name. A
            list takes all that stand so.
        required (`bool`, *optional*, defaults to `False`): whether `--help` says that it has to be given. The
            dataclass itself refuses its default.
        mappings (`bool`, *optional*, defaults to `False`): whether a list of texts can have mappings among them.
    """
    metadata: dict[str, Any] = {"help": help}
    metadata |= {} if choices is None else {"choices": list(choices)}
    metadata |= {"changeable": changeable} if changeable else {}
    metadata |= {"positional": True} if positional else {}
    metadata |= {"required": True} if required else {}
    metadata |= {"mappings": True} if mappings else {}
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
    Parse the command line of a command: `VALUE ... --config FILE --key value ...`, in any order.

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
    argv, path, from_file = read_config(argv, prog, fields)
    check_keys(path, from_file, dataclass_types, command)
    return build_settings(dataclass_types, from_file, command, path or prog, argv, changeable)


def build_settings(
    dataclass_types: Sequence[type],
    from_file: Mapping[str, Any],
    command: str,
    where: str | Path,
    argv: Sequence[str] = (),
    changeable: Iterable[str] = (),
) -> Settings:
    """As [`parse_settings`], from what a file says (`where`, for messages) and a command line without `--config`."""
    prog = f"glow-trl {command}"
    fields = {item.name: item for cls in dataclass_types for item in dataclasses.fields(cls) if item.init}
    parser = _make_parser(dataclass_types, fields, prog, where)
    argv = _name_positionals(list(argv), fields.values(), parser, prog)
    argv, structured = _take_structured(argv, _structured_fields(dataclass_types), prog)
    argv = expand_arguments(argv)
    from_file = {name: expand_setting(name, value) for name, value in from_file.items()}
    structured = {name: expand_setting(name, value) for name, value in structured.items()}
    from_command_line = {*structured, *_named(argv, parser, fields, prog)}
    from_file = _without_other_length(from_file, argv, where)
    given = {
        **_typed(from_file, dataclass_types, fields, where),
        **_typed(structured, dataclass_types, fields, prog),
    }
    parser.given = dict.fromkeys(given, where) | dict.fromkeys(from_command_line & fields.keys(), prog)
    try:
        parser.set_defaults_with_config(**given)
        configs = parser.parse_args_into_dataclasses(argv)
    except UserError:
        raise
    except ImportError as error:
        if "deepspeed" in str(error).lower():
            raise MissingExtraError("deepspeed", "deepspeed", f"{command} with DeepSpeed") from error
        raise
    except (ValueError, TypeError) as error:
        raise UserError(f"{where}: {one_line(error)}") from error
    return Settings.of(command, configs, [*from_file, *sorted(from_command_line)], changeable)


def _typed(
    given: Mapping[str, Any], dataclass_types: Sequence[type], fields: Mapping[str, Any], where: str | Path
) -> dict[str, Any]:
    """Settings that do not come as words of a command line, each of the type that its field has."""
    hints = {name: hint for cls in dataclass_types for name, hint in typing.get_type_hints(cls).items()}
    with naming(where):
        return {
            name: typed(name, value, hints[name], bool(fields[name].metadata.get("mappings")))
            for name, value in given.items()
        }


@contextlib.contextmanager
def naming(where: str | Path) -> Iterator[None]:
    """Begin the messages of a block's `UserError`s with what they are about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _make_parser(
    dataclass_types: Sequence[type], fields: Mapping[str, dataclasses.Field], prog: str, where: str | Path
) -> Any:
    from trl import TrlParser

    class Parser(TrlParser):
        # Of the settings that are given: what says them
        given: Mapping[str, str | Path] = {}

        def parse_known_args(self, args=None, namespace=None):
            # Before the dataclasses are made, which compute with numbers
            found, rest = super().parse_known_args(args, namespace)
            for name, place in self.given.items():
                with naming(place):
                    check_choice(name, getattr(found, name), fields[name].metadata.get("choices"))
                    check_number(name, getattr(found, name))
            return found, rest

        def add_argument(self, *names, **options):
            return super().add_argument(*names, **{key: options[key] for key in options if key not in _MARKS})

        def error(self, message):
            raise UserError(f"{where}: {message}")

    return Parser(dataclass_types, prog=prog, allow_abbrev=False)


def _named(argv: list[str], parser: Any, fields: Mapping[str, Any], prog: str) -> set[str]:
    """The settings that a command line names."""
    options = {option for action in parser._actions for option in action.option_strings}
    names = set()
    for token in argv:
        option = token.split("=")[0]
        if option.startswith("--"):
            if option not in options:
                close = nearest(option[2:], set(fields), "--")
                raise UserError(f"{prog}: unknown option {option}{close}")
            name = option[2:].replace("-", "_")
            names.add(name if name in fields else name.removeprefix("no_"))
    return names


def _name_positionals(argv: list[str], fields: Iterable[Any], parser: Any, prog: str) -> list[str]:
    """A command line with the names of the values that may go without."""
    takes = {option: action.nargs for action in parser._actions for option in action.option_strings}
    values: list[str] = []
    rest: list[str] = []
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        if not token.startswith("-"):
            values.append(token)
            continue
        if not token.startswith("--"):
            raise UserError(f"{prog}: unknown option {token}; a setting is given as --key value")
        rest.append(token)
        while tokens and not tokens[0].startswith("--") and "=" not in token:
            # A switch has a value where it is one: `--compare false`, but `--compare RECIPE`
            if takes.get(token) == 0 or (takes.get(token) == "?" and tokens[0].lower() not in _SWITCH):
                break
            rest.append(tokens.pop(0))
            if takes.get(token) != "+" or _is_structured(rest[-1]):
                break
    for item in fields:
        if item.metadata.get("positional") and values:
            many = item.default_factory is not dataclasses.MISSING
            taken, values = (values, []) if many else (values[:1], values[1:])
            rest = [f"--{item.name}", *taken, *rest]
    if values:
        raise UserError(f"{prog}: unexpected argument {values[0]!r}; a setting is given as --key value")
    return rest


def _without_other_length(from_file: Mapping[str, Any], argv: list[str], where: str | Path) -> Mapping[str, Any]:
    """
    What a file says, without how long to train where the command line says that. Raises `UserError` where a file, or
    the command line, says it in two ways.
    """
    given = {token[2:].replace("-", "_"): value for token, value in itertools.pairwise(argv) if token[:2] == "--"}
    chosen = said(given, LENGTHS)
    in_file = {name: value for name, value in said(from_file, LENGTHS).items() if name not in given}
    if len(chosen or in_file) > 1:
        raise UserError(
            f"{where}: num_train_epochs and max_steps both say how long to train, and only max_steps would count: "
            "leave one out"
        )
    if not chosen:
        return from_file
    for name, value in in_file.items():
        logger.warning(f"--{next(iter(chosen))} takes the place of {name}: {value} in {where}")
    return {name: value for name, value in from_file.items() if name not in LENGTHS}


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
        if token.startswith("--") and name in names and tokens and _is_structured(tokens[0]):
            found[name] = parse_yaml(tokens.pop(0), f"{prog}: {token}")
        else:
            rest.append(token)
    return rest, found


def _is_structured(text: str) -> bool:
    return text.lstrip()[:1] in ("[", "{")


def _split_option(token: str) -> list[str]:
    option, equals, value = token.partition("=")
    return [option, value] if equals and option.startswith("--") else [token]


def check_keys(path: Path | None, keys: Iterable[str], dataclass_types: Sequence[type], command: str) -> None:
    """Raise a `UserError` for a key that the command does not know; the nearest known one is named."""
    known = {item.name for cls in dataclass_types for item in dataclasses.fields(cls) if item.init}
    for key in keys:
        if key not in known:
            raise UserError(f"{path}: unknown key {key!r} for {command}{nearest(key, known)}")


def read_config(
    argv: Sequence[str], prog: str, known: Container[str] = ()
) -> tuple[list[str], Path | None, dict[str, Any]]:
    """
    Read the file that `--config` names, see [`~glow_trl.stages.recipe_file.resolve_stage_file`], and set the
    environment variables that it has under `env`. Returns the command line without `--config FILE`, the file, and its
    settings.
    """
    remember(argv)
    rest, path = _take_config(list(argv), prog)
    if "--config" in rest:
        raise UserError(f"{prog}: --config is given twice; a command takes one file")
    settings = {} if path is None else resolve_stage_file(path, known)
    settings |= {} if path is None else json.loads(os.environ.get(HANDED_OVER, "{}"))
    os.environ.update({str(name): str(value) for name, value in settings.pop("env", {}).items()})
    remember(settings)
    remember_environment()
    return rest, path, settings


def _take_config(argv: list[str], prog: str) -> tuple[list[str], Path | None]:
    """A command line without `--config FILE`, and the file."""
    argv = [part for token in argv for part in (_split_option(token) if token.startswith("--config=") else [token])]
    if "--config" not in argv:
        return argv, None
    position = argv.index("--config")
    if position + 1 == len(argv) or argv[position + 1].startswith("--"):
        raise UserError(f"{prog}: --config needs the path of a YAML file")
    return argv[:position] + argv[position + 2 :], Path(expand_path(argv[position + 1]))


def as_mapping(value: dict[str, Any] | str | None, name: str) -> dict[str, Any]:
    """A mapping, or the text of one in YAML; `{}` for `None`, a `UserError` for anything else."""
    if isinstance(value, str):
        value = parse_yaml(value, name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{name}: expected a mapping, found {type(value).__name__}")
    return value
