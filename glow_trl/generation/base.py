"""What every engine takes and gives back."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from ..errors import UserError


@dataclass(frozen=True)
class SamplingConfig:
    """How completions are drawn.

    Args:
        num_samples (`int`, *optional*, defaults to `1`):
            Completions drawn for each prompt.
        temperature (`float`, *optional*, defaults to `0.6`):
            Sampling temperature. `0` decodes greedily.
        top_p (`float`, *optional*, defaults to `0.95`):
            Share of the probability that nucleus sampling keeps. `1` samples from the whole vocabulary.
        max_new_tokens (`int`, *optional*, defaults to `1024`):
            Completions are cut after this many tokens.
        seed (`int`, *optional*, defaults to `0`):
            The same seed, prompts and engine settings give the same completions.

    Raises:
        UserError: a value is out of its range.
    """

    num_samples: int = 1
    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int = 1024
    seed: int = 0

    def __post_init__(self):
        for name in ("num_samples", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.temperature < 0:
            raise UserError(f"temperature is {self.temperature}: it must be 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p is {self.top_p}: it must be above 0 and at most 1")

    @property
    def is_untempered(self) -> bool:
        """Whether samples follow the model's own distribution: temperature 1 over the whole vocabulary."""
        return self.temperature == 1 and self.top_p == 1


@dataclass(frozen=True, slots=True)
class Generation:
    """One completion.

    Args:
        text (`str`):
            The decoded completion, without special tokens.
        token_ids (`list[int]`):
            What was sampled, with the end token if there was one.
        n_tokens (`int`):
            Length of `token_ids`.
        finish_reason (`str`):
            `"stop"` if the model ended the completion itself, `"length"` if it was cut.
    """

    text: str
    token_ids: list[int]
    n_tokens: int
    finish_reason: Literal["stop", "length"]


class Engine(ABC):
    """A model that completes prompts.

    Subclasses implement [`Engine.stream`] and load the model on first use or in `__init__`. An engine is a context
    manager; leaving it frees the model's memory.
    """

    #: Whether the weights are loaded in this process as `engine.model`, a transformers model.
    has_transformers_model = False

    @abstractmethod
    def stream(
        self,
        prompts: Sequence[str] | Sequence[Sequence[int]],
        sampling: SamplingConfig,
        skip: Collection[int] = (),
    ) -> Iterator[tuple[int, list[Generation]]]:
        """Yield `(prompt_index, generations)` as prompts are finished, in any order.

        Args:
            prompts (`Sequence[str]` or `Sequence[Sequence[int]]`):
                Rendered prompts or their token ids. A string is tokenized as it stands: no special tokens are added.
            sampling (`SamplingConfig`):
                How to draw; each prompt gets `sampling.num_samples` generations.
            skip (`Collection[int]`, *optional*):
                Indices of prompts that are done already. They are not yielded, and those that remain get the
                completions that they would have had without it.
        """

    def generate(
        self, prompts: Sequence[str] | Sequence[Sequence[int]], sampling: SamplingConfig
    ) -> list[list[Generation]]:
        """All generations, in the order of the prompts; see [`Engine.stream`]."""
        results: list[list[Generation]] = [[] for _ in prompts]
        for index, generations in self.stream(prompts, sampling):
            results[index] = generations
        return results

    @abstractmethod
    def close(self) -> None:
        """Free the model. The engine cannot be used afterwards."""

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
