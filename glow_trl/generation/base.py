"""What every engine takes and gives back."""

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import UserError


#: A rendered prompt, its token ids, or (for engines with `takes_messages`) a conversation.
Prompt = str | Sequence[int] | Sequence[Mapping[str, str]]
#: Called with the index of a prompt that cannot be answered, and the reason.
OnRefused = Callable[[int, str], None]


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
        stop (`tuple[str]`, *optional*):
            Strings that end a completion. Its text ends before the first of them that appears; `token_ids` and
            `n_tokens` count what was sampled, up to the token that completed the string.
        top_k (`int`, *optional*, defaults to `0`):
            Sample among so many most probable tokens, before `top_p` applies. `0` for all.
        min_p (`float`, *optional*, defaults to `0.0`):
            Leave out tokens whose probability is below this share of the most probable one's. With a `top_p` below 1
            as well, transformers applies `top_p` first and vLLM `min_p`.
        log_probs (`bool`, *optional*, defaults to `False`):
            Whether to give the model's log-probability of every token with it, see [`Generation`]. What is drawn does
            not depend on it.

    Raises:
        UserError: a value is out of its range.
    """

    num_samples: int = 1
    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int = 1024
    seed: int = 0
    stop: tuple[str, ...] = ()
    top_k: int = 0
    min_p: float = 0.0
    log_probs: bool = False

    def __post_init__(self):
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()))
        for name in ("num_samples", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.temperature < 0:
            raise UserError(f"temperature is {self.temperature}: it must be 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p is {self.top_p}: it must be above 0 and at most 1")
        if self.top_k < 0:
            raise UserError(f"top_k is {self.top_k}: it must be 0 (all tokens) or more")
        if not 0 <= self.min_p <= 1:
            raise UserError(f"min_p is {self.min_p}: it must be between 0 and 1")
        if not all(isinstance(string, str) and string for string in self.stop):
            raise UserError(f"stop is {list(self.stop)}: it must be a list of strings, none of them empty")

    @property
    def is_untempered(self) -> bool:
        """Whether samples follow the model's own distribution: temperature 1 over the whole vocabulary."""
        return self.temperature == 1 and self.top_p == 1 and self.top_k == 0 and self.min_p == 0

    @property
    def identity(self) -> dict[str, Any]:
        """The values that decide what is drawn."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "log_probs"}


@dataclass(frozen=True, slots=True)
class Generation:
    """One completion.

    Args:
        text (`str`):
            The decoded completion, without special tokens, up to a stop string.
        token_ids (`list[int]`):
            What was sampled, with the end token if there was one. Empty where a server does not tell.
        n_tokens (`int`):
            How many tokens were sampled.
        finish_reason (`str`):
            `"stop"` if the model ended the completion itself or wrote a stop string, `"length"` if it was cut.
        log_probs (`list[float]`, *optional*):
            The model's log-probability of each of the first of `token_ids`, in nats: at temperature 1 and over the
            whole vocabulary, however it was sampled. Of all of them, or, where the text ends before a stop string, of
            those whose text does too. `None` if they were not asked for, or a server does not tell.
    """

    text: str
    token_ids: list[int]
    n_tokens: int
    finish_reason: Literal["stop", "length"]
    log_probs: list[float] | None = None


class Engine(ABC):
    """A model that completes prompts.

    Subclasses implement [`Engine.stream`], or derive from [`SampleEngine`], and load the model on first use or in
    `__init__`. An engine is a context manager; leaving it frees the model's memory.

    What a prompt may be: rendered text or token ids. An engine with `takes_messages` also takes conversations, lists
    of messages with `role` and `content`, and is best given these: it has the chat template, and perhaps another
    tokenizer than the caller. For the others [`~glow_trl.generation.render_conversation`] makes token ids.
    """

    #: Whether the weights are loaded in this process as `engine.model`, a transformers model.
    has_transformers_model = False
    #: Whether prompts may be conversations, and should be.
    takes_messages = False
    #: Options of the class that do not change what is drawn, such as limits on memory or time.
    incidental_options: frozenset[str] = frozenset()

    @abstractmethod
    def stream(
        self, prompts: Sequence[Prompt], sampling: SamplingConfig, skip: Collection[int] = ()
    ) -> Iterator[tuple[int, list[Generation]]]:
        """Yield `(prompt_index, generations)` as prompts are finished, in any order.

        Args:
            prompts (`Sequence`):
                Rendered prompts, their token ids, or conversations, see [`Engine`]. A string is tokenized as it
                stands: no special tokens are added.
            sampling (`SamplingConfig`):
                How to draw; each prompt gets `sampling.num_samples` generations.
            skip (`Collection[int]`, *optional*):
                Indices of prompts that are done already. They are not yielded, and those that remain get the
                completions that they would have had without it.

        Raises:
            UserError: a prompt cannot be answered, because it is too long for the model for example.
        """

    def stream_samples(
        self,
        prompts: Sequence[Prompt],
        sampling: SamplingConfig,
        done: Container[tuple[int, int]] = (),
        on_refused: OnRefused | None = None,
    ) -> Iterator[tuple[int, int, Generation]]:
        """Yield `(prompt_index, sample, generation)` as samples are finished, in any order; `sample` counts from 0.

        Args:
            prompts (`Sequence`):
                As for [`Engine.stream`]; read from front to back, each entry no earlier than needed.
            sampling (`SamplingConfig`):
                How to draw.
            done (`Container[tuple[int, int]]`, *optional*):
                The pairs of prompt and sample that exist already. They are not yielded, and those that remain are
                what they would have been without it.
            on_refused (`Callable`, *optional*):
                Called with the index of a prompt that cannot be answered and the reason, in place of the error.
        """
        count = sampling.num_samples
        skip = [index for index in range(len(prompts)) if all((index, sample) in done for sample in range(count))]
        for index, generations in self.stream(prompts, sampling, skip=set(skip)):
            for sample, generation in enumerate(generations):
                if (index, sample) not in done:
                    yield index, sample, generation

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingConfig) -> list[list[Generation]]:
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

    def __exit__(self, *exception) -> None:
        self.close()


class SampleEngine(Engine):
    """An engine that finishes the samples of a prompt one by one. Subclasses implement `stream_samples`."""

    @abstractmethod
    def stream_samples(
        self,
        prompts: Sequence[Prompt],
        sampling: SamplingConfig,
        done: Container[tuple[int, int]] = (),
        on_refused: OnRefused | None = None,
    ) -> Iterator[tuple[int, int, Generation]]: ...

    def stream(
        self, prompts: Sequence[Prompt], sampling: SamplingConfig, skip: Collection[int] = ()
    ) -> Iterator[tuple[int, list[Generation]]]:
        drawn: dict[int, dict[int, Generation]] = {}
        done = {(index, sample) for index in skip for sample in range(sampling.num_samples)}
        for index, sample, generation in self.stream_samples(prompts, sampling, done):
            samples = drawn.setdefault(index, {})
            samples[sample] = generation
            if len(samples) == sampling.num_samples:
                yield index, [drawn[index][number] for number in range(sampling.num_samples)]
                del drawn[index]


def refuse(index: int, reason: str, on_refused: OnRefused | None) -> None:
    """Report a prompt that cannot be answered to `on_refused`, or raise a `UserError` without it."""
    if on_refused is None:
        raise UserError(f"prompt {index + 1} cannot be answered: {reason}")
    on_refused(index, reason)


def sample_seed(seed: int, index: int, sample: int) -> int:
    """A seed of 31 bits for each sample: those of neighbors, and of neighboring runs, have nothing in common."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{index}/{sample}".encode()).digest()[:4], "little") >> 1


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """`text` up to the first stop string in it, and whether there is one."""
    found = [position for position in (text.find(string) for string in stop) if position >= 0]
    return (text[: min(found)], True) if found else (text, False)


def tokens_within(text: str, count: int, decode: Callable[[int], str]) -> int:
    """
    How many of a completion's first tokens go no further than `text`, which ends before a stop string. `decode(n)` is
    the text of the first `n`, and `count` the number of all.
    """
    while not text.startswith(decode(count)):
        count -= 1
    return count
