"""Generation with `transformers`, in this process. Runs anywhere; on a GPU, vLLM is many times faster."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from .base import Engine, Generation, SamplingConfig
from .loading import end_token_ids, load_model, load_tokenizer


class TransformersEngine(Engine):
    """Samples with `model.generate`, in left-padded batches of prompts of similar length.

    The batches, and the seed of each, follow from the prompts and the settings alone, so that a run which is started
    again and skips what it has draws the same completions as one that was not interrupted.

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
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Whether code that comes with the checkpoint may run.
        **model_kwargs:
            Passed to `from_pretrained`.
    """

    has_transformers_model = True

    def __init__(
        self,
        model_name_or_path: str,
        dtype: str = "auto",
        device: str | None = None,
        batch_size: int = 512,
        batch_tokens: int = 65536,
        trust_remote_code: bool = False,
        **model_kwargs: Any,
    ):
        self.tokenizer = load_tokenizer(model_name_or_path, trust_remote_code)
        self.model = load_model(model_name_or_path, dtype, device, trust_remote_code, **model_kwargs)
        self.batch_size = batch_size
        self.batch_tokens = batch_tokens
        self._end_ids = end_token_ids(self.tokenizer, self.model.generation_config)
        # `generate` fills what a call leaves open from the checkpoint's own generation config, a repetition penalty
        # for example: completions must depend on the sampling config alone
        self.model.generation_config = GenerationConfig()

    def stream(
        self,
        prompts: Sequence[str] | Sequence[Sequence[int]],
        sampling: SamplingConfig,
        skip: Collection[int] = (),
    ) -> Iterator[tuple[int, list[Generation]]]:
        token_ids = [self._encode(prompt) for prompt in prompts]
        skip = set(skip)
        drawn: dict[int, list[Generation]] = {}
        for number, batch in enumerate(self._batches(token_ids, sampling)):
            if skip.issuperset(batch):
                continue
            completions = self._generate_batch([token_ids[index] for index in batch], sampling, number)
            for index, generation in zip(batch, completions, strict=True):
                if index in skip:
                    continue
                drawn.setdefault(index, []).append(generation)
                if len(drawn[index]) == sampling.num_samples:
                    yield index, drawn.pop(index)

    def close(self) -> None:
        self.model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _encode(self, prompt: str | Sequence[int]) -> list[int]:
        ids = self.tokenizer.encode(prompt, add_special_tokens=False) if isinstance(prompt, str) else list(prompt)
        if not ids:
            raise ValueError("a prompt has no tokens")
        return ids

    def _batches(self, token_ids: list[list[int]], sampling: SamplingConfig) -> Iterator[list[int]]:
        """Prompt indices of each batch, longest first; an index stands once for each of its samples."""
        order = sorted(range(len(token_ids)), key=lambda index: -len(token_ids[index]))
        rows = [index for index in order for _ in range(sampling.num_samples)]
        start = 0
        while start < len(rows):
            longest = len(token_ids[rows[start]]) + sampling.max_new_tokens
            size = max(1, min(self.batch_size, self.batch_tokens // longest))
            yield rows[start : start + size]
            start += size

    def _generate_batch(
        self, prompts: list[list[int]], sampling: SamplingConfig, batch_number: int
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
        greedy = sampling.temperature == 0
        config = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=not greedy,
            temperature=None if greedy else float(sampling.temperature),
            top_p=None if greedy else float(sampling.top_p),
            top_k=None if greedy else 0,
            eos_token_id=self._end_ids or None,
            pad_token_id=pad_id,
        )
        device = self.model.device
        devices = [device] if device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(_batch_seed(sampling.seed, batch_number))
            output = self.model.generate(
                input_ids.to(device), attention_mask=attention_mask.to(device), generation_config=config
            )
        return self._unpack(output[:, width:].cpu())

    def _unpack(self, completions: torch.Tensor) -> list[Generation]:
        ended = torch.isin(completions, torch.tensor(self._end_ids, dtype=completions.dtype))
        stopped = ended.any(dim=1)
        lengths = torch.where(stopped, ended.int().argmax(dim=1) + 1, completions.shape[1]).tolist()
        token_ids = [row[:length] for row, length in zip(completions.tolist(), lengths, strict=True)]
        texts = self.tokenizer.batch_decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return [
            Generation(text, ids, len(ids), "stop" if stop else "length")
            for text, ids, stop in zip(texts, token_ids, stopped.tolist(), strict=True)
        ]


def _batch_seed(seed: int, batch_number: int) -> int:
    """Seeds of neighboring batches and of neighboring runs have nothing in common."""
    digest = hashlib.sha256(f"{seed}/{batch_number}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
