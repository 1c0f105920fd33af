"""What GLOW logs: weights and gains of the steps since the last log, and of each epoch."""

import torch

from ..weighting import Weighting
from .ledger import LossLedger


class WeightMetrics:
    """
    Means over the samples that this process trained on since the last call of [`~WeightMetrics.pop`]. They are
    computed for `fold_every` batches at once and stay on the device until then, so that a step neither waits for them
    nor pays for a dozen small operations.
    """

    def __init__(self, weighting: Weighting, fold_every: int = 64):
        self.weighting = weighting
        self.fold_every = fold_every
        self._batches: list[tuple[torch.Tensor, ...]] = []
        self._sums: torch.Tensor | None = None

    def update(self, weights: torch.Tensor, gains: torch.Tensor, losses: torch.Tensor, visited: torch.Tensor) -> None:
        """
        Add the samples of one batch, tensors of shape `(n,)`: weights before any normalization, gains that are `NaN`
        for a sample without a previous loss, detached losses, and which of the samples count (bool).
        """
        self._batches.append((weights, gains, losses, visited))
        if len(self._batches) >= self.fold_every:
            self._fold()

    def _fold(self) -> None:
        if not self._batches:
            return
        weights, gains, losses, visited = (torch.cat(tensors) for tensors in zip(*self._batches, strict=True))
        self._batches = []
        has_gain = visited & ~gains.isnan()
        at_min, at_max = self.weighting.at_bounds(weights)
        sums = torch.stack(
            [
                visited.sum(),
                losses.where(visited, 0).sum(),
                weights.where(visited, 0).sum(),
                has_gain.sum(),
                gains.where(has_gain, 0).sum(),
                (at_min & has_gain).sum(),
                (at_max & has_gain).sum(),
            ]
        )
        self._sums = sums if self._sums is None else self._sums + sums

    def pop(self) -> dict[str, float]:
        """The means since the last call; empty when there was no sample."""
        self._fold()
        if self._sums is None:
            return {}
        samples, loss, weight, gains, gain, at_min, at_max = self._sums.tolist()
        self._sums = None
        if not samples:
            return {}
        metrics = {"glow/sample_loss": loss / samples, "glow/mean_weight": weight / samples}
        if gains:
            metrics |= {
                "glow/mean_gain": gain / gains,
                "glow/share_at_min": at_min / gains,
                "glow/share_at_max": at_max / gains,
            }
        return metrics


def epoch_metrics(
    ledger: LossLedger, weighting: Weighting, is_correct: torch.Tensor | None = None
) -> dict[str, float]:
    """
    Means over the samples visited in the ledger's current epoch, exact over all processes once the ledger is synced:
    `glow/epoch`, `glow/epoch_loss`, and from the second epoch on `glow/epoch_gain` and, with `weighting="glow"` after
    the warm-up, `glow/epoch_weight`, `glow/epoch_share_at_min` and `glow/epoch_share_at_max`. With `is_correct`, bool
    of shape `(num_samples,)`, loss and gain are also reported for positives and negatives apart.
    """
    metrics: dict[str, float] = {"glow/epoch": ledger.epoch}
    loss, gain = ledger.current.cpu(), ledger.gain.cpu()
    groups = {"": torch.ones_like(loss, dtype=torch.bool)}
    if is_correct is not None:
        groups |= {"_positive": is_correct, "_negative": ~is_correct}
    for name, values in (("loss", loss), ("gain", gain)):
        for suffix, group in groups.items():
            known = values[group & ~values.isnan()]
            if len(known):
                metrics[f"glow/epoch_{name}{suffix}"] = known.double().mean().item()
    known = gain[~gain.isnan()]
    if weighting.follows_gain(ledger.epoch) and len(known):
        weights = weighting.weights(known, ledger.epoch)
        at_min, at_max = weighting.at_bounds(weights)
        metrics |= {
            "glow/epoch_weight": weights.double().mean().item(),
            "glow/epoch_share_at_min": at_min.double().mean().item(),
            "glow/epoch_share_at_max": at_max.double().mean().item(),
        }
    return metrics
