"""What a weighting is given: all that the trainer knows of samples and of their tokens."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UserError


if TYPE_CHECKING:
    import torch


class Signed(NamedTuple):
    """
    What a weighting returns in place of a tensor of weights where some of them may be negative.

    Args:
        weights (`torch.Tensor`): factors of `-log p` in the gradient, of either sign.
        losses (`torch.Tensor`, *optional*): for a weighting of tokens, the loss of each token where it is another
            function of the log-probability than `weights * -log p`, as with unlikelihood. Its value alone is used.
    """

    weights: "torch.Tensor"
    losses: "torch.Tensor | None" = None


class MissingInput(UserError):
    """A weighting asked for what the trainer was not given; `name` says what."""

    def __init__(self, name: str, message: str):
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Samples:
    """
    Some samples, `n` in all, as a weighting sees them. All tensors are detached, of shape `(n,)` and float32.

    Attributes:
        loss (`torch.Tensor`): mean loss of the sample's target tokens in this forward pass, in nats.
        previous (`torch.Tensor`): the same at the sample's visit in the previous epoch; `NaN` where there was none.
        initial (`torch.Tensor`): the same under the initial model. Whoever reads it has it measured before the first
            step, or taken from the data, see `initial_loss` in [`~glow_trl.GLOWConfig`].
        num_tokens (`torch.Tensor`): target tokens of the sample.
        share (`torch.Tensor`): what the sample adds to the divisor of the loss: 1 with `loss_reduction="sample"`, else
            its target tokens; 0 for a row that is there to fill the batch and does not count.
        is_correct (`torch.Tensor`): label, 1 (positive) or 0 (negative); `NaN` where unknown.
        epoch (`int`): number of the epoch, from 1.
        progress (`float`): how far the run is: 0 in its first optimizer step, 1 in its last.
        gain (`torch.Tensor`): `previous - loss`.
    """

    loss: "torch.Tensor"
    previous: "torch.Tensor"
    num_tokens: "torch.Tensor"
    share: "torch.Tensor"
    is_correct: "torch.Tensor"
    epoch: int
    progress: float
    initial_loss: "torch.Tensor | None" = None

    @property
    def initial(self) -> "torch.Tensor":
        if self.initial_loss is None:
            raise MissingInput("initial", "the losses under the initial model are not known")
        return self.initial_loss

    @property
    def gain(self) -> "torch.Tensor":
        return self.previous - self.loss

    def tensors(self) -> "dict[str, torch.Tensor]":
        """The attributes that are tensors, by name."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if hasattr(value, "shape")}


@dataclass(frozen=True)
class Tokens:
    """
    The predicted tokens of a batch as a weighting sees them. All tensors are detached and of shape
    `(batch_size, seq_len - 1)`, whether a row is a sample with its padding or several samples packed one after the
    other: [`Tokens.sum`] and the others below add up by sample.

    Attributes:
        log_probs (`torch.Tensor`, float32): log-probability of each token; 0 where `mask` is false.
        entropy (`torch.Tensor`, float32): entropy of the distribution that it was predicted from, in nats.
        mask (`torch.Tensor`, bool): which tokens are targets. What a weighting gives the others is not used.
        sample (`torch.Tensor`, int64): number of the token's sample in `samples`.
        samples ([`Samples`]): the samples of the batch.
        ref_log_probs (`torch.Tensor`, float32): log-probability of the token under the model that the data's column
            `log_probs` is of. Where the column says nothing, as of what the chat template puts behind a completion,
            it is that of `log_probs`, so that the two do not differ.
        is_correct (`torch.Tensor`, float32): label of the token's sample, see [`Samples`].
        position (`torch.Tensor`, int64): how many targets of its sample stand before the token.
    """

    log_probs: "torch.Tensor"
    entropy: "torch.Tensor"
    mask: "torch.Tensor"
    sample: "torch.Tensor"
    samples: Samples
    reference: "torch.Tensor | None" = None

    @property
    def ref_log_probs(self) -> "torch.Tensor":
        if self.reference is None:
            raise MissingInput(
                "ref_log_probs",
                "the training data have no column log_probs with the log-probability of each token: write it with "
                "`glow-trl collect --log_probs` (of the model that samples) or `glow-trl loss --write_log_probs` (of "
                "any model)",
            )
        return self.log_probs.where(self.reference.isnan(), self.reference)

    @cached_property
    def is_correct(self) -> "torch.Tensor":
        return self.spread(self.samples.is_correct)

    @cached_property
    def position(self) -> "torch.Tensor":
        counts = self.sum(self.mask)
        return (self.spread(counts) - self.sum_after(self.mask) - 1).long()

    def sum(self, values: "torch.Tensor") -> "torch.Tensor":
        """Sum over the targets of each sample, shape `(n,)`, float64."""
        values = wide(values) * self.mask
        if self.log_probs.shape[0] == len(self.samples.loss):
            return values.sum(-1)
        sums = values.new_zeros(len(self.samples.loss))
        return sums.index_add(0, self.sample.flatten(), values.flatten())

    def mean(self, values: "torch.Tensor") -> "torch.Tensor":
        """Mean over the targets of each sample, shape `(n,)`, float64."""
        return self.sum(values) / self.samples.num_tokens.clamp(min=1)

    def spread(self, values: "torch.Tensor") -> "torch.Tensor":
        """Values of samples, shape `(n,)`, at each of their tokens."""
        return values[self.sample]

    def sum_after(self, values: "torch.Tensor") -> "torch.Tensor":
        """Sum over the targets of the token's sample that come after the token, float64."""
        values = wide(values) * self.mask
        until = values.flatten().cumsum(0).view(values.shape)
        return self.spread(self.sum(values).cumsum(0)) - until

    def at_block_end(self, values: "torch.Tensor", size: int) -> "torch.Tensor":
        """For each target the value at the last one of its block: `size` targets of a sample, the last block less."""
        begins = self.mask & (self.position % size == 0)
        ends = self.mask & ((self.position % size == size - 1) | (self.sum_after(self.mask) == 0))
        block = begins.flatten().cumsum(0)
        found = values.new_zeros(block.numel() + 1).index_add(0, block, (values * ends).flatten())
        return found[block].view(values.shape)


def wide(values: "torch.Tensor") -> Any:
    """In float64; in float32 on Apple's GPUs, which have no other."""
    return values.float() if values.device.type == "mps" else values.double()
