"""Entropy of a model's next-token distribution along completions, without ever building the full logits."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from transformers import PreTrainedModel

_IGNORED = -100


def completion_entropies(
    model: "PreTrainedModel",
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    batch_tokens: int = 65536,
    batch_size: int = 512,
) -> Iterator[tuple[int, float]]:
    """Sum over a completion's tokens of the entropy of the distribution that each was drawn from, in nats.

    One forward pass over prompt and completion, at temperature 1 and over the whole vocabulary. TRL's fused language
    model head reduces the logits tile by tile, so that memory does not grow with the vocabulary.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            A causal language model in evaluation mode.
        prompts (`Sequence[Sequence[int]]`):
            Token ids of the prompts, none of them empty.
        completions (`Sequence[Sequence[int]]`):
            Token ids of the completions, with the end token where the model produced one.
        batch_tokens (`int`, *optional*, defaults to `65536`):
            Most tokens in a batch.
        batch_size (`int`, *optional*, defaults to `512`):
            Most sequences in a batch.

    Yields:
        `tuple[int, float]`: the position of a completion and its sum of entropies, batch by batch, longest first.
        Divide by the number of tokens for the mean.
    """
    import torch

    lengths = [len(prompt) + len(completion) for prompt, completion in zip(prompts, completions, strict=True)]
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    with torch.no_grad(), _fused_head(model) as forward:
        start = 0
        while start < len(order):
            longest = lengths[order[start]]
            batch = order[start : start + max(1, min(batch_size, batch_tokens // longest))]
            start += len(batch)
            input_ids = torch.zeros((len(batch), longest), dtype=torch.long)
            attention_mask = torch.zeros_like(input_ids)
            labels = torch.full_like(input_ids, _IGNORED)
            for row, index in enumerate(batch):
                tokens = torch.tensor([*prompts[index], *completions[index]])
                input_ids[row, : len(tokens)] = tokens
                attention_mask[row, : len(tokens)] = 1
                labels[row, len(prompts[index]) : len(tokens)] = tokens[len(prompts[index]) :]
            output = forward(
                input_ids=input_ids.to(model.device),
                attention_mask=attention_mask.to(model.device),
                labels=labels.to(model.device),
                fused_lm_head=True,
            )
            yield from zip(batch, output.entropy.double().sum(dim=1).tolist(), strict=True)


def mean_token_entropy(sums: Sequence[float], lengths: Sequence[int]) -> float:
    """Mean over all tokens of all completions."""
    return float(np.sum(sums) / np.sum(lengths))


@contextmanager
def _fused_head(model: "PreTrainedModel"):
    """The model's forward with TRL's fused head, which is taken off again afterwards."""
    from trl.trainer import add_fused_lm_head

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = vars(base).get("forward")
    add_fused_lm_head(base, outputs=("log_probs", "entropy"))
    try:
        yield model
    finally:
        if before is None:
            del base.forward
        else:
            base.forward = before
