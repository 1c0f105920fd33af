"""A map of the training data: how hard each sample was over the epochs, and how much its loss moved."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.loss_history import LossHistory


DEFINITION = (
    "a sample never improves if it was visited in the reference epoch and after it, and none of its later losses lies "
    "more than min_improvement nats per token below its loss in the reference epoch"
)


@dataclass(frozen=True)
class DataMap:
    """
    Place of every sample on the map. An adaptation of dataset cartography (Swayamdipta et al., 2020,
    [arXiv:2009.10795](https://huggingface.co/papers/2009.10795)): there, mean and standard deviation over the epochs
    of the probability of the right class; here, of a generated sequence's mean loss per token, as the ledger has it.

    Args:
        mean_loss (`np.ndarray` of shape `(samples,)`, float64):
            Mean over the epochs that visited the sample, in nats per token; NaN if none did.
        variability (`np.ndarray` of shape `(samples,)`, float64):
            Standard deviation (of the population) over those epochs; NaN for fewer than two.
        improvement (`np.ndarray` of shape `(samples,)`, float64):
            Loss in the reference epoch minus the lowest one after it; NaN where either is unknown.
        reference_epoch (`int`):
            The epoch that later ones are compared with.
        min_improvement (`float`):
            What counts as an improvement, in nats per token.
    """

    mean_loss: np.ndarray
    variability: np.ndarray
    improvement: np.ndarray
    reference_epoch: int
    min_improvement: float

    @property
    def known(self) -> np.ndarray:
        """Which samples can be said to have improved or not, shape `(samples,)`, bool."""
        return ~np.isnan(self.improvement)

    @property
    def never_improved(self) -> np.ndarray:
        """
        Which samples never improved, shape `(samples,)`, bool: those whose loss was never, in an epoch after the
        reference epoch, more than `min_improvement` below what it was in the reference epoch.
        """
        return self.known & (np.nan_to_num(self.improvement) <= self.min_improvement)

    def hardest(self) -> np.ndarray:
        """Positions of the samples that never improved, those of the highest mean loss first."""
        never = np.flatnonzero(self.never_improved)
        return never[np.argsort(-self.mean_loss[never], kind="stable")]

    def counts(self, mask: np.ndarray) -> dict[str, Any]:
        """How many of some samples never improved, of those that can be said to or not, and their mean figures."""
        known = int((self.known & mask).sum())
        never = int((self.never_improved & mask).sum())
        means = self.mean_loss[mask & ~np.isnan(self.mean_loss)]
        spread = self.variability[mask & ~np.isnan(self.variability)]
        return {
            "samples": int(mask.sum()),
            "comparable": known,
            "never_improved": never,
            "never_improved_share": never / known if known else None,
            "mean_loss": float(means.mean()) if means.size else None,
            "variability": float(spread.mean()) if spread.size else None,
        }


def data_map(ledger: LossHistory, reference_epoch: int | None = None, min_improvement: float = 0.0) -> DataMap:
    """
    Compute the map.

    Args:
        ledger ([`LossHistory`]):
            The losses.
        reference_epoch (`int`, *optional*):
            The epoch that later ones are compared with; by default the first that was recorded. Samples are visited
            one after another: in the first epoch of a short run those that come late meet a better model, and have
            less left to fall. A later reference epoch takes most of that away.
        min_improvement (`float`, *optional*, defaults to `0.0`):
            What counts as an improvement, in nats per token.

    Returns:
        [`DataMap`]

    Raises:
        ValueError: the reference epoch was not recorded.
    """
    reference_epoch = ledger.epochs[0] if reference_epoch is None else reference_epoch
    if reference_epoch not in ledger.epochs:
        raise ValueError(f"epoch {reference_epoch} was not recorded; there are {ledger.epochs}")
    losses = ledger.losses
    visits = (~np.isnan(losses)).sum(axis=0)
    mean = np.divide(np.nansum(losses, axis=0), visits, out=np.full(len(ledger), np.nan), where=visits > 0)
    squares = np.nansum((losses - mean) ** 2, axis=0)
    variance = np.divide(squares, visits, out=np.full(len(ledger), np.nan), where=visits > 1)
    position = ledger.epochs.index(reference_epoch)
    later = np.where(np.isnan(losses[position + 1 :]), np.inf, losses[position + 1 :])
    lowest = later.min(axis=0, initial=np.inf)
    improvement = losses[position] - np.where(np.isinf(lowest), np.nan, lowest)
    return DataMap(mean, np.sqrt(variance), improvement, reference_epoch, min_improvement)
