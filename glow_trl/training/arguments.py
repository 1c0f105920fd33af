"""Arguments of trainers, as `transformers` has them, that no file or tracker gets a secret of."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trl import GRPOConfig

from ..stages.config import setting
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
    r"""
    [`~trl.GRPOConfig`], see [`SealedArguments`], and

    Parameters:
        dynamic_sampling (`bool`, *optional*, defaults to `False`):
            Train only on groups whose rewards differ: one whose rewards are all equal gives way to that of a further
            question, see [`~glow_trl.training.dynamic_sampling.DynamicSamplingGRPOTrainer`].
        dynamic_sampling_max_rounds (`int`, *optional*, defaults to `10`):
            How often completions are generated for a generation batch at most, the first time included. What is not
            filled by then is not trained on.
    """

    dynamic_sampling: bool = setting(
        False, "Replace groups whose rewards are all equal by those of further questions."
    )
    dynamic_sampling_max_rounds: int = setting(
        10, "With dynamic_sampling: rounds of generation for a batch at most, the first included."
    )

    def __post_init__(self):
        if self.dynamic_sampling_max_rounds < 1:
            raise ValueError(f"dynamic_sampling_max_rounds must be at least 1, got {self.dynamic_sampling_max_rounds}")
        super().__post_init__()


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
