"""How the weights of tokens are distributed over an epoch, by label and by position in the completion."""

import math

import numpy as np
import torch

from ..weighting import Tokens
from ..weighting.product import Product


POSITIONS = 10
_LABELS = 3
_BOUNDARIES = (-1.0, -0.1, 0.001, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.1, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)


class TokenWeights:
    """
    Counts the target tokens of an epoch by their weight.

    Args:
        product ([`~glow_trl.weighting.product.Product`]): the weightings; clip bounds of theirs get bins of their own.
        device (`torch.device`): where to count.

    Attributes:
        boundaries (`torch.Tensor` of shape `(k - 1,)`, float64):
            Bounds of the `k` bins: bin `i` holds the weights above boundary `i - 1`, up to boundary `i`. Zero, and the
            clip bounds, stand in bins that hold nothing else.
        counts (`torch.Tensor` of shape `(3, 10, k)`, int64):
            Tokens by label (negative, positive, unknown), tenth of the sample's target tokens, and bin.
        sums (`torch.Tensor` of shape `(3, 10)`, float64): sums of their weights.
    """

    def __init__(self, product: Product, device: torch.device):
        term = product.bounded
        bounds = term.bounds if term is not None and term.level == "tokens" else None
        single = torch.tensor([0.0, *(bounds or ())], dtype=torch.float32)
        below = torch.nextafter(single, torch.tensor(-math.inf))
        self._boundaries = torch.cat([torch.tensor(_BOUNDARIES), single, below]).unique().to(device)
        shape = (_LABELS, POSITIONS, len(self._boundaries) + 1)
        self.counts = torch.zeros(shape, dtype=torch.int64, device=device)
        wide = torch.float32 if device.type == "mps" else torch.float64
        self.sums = torch.zeros(shape[:2], dtype=wide, device=device)
        # Of this process since the last merge
        self._counts, self._sums = torch.zeros_like(self.counts), torch.zeros_like(self.sums)

    @property
    def boundaries(self) -> torch.Tensor:
        return self._boundaries.cpu().double()

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boundaries, counts and sums, once synced."""
        return self.boundaries.numpy(), self.counts.cpu().numpy(), self.sums.cpu().double().numpy()

    def reset(self) -> None:
        """Begin another epoch."""
        for values in (self.counts, self.sums, self._counts, self._sums):
            values.zero_()

    def update(self, tokens: Tokens, weights: torch.Tensor, visited: torch.Tensor) -> None:
        """Add the targets of one batch: their weights, of the tokens' shape, and which samples count, shape `(n,)`."""
        label = tokens.is_correct.nan_to_num(nan=2.0).long()
        tenth = tokens.position * POSITIONS // tokens.spread(tokens.samples.num_tokens).clamp(min=1).long()
        cell = label * POSITIONS + tenth.clamp(0, POSITIONS - 1)
        counted = tokens.mask & tokens.spread(visited)
        bins = torch.bucketize(weights, self._boundaries)
        number = cell * self._counts.shape[-1] + bins
        self._counts.view(-1).index_add_(0, number.flatten(), counted.flatten().long())
        self._sums.view(-1).index_add_(0, cell.flatten(), (weights * counted).flatten().to(self._sums.dtype))

    def sync(self) -> None:
        """Merge what all processes have counted. To be called by all of them together."""
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        for merged, own in ((self.counts, self._counts), (self.sums, self._sums)):
            if distributed and torch.distributed.get_world_size() > 1:
                torch.distributed.all_reduce(own)
            merged.add_(own)
            own.zero_()

    def at_bounds(self, bounds: tuple[float, float]) -> tuple[float, float] | None:
        """Shares of the tokens at the lower and the upper clip bound, which have bins of their own."""
        total = self.counts.sum().item()
        bins = torch.bucketize(torch.tensor(bounds, device=self._boundaries.device), self._boundaries).tolist()
        low, high = (self.counts[..., number].sum().item() for number in bins)
        return (low / total, high / total) if total else None

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint keeps, merged before."""
        return {"token_counts": self.counts, "token_sums": self.sums}

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Restore what [`TokenWeights.tensors`] gave; nothing where it is of other bins."""
        counts, sums = tensors.get("token_counts"), tensors.get("token_sums")
        self.reset()
        if counts is not None and sums is not None and counts.shape == self.counts.shape:
            self.counts.copy_(counts)
            self.sums.copy_(sums)
