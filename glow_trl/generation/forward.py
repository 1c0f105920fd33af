"""Entropy of a model's next-token distribution along completions, without ever building the full logits."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any


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
    """
    Sum over a completion's tokens of the entropy of the distribution that each was drawn from, in nats.

    One forward pass over prompt and completion, at temperature 1 and over the whole vocabulary. TRL's fused language
    model head reduces the logits tile by tile, so that memory does not grow with the vocabulary.

    Args:
        model, prompts, completions, batch_tokens, batch_size: as in [`completion_forwards`].

    Yields:
        `tuple[int, float]`: the position of a completion and its sum of entropies, batch by batch, longest first.
    """
    for batch, output in completion_forwards(model, prompts, completions, ("entropy",), batch_tokens, batch_size):
        yield from zip(batch, output.entropy.double().sum(dim=1).tolist(), strict=True)


def completion_forwards(
    model: "PreTrainedModel",
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    outputs: tuple[str, ...],
    batch_tokens: int = 65536,
    batch_size: int = 512,
) -> Iterator[tuple[list[int], Any]]:
    """
    One forward pass over prompt and completion for what TRL's fused head computes at each completion token.

    Args:
        model: a causal language model, or adapter on one, in evaluation mode.
        prompts, completions: token ids; no prompt is empty, completions have the end token if there was one.
        outputs (`tuple[str]`): what to compute besides `log_probs`: `"entropy"` or nothing.
        batch_tokens, batch_size: most tokens and sequences in a batch.

    Yields:
        `tuple[list[int], FusedCausalLMOutput]`: the positions of the completions of a batch, longest first, and the
        output, whose fields have the shape `(len(batch), longest - 1)` and are zero outside the completions.
    """
    import torch

    lengths = [len(prompt) + len(completion) for prompt, completion in zip(prompts, completions, strict=True)]
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    with _fused_head(model, outputs) as forward:
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
            # Not around the loop: whoever takes the batches may want gradients in between
            with torch.no_grad():
                output = forward(
                    input_ids=input_ids.to(model.device),
                    attention_mask=attention_mask.to(model.device),
                    labels=labels.to(model.device),
                    fused_lm_head=True,
                )
            yield batch, output


@contextmanager
def _fused_head(model: "PreTrainedModel", outputs: tuple[str, ...]):
    """The model's forward with TRL's fused head, which is taken off again afterwards."""
    from trl.trainer import add_fused_lm_head

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = vars(base).get("forward")
    add_fused_lm_head(base, outputs=("log_probs", *outputs))
    try:
        yield model
    finally:
        if before is None:
            del base.forward
        else:
            base.forward = before
