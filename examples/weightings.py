"""
Weightings of one's own, about ten lines each. From the repository's root they are named as in weightings.yaml beside:

    python examples/glow_trainer.py
    glow-trl sft --config examples/weightings.yaml
"""

import torch

from glow_trl.weighting import Samples, Signed, Tokens


def late_negatives(samples: Samples, start: float = 0.3, min_weight: float = 0.0, max_weight: float = 1.0):
    """Positives from the first step on; negatives from the share `start` of the run, then ever more."""
    later = torch.full_like(samples.loss, (samples.progress - start) / (1 - start)).clamp(min_weight, max_weight)
    return later.where(samples.is_correct == 0, max_weight)


def profit(tokens: Tokens, threshold: float = 0.1) -> torch.Tensor:
    """
    ProFit ([arXiv:2601.09195](https://huggingface.co/papers/2601.09195)), `1[p > threshold]`: only tokens that the
    model holds for possible.
    """
    return (tokens.log_probs.exp() > threshold).float()


def eaft(tokens: Tokens, power: float = 1.0, scale: float = 3.0) -> torch.Tensor:
    """
    EAFT as LLaMA-Factory has it, `(H / 3)^power`: tokens of low entropy count little. There H is the entropy of the 20
    likeliest tokens; here it is that of all.
    """
    return (tokens.entropy / scale) ** power


def topr(tokens: Tokens) -> Signed:
    """
    TOPR ([arXiv:2503.14286](https://huggingface.co/papers/2503.14286)): positives weigh 1, negatives
    `-clip(pi / mu, 0, 1)` by sequence, with the data's column `log_probs` of the model mu that wrote them.
    """
    ratios = tokens.sum(tokens.log_probs - tokens.ref_log_probs).exp().clamp(max=1).float()
    return Signed(torch.where(tokens.is_correct == 0, -tokens.spread(ratios), 1.0))
