"""The GLOW weight of a sample, as a pure function of its gain."""

import torch


def glow_weights(
    gain: torch.Tensor,
    alpha: float = 1.0,
    beta: float = 20.0,
    min_weight: float = 0.5,
    max_weight: float = 5.0,
) -> torch.Tensor:
    r"""
    Weights of samples from their gains (Tian et al., [arXiv:2601.04992](https://huggingface.co/papers/2601.04992)):

    $$w_i = \mathrm{clip}\left(\alpha\,(1 - \sigma(\beta\,g_i)),\ w_{\min},\ w_{\max}\right), \qquad
    g_i = \ell_i(t-1) - \ell_i(t)$$

    A sample whose loss fell little since the previous epoch, or rose, weighs more.

    Args:
        gain (`torch.Tensor` of any shape, floating point):
            Loss of each sample in the previous epoch minus its loss now, in nats per token. `NaN` stands for a sample
            without a previous loss.
        alpha (`float`, *optional*, defaults to `1.0`):
            Scale: the weight before clipping lies in `(0, alpha)` and is `alpha / 2` at a gain of zero.
        beta (`float`, *optional*, defaults to `20.0`):
            Sensitivity to the gain, in 1 / nats.
        min_weight (`float`, *optional*, defaults to `0.5`):
            Lower clip bound.
        max_weight (`float`, *optional*, defaults to `5.0`):
            Upper clip bound.

    Returns:
        `torch.Tensor`: detached weights, of the shape, dtype and device of `gain`; 1 where the gain is `NaN`.
    """
    gain = gain.detach()
    # beta magnifies rounding, and a weight of 10 is rounded by 1e-6 in float32; Apple's GPUs have no float64
    exact = gain.float() if gain.device.type == "mps" else gain.double()
    # sigmoid(-x) is 1 - sigmoid(x) without the cancellation that the latter suffers for large x
    weights = torch.sigmoid(-beta * exact).mul_(alpha).clamp_(min_weight, max_weight)
    return weights.nan_to_num_(nan=1.0).to(gain.dtype)
