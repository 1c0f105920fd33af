"""What GLOW logs: weights and gains of the steps since the last log, and of each epoch."""

import torch

from ..weighting import glow_weights
from .config import GLOWConfig
from .ledger import LossLedger


class WeightMetrics:
    """
    Running means over the samples that this process trained on since the last call of [`~WeightMetrics.pop`]. Kept on
    the device, so that a training step does not wait for them.
    """

    def __init__(self, device: torch.device, min_weight: float, max_weight: float):
        self.min_weight = min_weight
        self.max_weight = max_weight
        self._sums = torch.zeros(7, dtype=torch.float32, device=device)

    def update(self, weights: torch.Tensor, gains: torch.Tensor, losses: torch.Tensor, visited: torch.Tensor) -> None:
        """
        Add the samples of one batch.

        Args:
            weights (`torch.Tensor` of shape `(n,)`): weights before any normalization.
            gains (`torch.Tensor` of shape `(n,)`): gains, `NaN` for a sample without a previous loss.
            losses (`torch.Tensor` of shape `(n,)`): losses, detached.
            visited (`torch.Tensor` of shape `(n,)`, bool): which of the samples count.
        """
        has_gain = visited & ~gains.isnan()
        self._sums += torch.stack(
            [
                visited.sum(),
                (losses * visited).sum(),
                (weights * visited).sum(),
                has_gain.sum(),
                gains.nan_to_num(nan=0.0).sum(),
                ((weights <= self.min_weight) & has_gain).sum(),
                ((weights >= self.max_weight) & has_gain).sum(),
            ]
        )

    def pop(self) -> dict[str, float]:
        """The means since the last call; empty when there was no sample."""
        samples, loss, weight, gains, gain, at_min, at_max = self._sums.tolist()
        self._sums.zero_()
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


def epoch_metrics(ledger: LossLedger, args: GLOWConfig, is_correct: torch.Tensor | None = None) -> dict[str, float]:
    """
    Means over the samples visited in the ledger's current epoch, exact over all processes once the ledger is synced.

    Args:
        ledger ([`LossLedger`]): the ledger.
        args ([`GLOWConfig`]): the parameters of the weights.
        is_correct (`torch.Tensor` of shape `(num_samples,)`, bool, *optional*): which samples are positive. Given,
            loss and gain are also reported for positives and negatives apart.

    Returns:
        `dict[str, float]`: `glow/epoch`, `glow/epoch_loss`, and from the second epoch on `glow/epoch_gain` and,
        with `weighting="glow"` after the warm-up, `glow/epoch_weight`, `glow/epoch_share_at_min` and
        `glow/epoch_share_at_max`.
    """
    metrics = {"glow/epoch": ledger.epoch}
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
    if args.weighting == "glow" and ledger.epoch > args.glow_warmup_epochs and len(known):
        weights = glow_weights(known, args.glow_alpha, args.glow_beta, args.glow_min_weight, args.glow_max_weight)
        metrics |= {
            "glow/epoch_weight": weights.double().mean().item(),
            "glow/epoch_share_at_min": (weights <= args.glow_min_weight).double().mean().item(),
            "glow/epoch_share_at_max": (weights >= args.glow_max_weight).double().mean().item(),
        }
    return metrics
