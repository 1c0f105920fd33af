"""Values of settings: what does not fit its field is refused (see the table of bad inputs), all else is taken."""

import dataclasses
import typing

import pytest

from glow_trl.errors import UserError
from glow_trl.stages.config import command_types
from glow_trl.stages.registry import COMMANDS
from glow_trl.stages.values import check_number, typed
from glow_trl.stages.yaml_file import parse_yaml


@pytest.mark.parametrize("command", COMMANDS)
def test_every_default_fits_its_field(command):
    """A run writes its resolved settings down and reads them again."""
    for cls in command_types(command):
        hints = typing.get_type_hints(cls)
        for item in dataclasses.fields(cls):
            default = item.default
            if item.default_factory is not dataclasses.MISSING:
                default = item.default_factory()
            if item.init and default is not dataclasses.MISSING:
                assert typed(item.name, default, hints[item.name]) == default


@pytest.mark.parametrize(
    ("value", "hint", "taken"),
    [
        (1, float, 1),
        ("1e-5", float, "1e-5"),
        ("5", int | None, "5"),
        (None, int | None, None),
        ("a", list[str], ["a"]),
        (4, list[int] | None, [4]),
        ("none", None | str | list[str], "none"),
        ({"a": 1}, dict[str, typing.Any] | str | None, {"a": 1}),
        ("error", typing.Literal["error", "drop"], "error"),
    ],
)
def test_what_fits_is_taken(value, hint, taken):
    assert typed("setting", value, hint) == taken


def test_what_trl_documents_beside_its_annotation_is_taken():
    assert typed("scale_rewards", False, str) is False
    assert typed("resume_from_checkpoint", True, str | None) is True
    with pytest.raises(UserError, match="seed is -1: it must be at least 0"):
        check_number("seed", -1)
    check_number("max_steps", -1)


def test_yaml_keeps_what_is_no_mistake():
    """Anchors, merged mappings with a key of one's own in its place, the same key in different mappings."""
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: [*a, *a]\nd: {x: {x: 1}}\n"
    expected = {"x": 1, "y": 2}
    assert parse_yaml(text, "here") == {
        "a": expected,
        "b": {"x": 3, "y": 2},
        "c": [expected, expected],
        "d": {"x": {"x": 1}},
    }
    assert parse_yaml("a: 1\n'1': 2\n1: 3\n", "here") == {"a": 1, "1": 2, 1: 3}
