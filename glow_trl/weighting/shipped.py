"""
The weightings that a run can name. Each is a function whose first parameter says what it weighs: `samples` (each on
its own), `step` (all samples of the optimizer step, to be compared with one another) or `tokens`.
"""

import math
from typing import TYPE_CHECKING

from ..errors import UserError
from .gain import glow_weights
from .known import Samples, Signed, Tokens, wide


if TYPE_CHECKING:
    import torch

# Differences of losses below this, in nats, are rounding
_ROUNDING = 2.0**-13


def uniform(samples: Samples) -> "torch.Tensor":
    """Every sample weighs 1."""
    return samples.loss.new_ones(samples.loss.shape)


def glow(
    samples: Samples, alpha: float, beta: float, min_weight: float, max_weight: float, warmup_epochs: int
) -> "torch.Tensor":
    """
    GLOW (Tian et al., [arXiv:2601.04992](https://huggingface.co/papers/2601.04992)): see
    [`~glow_trl.weighting.glow_weights`]. It needs nothing beside the samples' own histories. Our choice: the clip
    bounds are parameters, and so is the number of epochs in which every sample weighs 1.
    """
    if samples.epoch <= warmup_epochs:
        return uniform(samples)
    return glow_weights(samples.gain, alpha, beta, min_weight, max_weight)


def constant(
    samples: Samples, alpha: float, beta: float, min_weight: float, max_weight: float, warmup_epochs: int
) -> "torch.Tensor":
    """A control for `glow`, ours: after the warm-up every sample has the weight of a gain of zero."""
    if samples.epoch <= warmup_epochs:
        return uniform(samples)
    return glow_weights(samples.gain * 0.0, alpha, beta, min_weight, max_weight)


def tail_sft(step: Samples, gamma: float = 0.5, schedule: str = "ramp") -> "torch.Tensor":
    r"""
    TailSFT ([arXiv:2608.25756](https://huggingface.co/papers/2608.25756)): drops the share `gamma` of the samples
    whose loss has fallen furthest below that under the initial model, and takes the mean over the rest:

    $$w_i = 1[i\ \text{kept}]\ \frac{\sum_j s_j}{\sum_{j\ \text{kept}} s_j}, \qquad
    \text{dropped: the}\ \min(\mathrm{round}(\gamma n), n - 1)\ \text{smallest}\ \ell_i(t) - \ell_i(0)$$

    with $s_j$ the sample's share of the divisor of the loss. It needs the samples' initial losses. Checked against
    TRL's example, where the samples that are compared are those of one forward pass on all processes. Our choice: they
    are those of the optimizer step, so that micro-batches do not matter; with `gradient_accumulation_steps` above 1
    this takes one more forward pass of each, without gradient. Losses are compared up to rounding, 2^-13 nats, and the
    first of equal ones in the data is dropped first.

    Args:
        gamma (`float`, *optional*, defaults to `0.5`): share of the samples to drop, at least 0 and below 1.
        schedule (`str`, *optional*, defaults to `"ramp"`): `"constant"`, or `"ramp"`: from 0 in the first step of the
            run to `gamma` in the last.
    """
    if not 0 <= gamma < 1 or schedule not in ("constant", "ramp"):
        raise UserError(f"tail_sft: expected 0 <= gamma < 1 and schedule constant or ramp, got {gamma}, {schedule!r}")
    count = len(step.loss)
    dropped = min(round(count * gamma * (step.progress if schedule == "ramp" else 1)), count - 1)
    margins = ((step.loss - step.initial) / _ROUNDING).round()
    kept = step.loss.new_ones(count)
    kept[margins.argsort(stable=True)[:dropped]] = 0
    return kept * step.share.sum() / (kept * step.share).sum()


def dft(tokens: Tokens) -> "torch.Tensor":
    r"""
    Dynamic fine-tuning (Wu et al., [arXiv:2508.05629](https://huggingface.co/papers/2508.05629)): the weight of a
    token is its own probability, $w_t = p_t$. It needs nothing else. With `loss_reduction="token"` it is TRL's
    `loss_type="dft"`, to the bit. On a base model that does not end its answers yet, it never learns to.
    """
    return tokens.log_probs.exp()


def info_sft(tokens: Tokens, threshold: float = 0.93, normalize: bool = False) -> "torch.Tensor":
    r"""
    InfoSFT (Sabbaghi et al., [arXiv:2605.14967](https://huggingface.co/papers/2605.14967)): the tokens of medium
    probability $q$ weigh most, those at the threshold $\bar p$ or above nothing:

    $$w_t = q_t\,\big[\mathrm{logit}(\bar p) - \mathrm{logit}(q_t)\big]_+, \qquad
    \mathrm{logit}(q) = \log\frac{q}{1 - q}$$

    It needs nothing else. Checked against the authors' code, which divides the weights by $\mathrm{logit}(\bar p)$.

    Args:
        threshold (`float`, *optional*, defaults to `0.93`): $\bar p$, above 0.5 and below 1.
        normalize (`bool`, *optional*, defaults to `False`): divide by $\mathrm{logit}(\bar p)$, as the authors' code
            does: the weight of a token of probability 0.5 is then 0.5.
    """
    if not 0.5 < threshold < 1:
        raise UserError(f"info_sft: threshold must be above 0.5 and below 1, got {threshold}")
    constant = math.log(threshold / (1 - threshold))
    log_probs = wide(tokens.log_probs).clamp(max=-1e-12)
    logit = log_probs - (-log_probs.expm1()).log()
    weights = log_probs.exp() * (constant - logit).clamp(min=0)
    return weights / constant if normalize else weights


def pear(
    tokens: Tokens,
    level: str = "token",
    gamma: float = 0.999,
    block_size: int = 4,
    min_weight: float = math.exp(-10),
    max_weight: float = math.exp(5),
) -> "torch.Tensor":
    r"""
    PEAR (Zhang et al., [arXiv:2602.01058](https://huggingface.co/papers/2602.01058)): how much likelier the model is
    than the one that wrote the trajectory, $\mu$, to go on from a token as the trajectory does:

    $$w_t = \mathrm{clip}\Big(\gamma^{T - t} \exp \sum_{j > t} d_j\Big), \qquad
    d_j = \mathrm{clip}(\log p_j - \log \mu_j,\ -0.08,\ 0.3)$$

    with `level="block"` the same for blocks of tokens counted from the first target, each token with the weight behind
    the end of its block; with `level="sequence"` one weight a sample, $\exp \sum_j d_j$. It needs the column of
    log-probabilities. The paper's text was not at hand: this follows quotations from it, and no code of the authors
    was found. Our choice: positives and negatives are treated alike.

    Args:
        level (`str`, *optional*, defaults to `"token"`): `"token"`, `"block"` or `"sequence"`.
        gamma (`float`, *optional*, defaults to `0.999`): discount a token, above 0 and at most 1; not of `"sequence"`.
        block_size (`int`, *optional*, defaults to `4`): tokens in a block.
        min_weight, max_weight (`float`, *optional*): clip bounds of the weight, $e^{-10}$ and $e^5$.
    """
    if level not in ("token", "block", "sequence") or not 0 < gamma <= 1 or block_size < 1:
        raise UserError(f"pear: no level, gamma or block_size can be {level!r}, {gamma}, {block_size}")
    ratios = (wide(tokens.log_probs) - wide(tokens.ref_log_probs)).clamp(-0.08, 0.3)
    logs = tokens.sum_after(ratios + math.log(gamma))
    if level != "token":
        logs = tokens.at_block_end(logs, block_size) if level == "block" else tokens.spread(tokens.sum(ratios))
    return logs.exp().clamp(min_weight, max_weight)


def iw_sft(
    tokens: Tokens, temperature: float = 1.0, min_weight: float = 0.0, max_weight: float = 16.0
) -> "torch.Tensor":
    r"""
    Importance-weighted SFT by sequence (Qin and Springenberg,
    [arXiv:2507.12856](https://huggingface.co/papers/2507.12856)): one weight a sample, by how much likelier it has
    become than under a reference model,

    $$w = \mathrm{clip}\big(\exp\,(\tau\,\tfrac{1}{T} \sum_t (\log p_t - \log p^{\mathrm{ref}}_t)),\ 0,\ 16\big)$$

    It needs the column of log-probabilities, of the base model. Checked against the authors' code, whose trainer
    takes $\tau = 1$. Our choice: labels play no part; the authors train on positives alone.

    Args:
        temperature (`float`, *optional*, defaults to `1.0`): $\tau$.
        min_weight, max_weight (`float`, *optional*, defaults to `0.0` and `16.0`): clip bounds.
    """
    ratios = tokens.mean(tokens.log_probs - tokens.ref_log_probs)
    weights = (temperature * ratios).exp().clamp(min_weight, max_weight)
    return tokens.spread(weights)


def iw_sft_token(tokens: Tokens, min_weight: float = 0.2, max_weight: float = 1.8) -> "torch.Tensor":
    r"""
    Importance-weighted SFT by token, see [`iw_sft`]: $w_t = \mathrm{clip}(p_t / p^{\mathrm{ref}}_t,\ 0.2,\ 1.8)$. It
    needs the column of log-probabilities, of the base model.

    Args:
        min_weight, max_weight (`float`, *optional*, defaults to `0.2` and `1.8`): clip bounds.
    """
    return (tokens.log_probs - tokens.ref_log_probs).exp().clamp(min_weight, max_weight)


def unlikelihood(tokens: Tokens, alpha: float = 1.0) -> Signed:
    r"""
    Unlikelihood of negatives (Welleck et al., [arXiv:1908.04319](https://huggingface.co/papers/1908.04319)): the loss
    of a negative's token is $-\alpha \log(1 - p_t)$, that of all others $-\log p_t$. As a weight of $-\log p_t$ that
    is $-\alpha\,p_t / (1 - p_t)$, hence negative. It needs labels; a sample without one counts as positive. $1 - p$ is
    at least 1e-5, as in the authors' code; our choice: a token beyond that keeps the weight of that bound, where
    theirs has no gradient.

    Args:
        alpha (`float`, *optional*, defaults to `1.0`): weight of the negatives, not negative.
    """
    if alpha < 0:
        raise UserError(f"unlikelihood: alpha must not be negative, got {alpha}")
    log_probs = wide(tokens.log_probs)
    rest = (-log_probs.expm1()).clamp(min=1e-5)
    positive = tokens.is_correct != 0
    weights = (-alpha * log_probs.exp() / rest).masked_fill(positive, 1.0)
    losses = (-alpha * rest.log()).where(~positive, -log_probs)
    return Signed(weights, losses)
