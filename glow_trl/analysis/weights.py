"""The weights that recorded losses led to: the trainer's own rule, on arrays."""

import numpy as np

from ..data.loss_history import LossHistory
from ..weighting import Weighting


def weights_of(gains: np.ndarray, weighting: Weighting, epoch: int) -> np.ndarray:
    """[`~glow_trl.weighting.Weighting.weights`] of gains, NaN for a sample without one, as a float64 array."""
    import torch

    return weighting.weights(torch.from_numpy(gains), epoch).numpy()


def sample_weights(ledger: LossHistory, row: int, weighting: Weighting) -> np.ndarray:
    """Weight of every sample in the epoch of the given row, before any normalization; NaN where not visited."""
    weights = weights_of(ledger.gain(row), weighting, ledger.epochs[row])
    return np.where(np.isnan(ledger.losses[row]), np.nan, weights)
