"""Arguments of trainers, as `transformers` has them, that no file or tracker gets a secret of."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trl import GRPOConfig

from ..stages.secrets import hide, without_secrets


class SealedArguments:
    """
    Put before a [`~transformers.TrainingArguments`] among the bases of a class, keeps secrets out of what is made of
    the arguments: `training_args.bin`, here and on the Hub, and what trackers are told. The arguments themselves have
    them, for as long as the process lives.
    """

    def __post_init__(self):
        super().__post_init__()  # type: ignore[misc]
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if isinstance(value, str | dict | list):
                setattr(self, item.name, _sealed({item.name: value})[item.name])

    def to_dict(self) -> dict[str, Any]:
        return without_secrets(super().to_dict())  # type: ignore[misc]


@dataclass
class GRPOArguments(SealedArguments, GRPOConfig):
    """[`~trl.GRPOConfig`] as it is, see [`SealedArguments`]."""


class _Sealed(str):
    """A text that is another one, without its secrets, when it is saved."""

    shown: str

    def __new__(cls, text: str, shown: str):
        sealed = super().__new__(cls, text)
        sealed.shown = shown
        return sealed

    def __reduce_ex__(self, protocol):
        return str, (self.shown,)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


def _sealed(value: Any) -> Any:
    """`value` with texts that keep their secrets, at any depth."""
    if isinstance(value, Mapping):
        shown = without_secrets(value)
        return {
            key: _sealed(item) if key in shown or not isinstance(item, str) else _Sealed(item, "")
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_sealed(item) for item in value]
    if isinstance(value, str) and hide(value) != value:
        return _Sealed(value, hide(value))
    return value
