"""`--help`: what it says is what the dataclasses are, and it imports nothing heavy."""

import dataclasses
import subprocess
import sys
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from glow_trl.cli import main
from glow_trl.errors import UserError
from glow_trl.stages.config import command_types, parse_command
from glow_trl.stages.help import MOST_USED, command_help, command_options, is_foreign
from glow_trl.stages.registry import COMMANDS


HEAVY = {"torch", "transformers", "trl", "datasets", "numpy", "accelerate", "peft", "rich", "sympy", "pandas"}


@pytest.mark.parametrize("flag", ["--help", "-h", "--help-all"])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_imports_nothing_heavy(name, flag):
    """So it is there at once: the imports of TRL alone take many seconds."""
    code = (
        "import sys; from glow_trl.cli import main; code = main(sys.argv[1:]);"
        f"print(code, sorted({HEAVY} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code, name, flag], capture_output=True, text=True)
    assert result.stdout.startswith("usage: glow-trl " + name), result.stderr
    assert result.stdout.endswith("\n0 []\n") and not result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_read_from_the_source_is_what_is_imported(name):
    """Names, defaults, texts, choices and marks of every setting, also of TRL's and transformers'."""
    read = {option.name: option for option in command_options(name)}
    fields = [(cls, item) for cls in command_types(name) for item in dataclasses.fields(cls) if item.init]
    assert set(read) == {item.name for _, item in fields}
    for cls, item in fields:
        option = read[item.name]
        default = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
        if option.default == default:
            assert type(option.default) is type(default)
        else:
            # What only the import tells is shown as it is written
            assert is_foreign(option) and isinstance(option.default, str), item.name
        assert option.help.split() == str(item.metadata.get("help", "")).split(), item.name
        hint = get_type_hints(cls)[item.name]
        choices = item.metadata.get("choices") or (get_args(hint) if get_origin(hint) is Literal else ())
        assert list(option.choices) == list(choices) or (is_foreign(option) and not option.choices), item.name
        marks = [bool(item.metadata.get(mark)) for mark in ("positional", "required")]
        assert [option.positional, option.required] == marks, item.name


@pytest.mark.parametrize("name", COMMANDS)
def test_ours_stand_first_and_all_at_80_columns(name):
    text, everything = command_help(name), command_help(name, everything=True)
    options = command_options(name)
    assert "--config FILE" in text and max(map(len, [*text.splitlines(), *everything.splitlines()])) <= 80
    lines = text.splitlines()
    starts = {line.split()[0]: number for number, line in enumerate(lines) if line.startswith("  ")}
    ours = [option for option in options if not is_foreign(option)]
    places = [starts[o.name.upper() if o.positional else f"--{o.name}"] for o in ours]
    used = [option for option in options if is_foreign(option) and option.name in MOST_USED]
    assert max(places) < min((starts[f"--{option.name}"] for option in used), default=len(lines))
    if len(ours) < len(options):
        assert used and "--help-all" in text and len(lines) < 140
    said = " ".join(text.split())
    for option in ours:
        assert option.positional or f"--{option.name}" in starts
        for choice in option.choices:
            assert str(choice) in said
        # A line or two each, three where the option has a line of its own
        shown = said[said.index(f"--{option.name}") :] if not option.positional else said
        if option.required:
            assert "(required)" in shown
        elif option.default not in (None, "", [], {}, False):
            first = option.default[0] if isinstance(option.default, list) else option.default
            assert f"default: {first}".lower() in shown.lower()
    for option in options:
        assert option.positional or f"  --{option.name}" in everything


VALUES = {"first": "a", "second": "b", "benchmarks": "gsm8k", "models": "m"}


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("sft", "grpo")])
def test_what_is_required_is_and_nothing_else(name, tmp_path):
    needed = [option for option in command_options(name) if option.required]
    assert needed

    def parse(without=None):
        argv = [
            part
            for option in needed
            if option is not without
            for part in (f"--{option.name}", VALUES.get(option.name, str(tmp_path)))
        ]
        config = parse_command(name, argv).config
        if hasattr(config, "resolve"):
            config.resolve()

    parse()
    for option in needed:
        with pytest.raises(UserError):
            parse(without=option)


def test_help_stands_anywhere_on_the_command_line(capsys):
    assert main(["run", "recipes/none", "--compare", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: glow-trl run RECIPE")
