"""Generation with `transformers`, in this process. Runs anywhere; on a GPU, vLLM is many times faster."""

import bisect
import random
import sys
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from typing import Any, cast

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from .base import (
    Generation,
    OnRefused,
    Prompt,
    SampleEngine,
    SamplingConfig,
    cut_at_stop,
    refuse,
    sample_seed,
    tokens_within,
)
from .loading import end_token_ids, load_model, load_tokenizer


# What is computed of all logits is in memory for so many rows at a time
_ROWS_AT_ONCE = 64


class TransformersEngine(SampleEngine):
    """Samples with `model.generate`, in left-padded batches of prompts of similar length.

    A sample is drawn by random numbers that follow from the seed, its prompt's position and its own number, whatever
    else is in its batch. The batches follow from the prompts and the settings alone, and one of which anything is
    missing is drawn as a whole, so that a run which is started again has the very logits of one that was not stopped.

    Args:
        model_name_or_path (`str`):
            A checkpoint's folder (full model or PEFT adapter) or a model id.
        dtype (`str`, *optional*, defaults to `"auto"`):
            Precision of the weights; `"auto"` takes that of the checkpoint.
        device (`str`, *optional*):
            Defaults to the first GPU if there is one.
        batch_size (`int`, *optional*, defaults to `512`):
            Most sequences in a batch.
        batch_tokens (`int`, *optional*, defaults to `65536`):
            Most tokens in a batch, counting prompts and `max_new_tokens`: it bounds the key-value cache. A single
            sequence that is longer gets a batch of its own.
        max_model_len (`int`, *optional*):
            Most tokens of a prompt with its completion; by default what the model's positions allow. Completions are
            cut there.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Whether code that comes with the checkpoint may run.
        **model_kwargs:
            Passed to `from_pretrained`.
    """

    has_transformers_model = True
    # Whoever runs out of memory goes on with smaller batches
    incidental_options = frozenset({"batch_size", "batch_tokens"})

    def __init__(
        self,
        model_name_or_path: str,
        dtype: str = "auto",
        device: str | None = None,
        batch_size: int = 512,
        batch_tokens: int = 65536,
        max_model_len: int | None = None,
        trust_remote_code: bool = False,
        **model_kwargs: Any,
    ):
        self.tokenizer = load_tokenizer(model_name_or_path, trust_remote_code)
        self.model = load_model(model_name_or_path, dtype, device, trust_remote_code, **model_kwargs)
        self.batch_size = batch_size
        self.batch_tokens = batch_tokens
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        self._max_length = max_model_len or positions or sys.maxsize
        self._end_ids = end_token_ids(self.tokenizer, self.model.generation_config)
        # `generate` fills what a call leaves open from the checkpoint's own generation config, a repetition penalty
        # for example: completions must depend on the sampling config alone
        self.model.generation_config = GenerationConfig()

    def stream_samples(
        self,
        prompts: Sequence[Prompt],
        sampling: SamplingConfig,
        done: Container[tuple[int, int]] = (),
        on_refused: OnRefused | None = None,
    ) -> Iterator[tuple[int, int, Generation]]:
        token_ids = [self._encode(prompt) for prompt in prompts]
        usable = []
        for index, ids in enumerate(token_ids):
            if 0 < len(ids) < self._max_length:
                usable.append(index)
            else:
                problem = f"its {len(ids)} tokens leave no room in max_model_len={self._max_length}"
                refuse(index, problem if ids else "it is empty", on_refused)
        drawn: Counter[int] = Counter()
        for batch in self._batches(token_ids, sampling, usable):
            pairs = []
            for index in batch:
                pairs.append((index, drawn[index]))
                drawn[index] += 1
            if all(pair in done for pair in pairs):
                continue
            completions = self._generate_batch([token_ids[index] for index in batch], sampling, pairs)
            for pair, generation in zip(pairs, completions, strict=True):
                if pair not in done:
                    yield *pair, generation

    def close(self) -> None:
        self.model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _encode(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, str):
            return self.tokenizer.encode(prompt, add_special_tokens=False)
        return list(cast(Sequence[int], prompt))

    def _batches(
        self, token_ids: list[list[int]], sampling: SamplingConfig, usable: Sequence[int]
    ) -> Iterator[list[int]]:
        """Prompt indices of each batch, longest first; an index stands once for each of its samples."""
        order = sorted(usable, key=lambda index: -len(token_ids[index]))
        rows = [index for index in order for _ in range(sampling.num_samples)]
        start = 0
        while start < len(rows):
            longest = len(token_ids[rows[start]]) + sampling.max_new_tokens
            batch = rows[start : start + max(1, min(self.batch_size, self.batch_tokens // longest))]
            # Where the model's length leaves less room than asked for, a completion must not depend on a longer prompt
            rooms = [self._room(token_ids[index], sampling) for index in batch]
            batch = batch[: rooms.count(rooms[0])]
            yield batch
            start += len(batch)

    def _room(self, prompt: list[int], sampling: SamplingConfig) -> int:
        return min(sampling.max_new_tokens, self._max_length - len(prompt))

    def _generate_batch(
        self, prompts: list[list[int]], sampling: SamplingConfig, pairs: list[tuple[int, int]]
    ) -> list[Generation]:
        pad_id = self.tokenizer.pad_token_id
        if pad_id is None:
            pad_id = self._end_ids[0] if self._end_ids else 0
        width = max(map(len, prompts))
        input_ids = torch.full((len(prompts), width), pad_id)
        attention_mask = torch.zeros_like(input_ids)
        for row, prompt in enumerate(prompts):
            input_ids[row, width - len(prompt) :] = torch.tensor(prompt)
            attention_mask[row, width - len(prompt) :] = 1
        config = GenerationConfig(
            max_new_tokens=self._room(prompts[0], sampling),
            # What samples is the last of the processors
            do_sample=False,
            eos_token_id=self._end_ids or None,
            pad_token_id=pad_id,
        )
        device = self.model.device
        keeper = _LogProbs() if sampling.log_probs else None
        with torch.inference_mode():
            output = self.model.generate(
                input_ids.to(device),
                attention_mask=attention_mask.to(device),
                generation_config=config,
                logits_processor=_processors(sampling, pairs, keeper),
                stopping_criteria=StoppingCriteriaList(
                    [_StopStrings(self.tokenizer, sampling.stop, width)] if sampling.stop else []
                ),
            )
            log_probs = None if keeper is None else keeper.of(output, output.shape[1] - width).tolist()
        generations = self._unpack(output[:, width:].cpu(), log_probs)
        return [self._cut(generation, sampling.stop) for generation in generations]

    def _cut(self, generation: Generation, stop: Sequence[str]) -> Generation:
        """A generation up to its first stop string: the rows of a batch go on until the last one has ended."""
        text, stopped = cut_at_stop(generation.text, stop)
        if not stopped:
            return generation
        ids = generation.token_ids
        # The fewest tokens whose text holds the stop string
        length = bisect.bisect_left(
            range(1, len(ids)), True, key=lambda count: cut_at_stop(self._decode(ids[:count]), stop)[1]
        )
        ids = ids[: length + 1]
        log_probs = generation.log_probs
        if log_probs is not None:
            log_probs = log_probs[: tokens_within(text, len(ids), lambda count: self._decode(ids[:count]))]
        return Generation(text, ids, len(ids), "stop", log_probs)

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _unpack(self, completions: torch.Tensor, log_probs: list[list[float]] | None) -> list[Generation]:
        ended = torch.isin(completions, torch.tensor(self._end_ids, dtype=completions.dtype))
        stopped = ended.any(dim=1)
        lengths = torch.where(stopped, ended.int().argmax(dim=1) + 1, completions.shape[1]).tolist()
        token_ids = [row[:length] for row, length in zip(completions.tolist(), lengths, strict=True)]
        texts = self.tokenizer.batch_decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        kept: list[list[float] | None] = [None] * len(texts)
        if log_probs is not None:
            kept = [row[: len(ids)] for row, ids in zip(log_probs, token_ids, strict=True)]
        return [
            Generation(text, ids, len(ids), "stop" if stop else "length", row)
            for text, ids, stop, row in zip(texts, token_ids, stopped.tolist(), kept, strict=True)
        ]


class _StopStrings(StoppingCriteria):
    """Ends the rows whose latest text holds a stop string."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], prompt_width: int):
        self._tokenizer, self._stop, self._prompt_width = tokenizer, stop, prompt_width
        # A token brings at least a byte of text, and a character has at most four; special tokens bring none
        self._window = 4 * max(map(len, stop)) + 8

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        recent = input_ids[:, max(self._prompt_width, input_ids.shape[1] - self._window) :]
        texts = self._tokenizer.batch_decode(recent, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return torch.tensor([cut_at_stop(text, self._stop)[1] for text in texts], device=input_ids.device)


class _LogProbs(LogitsProcessor):
    """
    Keeps the log-probability of each token that is taken. It is the first of the processors: of a step's logits it
    looks at the token that was taken when it is called for the next one.
    """

    def __init__(self):
        self._logits: torch.Tensor | None = None
        self._kept: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._keep(input_ids)
        self._logits = scores
        return scores

    def of(self, output: torch.Tensor, steps: int) -> torch.Tensor:
        """Those of the last tokens of `output`, of shape `(rows, steps)`, float32."""
        # A check for the end that comes a step late takes the last step back
        if len(self._kept) < steps:
            self._keep(output)
        return torch.stack(self._kept[:steps], dim=1)

    def _keep(self, input_ids: torch.Tensor) -> None:
        if self._logits is not None:
            taken = self._logits.gather(1, input_ids[:, -1:]).squeeze(1)
            sums = [rows.logsumexp(dim=1) for rows in self._logits.split(_ROWS_AT_ONCE)]
            self._kept.append(taken - torch.cat(sums))


def _processors(
    sampling: SamplingConfig, pairs: list[tuple[int, int]], first: LogitsProcessor | None
) -> LogitsProcessorList:
    """
    What makes of a batch's logits the tokens to take next, in the order of `transformers` and after the `first`, if
    there is one; nothing else if greedily.
    """
    processors = LogitsProcessorList([] if first is None else [first])
    if sampling.temperature == 0:
        return processors
    if sampling.temperature != 1:
        processors.append(TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k:
        processors.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        processors.append(TopPLogitsWarper(float(sampling.top_p)))
    if sampling.min_p:
        processors.append(MinPLogitsWarper(float(sampling.min_p)))
    processors.append(_DrawForEachSample([sample_seed(sampling.seed, *pair) for pair in pairs]))
    return processors


class _DrawForEachSample(LogitsProcessor):
    """Draws the next token of each row by a random number of the row's own; leaves nothing else to choose from."""

    def __init__(self, seeds: Sequence[int]):
        self._lots = [random.Random(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        # Apple's GPUs have no float64
        exact = torch.float32 if scores.device.type == "mps" else torch.float64
        lots = torch.tensor([[lot.random()] for lot in self._lots], dtype=exact, device=scores.device)
        tokens = []
        for rows, row_lots in zip(scores.split(_ROWS_AT_ONCE), lots.split(_ROWS_AT_ONCE), strict=True):
            shares = rows.softmax(dim=-1, dtype=torch.float32).to(exact).cumsum(dim=-1)
            # The first token at which the sum of shares is above the lot
            tokens.append(torch.searchsorted(shares, row_lots * shares[:, -1:], right=True))
        chosen = torch.cat(tokens).clamp_(max=scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)
