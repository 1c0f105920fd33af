"""
Whether a setting's value is one that its field can have. The argument parser looks at texts alone: what a YAML file
has in another type, and numbers that are none, it takes as they are.
"""

import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from ..errors import UserError
from .yaml_file import nearest


_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a mapping",
}
# TRL documents another type than it annotates
_ALSO: Mapping[str, type] = {"scale_rewards": bool, "resume_from_checkpoint": bool}
# The least value of numbers that TRL and transformers take as they are and fail with, or train nothing with, later on
_LEAST: Mapping[str, float] = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "learning_rate": 0,
    "weight_decay": 0,
    "max_grad_norm": 0,
    "warmup_steps": 0,
    "seed": 0,
    "logging_steps": 0,
    "save_steps": 0,
    "num_generations": 1,
    "num_iterations": 1,
    "max_completion_length": 1,
    "temperature": 0,
    "beta": 0,
    "lora_r": 1,
}


def typed(name: str, value: Any, hint: Any, mappings: bool = False, parsed: bool = True) -> Any:
    """
    The value of a setting from a YAML file, for a field that is annotated with `hint`. What stands alone where a list
    is wanted becomes one. `mappings`: whether a list may have mappings too, which whoever reads it checks; `parsed`:
    whether an argument parser reads a text that is to be of another type.

    Raises:
        UserError: it is of another type.
    """
    options = _options(hint)
    lists = [option for option in options if (typing.get_origin(option) or option) is list]
    if isinstance(value, str):
        if "\0" in value:
            raise UserError(f"{name}: the text has a NUL byte: {value!r:.60}")
        if not lists and parsed or str in options:
            return value
        value = [value] if lists else value
    if isinstance(value, list) and mappings and lists and all(isinstance(item, str | Mapping) for item in value):
        return value
    if any(_fits(value, option) for option in (*options, _ALSO.get(name, type(None)))) and not (
        value is None and type(None) not in options
    ):
        return value
    if lists and not isinstance(value, list) and any(_fits([value], option) for option in lists):
        return [value]
    advice = "; put it in quotes if it is meant as a text" if str in options and value is not None else ""
    raise UserError(f"{name} must be {_described(options)}, found {_found(value)}{advice}")


def check_number(name: str, value: Any) -> None:
    """Raise a `UserError` for a number, or a list with one, that is not finite, or less than makes sense."""
    for number in value if isinstance(value, list) else [value]:
        if not isinstance(number, int | float) or isinstance(number, bool):
            continue
        if not math.isfinite(number):
            raise UserError(f"{name} is {number}: it must be a finite number")
        if number < _LEAST.get(name, -math.inf):
            raise UserError(f"{name} is {number}: it must be at least {_LEAST[name]}")


def check_choice(name: str, value: Any, choices: list[Any] | None) -> None:
    """Raise a `UserError` for a value that is not among the choices of its field; the nearest is named."""
    if choices and value is not None and value not in choices:
        close = nearest(str(value), map(str, choices)) or f"; there are {', '.join(map(str, choices))}"
        raise UserError(f"{name} cannot be {value!r}{close}")


def _options(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return list(typing.get_args(hint))
    return [hint]


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin is typing.Literal:
        return any(value is item or (type(value) is type(item) and value == item) for item in arguments)
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value if arguments)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(key, arguments[0]) and _fits(item, arguments[1]) for key, item in value.items() if arguments
        )
    return origin is Any or not isinstance(origin, type) or isinstance(value, origin)


def _described(options: list[Any]) -> str:
    words = []
    for option in options:
        origin, arguments = typing.get_origin(option) or option, typing.get_args(option)
        word = _WORDS.get(origin)
        if origin is typing.Literal:
            word = " or ".join(map(repr, arguments))
        elif arguments and all(argument in _WORDS for argument in arguments):
            word = f"{word} of {' to '.join(_WORDS[argument].split(' ', 1)[-1] + 's' for argument in arguments)}"
        words += [word] if word else []
    return " or ".join(dict.fromkeys(words)) or "of another type"


def _found(value: Any) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
