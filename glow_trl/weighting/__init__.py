"""Weightings of supervised fine-tuning: what each sample, and each token, counts in the loss."""

from .gain import Weighting, glow_weights
from .known import Samples, Signed, Tokens


__all__ = ["Samples", "Signed", "Tokens", "Weighting", "glow_weights"]
