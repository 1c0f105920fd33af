"""`glow-trl COMMAND --help`: its settings in groups, ours first. Imports neither the command nor what it needs."""

import argparse
import re
from collections.abc import Iterable
from typing import Any

from .registry import COMMANDS
from .source import Option, read_options


# Of TRL's and transformers' options those that are named without --help-all too
MOST_USED = (
    "model_name_or_path output_dir num_train_epochs max_steps learning_rate per_device_train_batch_size "
    "gradient_accumulation_steps max_length num_generations max_completion_length beta use_vllm use_peft dtype "
    "save_steps seed"
).split()
_REQUIRED = ("model_name_or_path",)
_WORDS = {"int": "INT", "float": "FLOAT", "bool": "BOOL", "dict": "MAPPING"}


def command_options(command: str) -> list[Option]:
    """All settings of a command."""
    entry = COMMANDS[command]
    return [option for name in entry.configs for option in read_options(entry.module, name)]


def command_help(command: str, everything: bool = False) -> str:
    """What `--help` prints of a command; with `everything` also all that TRL and transformers offer."""
    options = command_options(command)
    ours = [option for option in options if not is_foreign(option)]
    foreign = [option for option in options if is_foreign(option)]
    if not everything:
        foreign = sorted(
            (option for option in foreign if option.name in MOST_USED),
            key=lambda option: MOST_USED.index(option.name),
        )
    parser = argparse.ArgumentParser(
        f"glow-trl {command}",
        usage=_wrapped([f"glow-trl {command}", *_needed(options), "[--config FILE]", "[--key value ...]"]),
        description=COMMANDS[command].summary[0].upper() + COMMANDS[command].summary[1:] + ".",
        epilog="Lists and mappings are written as in YAML: --KEY '[a, b]', --KEY '{a: b}'. A list also as --KEY a b.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=80),
        add_help=False,
        allow_abbrev=False,
    )
    general = parser.add_argument_group("Options")
    general.add_argument(
        "--config", metavar="FILE", help="YAML file with these settings by name; the command line wins."
    )
    if command == "run":
        general.add_argument(
            "--STAGE.KEY", metavar="VALUE", help="A setting of a stage, in YAML: --sft.learning_rate 1e-5."
        )
    general.add_argument("-h", "--help", action="store_true", help="Show this and exit.")
    if any(map(is_foreign, options)):
        general.add_argument("--help-all", action="store_true", help="Show all of TRL's options too, and exit.")
    groups: dict[str, Any] = {}
    for option in [*ours, *foreign]:
        title = option.title if not is_foreign(option) else _foreign_title(option, everything)
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        _add(groups[title], option, everything)
    return parser.format_help()


def is_foreign(option: Option) -> bool:
    """Whether a setting is TRL's or transformers', not ours."""
    return option.module.split(".")[0] != __name__.split(".")[0]


def _foreign_title(option: Option, everything: bool) -> str:
    if everything:
        return f"{option.module.split('.')[0]}: {option.owner.strip('_')}"
    return "The most used of TRL's options (all: --help-all)"


def _wrapped(parts: list[str]) -> str:
    """A usage in lines of at most 80 columns, broken between options."""
    lines = ["usage:"]
    for part in parts:
        if len(lines[-1]) + 1 + len(part) > 80:
            lines.append(" " * 7)
        lines[-1] += f" {part}"
    return "\n".join(lines).removeprefix("usage: ")


def _needed(options: Iterable[Option]) -> list[str]:
    """What the usage names: the settings that come without their name, and those that are required."""
    named = []
    for option in options:
        if option.positional:
            named.append(option.name.upper() + (" ..." if _is_list(option) else ""))
        elif option.required or (is_foreign(option) and option.name in _REQUIRED):
            named.append(f"--{option.name} {_metavar(option)}")
    return named


def _add(group: Any, option: Option, everything: bool) -> None:
    text = " ".join(option.help.replace("%%", "%").split())
    if is_foreign(option) and not everything:
        text = re.split(r"(?<=\w)\. ", text)[0].rstrip(".") + "."
    elif not text:
        text = f"see {option.owner}"
    note = ""
    if option.required or (is_foreign(option) and option.name in _REQUIRED):
        note = "required"
    elif option.default is not False and option.default not in (None, "", [], {}) and "(default" not in text:
        shown = str(option.default).lower() if isinstance(option.default, bool) else option.default
        note = f"default: {' '.join(map(str, shown)) if isinstance(shown, list) else shown}"
    text = f"{text.rstrip('.')} ({note})." if note else text
    text = text.replace("%", "%%")
    if option.positional:
        text = f"{text} Also as --{option.name}."
        group.add_argument(option.name, metavar=option.name.upper() + (" ..." if _is_list(option) else ""), help=text)
    elif option.kind.startswith("bool") and option.default is False:
        group.add_argument(f"--{option.name}", action="store_true", help=text)
    else:
        group.add_argument(f"--{option.name}", metavar=_metavar(option), help=text)


def _is_list(option: Option) -> bool:
    return "list[" in option.kind


def _metavar(option: Option) -> str:
    if option.choices:
        return "{" + ",".join(map(str, option.choices)) + "}"
    kinds = re.findall(r"\w+", option.kind)
    word = next((_WORDS[kind] for kind in kinds if kind in _WORDS), "DIR" if option.name.endswith("_dir") else "TEXT")
    return f"{word} ..." if _is_list(option) and word != "MAPPING" else word
