"""GLOW: weights of samples from their gains, as a pure function, and the rule that says in which epoch it holds."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Weighting:
    """
    The rule by which a run weights samples by their gains. [`GLOWConfig`] takes its defaults from here.

    Args:
        alpha (`float`), beta (`float`), min_weight (`float`), max_weight (`float`), normalization (`str`),
        warmup_epochs (`int`), weighting (`str`): as in [`GLOWConfig`], there with `glow_` before the name.
    """

    alpha: float = 1.0
    beta: float = 20.0
    min_weight: float = 0.5
    max_weight: float = 5.0
    normalization: str = "none"
    warmup_epochs: int = 1
    weighting: str = "glow"

    @classmethod
    def from_config(cls, config: Any) -> "Weighting":
        """
        From a [`GLOWConfig`], or a mapping of its settings as in the `run.json` of an SFT stage. A run without GLOW
        among its weightings, or the control in its place, is uniform here.
        """
        settings = config if isinstance(config, Mapping) else vars(config)
        names = {field.name: f"glow_{field.name}" for field in dataclasses.fields(cls) if field.name != "weighting"}
        found = {name: settings[key] for name, key in names.items() if key in settings}
        chosen = settings.get("weighting", cls.weighting)
        chosen = [chosen] if isinstance(chosen, str) else chosen
        by_gain = [name for name in chosen if name in ("glow", "constant")]
        return cls(**found, weighting=by_gain[0] if by_gain else "uniform")

    def follows_gain(self, epoch: int) -> bool:
        """Whether the weights of an epoch, counted from 1, tell samples apart by their gains."""
        return self.weighting == "glow" and epoch > self.warmup_epochs

    def weights(self, gains: "torch.Tensor", epoch: int) -> "torch.Tensor":
        """
        The weight of each sample before any normalization.

        Args:
            gains (`torch.Tensor` of any shape, floating point): gains, `NaN` for a sample without a previous loss.
            epoch (`int`): number of the epoch, counted from 1.

        Returns:
            `torch.Tensor`: of the shape, dtype and device of `gains`; 1 for a sample without a gain.
        """
        if self.weighting == "uniform" or epoch <= self.warmup_epochs:
            return gains.new_ones(gains.shape)
        if self.weighting == "constant":
            gains = gains * 0.0  # unlike zeros, keeps the `NaN` of a sample without a previous loss
        return glow_weights(gains, self.alpha, self.beta, self.min_weight, self.max_weight)

    def at_bounds(self, weights: Any) -> tuple[Any, Any]:
        """Which weights, in a tensor or an array, are at the lower clip bound, and which at the upper one."""
        return weights <= self.min_weight, weights >= self.max_weight


def glow_weights(
    gain: "torch.Tensor",
    alpha: float = Weighting.alpha,
    beta: float = Weighting.beta,
    min_weight: float = Weighting.min_weight,
    max_weight: float = Weighting.max_weight,
) -> "torch.Tensor":
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
    weights = (-beta * exact).sigmoid().mul_(alpha).clamp_(min_weight, max_weight)
    return weights.nan_to_num_(nan=1.0).to(gain.dtype)
