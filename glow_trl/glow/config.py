"""Configuration of GLOW-weighted SFT."""

import math
from dataclasses import dataclass
from typing import Any

from trl import SFTConfig

from ..errors import UserError
from ..stages.config import as_mapping, setting
from ..training.arguments import SealedArguments
from ..weighting import Weighting
from ..weighting.product import Product


@dataclass
class GLOWConfig(SealedArguments, SFTConfig):
    r"""
    What each sample counts in the loss: configuration class for the [`GLOWTrainer`].

    It has all the parameters of [`~trl.SFTConfig`], and those of GLOW
    ([arXiv:2601.04992](https://huggingface.co/papers/2601.04992)):

    Parameters:
        glow_alpha (`float`, *optional*, defaults to `1.0`):
            Scale of the weights: `alpha / 2` is the weight of a sample whose loss did not change, before clipping.
        glow_beta (`float`, *optional*, defaults to `20.0`):
            Sensitivity of the weights to the gain, in 1 / nats.
        glow_min_weight (`float`, *optional*, defaults to `0.5`):
            Lower clip bound of the weights. With `glow_alpha=1.0` and the default bound, every sample whose loss fell
            weighs 0.5: raise `glow_alpha` or lower the bound to rank them.
        glow_max_weight (`float`, *optional*, defaults to `5.0`):
            Upper clip bound of the weights.
        glow_normalization (`str`, *optional*, defaults to `"none"`):
            `"mean"` divides the weights by their mean over the samples of the optimizer step, on all processes, so
            that weighting leaves the scale of the loss as it is. Several processes add up the weights in each step
            for it.
        glow_warmup_epochs (`int`, *optional*, defaults to `1`):
            Number of epochs in which every sample weighs 1. At least 1, since a gain needs a previous epoch.
        weighting (`str` or `list[str]`, *optional*, defaults to `"glow"`):
            What weighs samples and tokens: a name, the dotted path of a function of your own, or a list of these,
            whose product is taken.

            - `"glow"`: weights from the gain of each sample.
            - `"constant"`: a control. After the warm-up every sample has the weight that GLOW gives to a gain of
              zero, `clip(alpha / 2, min_weight, max_weight)`: the change of scale without the ranking.
            - `"uniform"`: every sample weighs 1.
            - `"tail_sft"`, `"pear"`, `"dft"`, `"info_sft"`, `"iw_sft"`, `"iw_sft_token"`, `"unlikelihood"`: see
              [`glow_trl.weighting.shipped`].
        weighting_kwargs (`dict`, *optional*):
            Parameters of the weighting: those of the function behind its first. With several weightings, for each
            that takes some the mapping of its own: `{"tail_sft": {"gamma": 0.3}}`. `glow` and `constant` have the
            settings that begin with `glow_` instead.
        initial_loss (`str`, *optional*, defaults to `"measure"`):
            Where the losses under the initial model come from, for a weighting that needs them:

            - `"measure"`: one pass over the training set before the first step, kept in the checkpoints.
            - `"log_probs"`: the means of the data's column `log_probs`, which must then be of the initial model.
        loss_reduction (`str`, *optional*, defaults to `"sample"`):
            - `"sample"`: the loss is the mean over samples of weight times the sample's mean token loss.
            - `"token"`: the loss is the sum over tokens of the weight of the token's sample times the token's loss,
              divided by the number of tokens. With `weighting="uniform"` this is the loss of [`~trl.SFTTrainer`].
        negative_answer (`str`, *optional*, defaults to `"keep"`):
            What is learned of the final answer of a negative sample, which the verifier of its `kind` finds (see
            [`~glow_trl.verifiers.answer_span`]); one in which it finds none is learned whole.

            - `"keep"`: all.
            - `"mask"`: nothing: its tokens are read, and are no targets.
            - `"truncate"`: nothing, nor what follows: the sample ends before it.

    Raises:
        UserError: a value is out of its range, or an [`~trl.SFTConfig`] option does not go with GLOW.
    """

    glow_alpha: float = setting(Weighting.alpha, "Scale of the weights: half of it is the weight at no gain.")
    glow_beta: float = setting(Weighting.beta, "Sensitivity of the weights to the gain, in 1 / nats.")
    glow_min_weight: float = setting(Weighting.min_weight, "Lower clip bound of the weights.")
    glow_max_weight: float = setting(Weighting.max_weight, "Upper clip bound of the weights.")
    glow_normalization: str = setting(
        Weighting.normalization, "mean: divide weights by their mean over the step.", choices=["none", "mean"]
    )
    glow_warmup_epochs: int = setting(Weighting.warmup_epochs, "Number of epochs in which every sample weighs 1.")
    weighting: list[str] | str = setting(
        [Weighting.weighting], "Name of a weighting, or dotted path of one of your own; several are multiplied."
    )
    weighting_kwargs: dict[str, Any] | str | None = setting(
        None, "Parameters of the weighting; of several, a mapping of each one's own by its name."
    )
    initial_loss: str = setting(
        "measure",
        "Where initial losses come from: measure (a pass before the first step) or log_probs (the column).",
        choices=["measure", "log_probs"],
    )
    loss_reduction: str = setting(
        "sample", "sample (mean over samples of their mean token loss) or token.", choices=["sample", "token"]
    )
    negative_answer: str = setting(
        "keep",
        "Of a negative's final answer: keep, mask (no targets) or truncate (the sample ends before it).",
        choices=["keep", "mask", "truncate"],
    )

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.weighting, list) and len(self.weighting) == 1:
            self.weighting = self.weighting[0]
        self.weighting_kwargs = as_mapping(self.weighting_kwargs, "weighting_kwargs")
        for name in ("glow_normalization", "initial_loss", "loss_reduction", "negative_answer"):
            choices = self.__dataclass_fields__[name].metadata["choices"]
            if getattr(self, name) not in choices:
                raise UserError(f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if not 0 < self.glow_alpha < math.inf:
            raise UserError(f"glow_alpha must be positive and finite, got {self.glow_alpha}")
        if not 0 <= self.glow_beta < math.inf:
            raise UserError(
                f"glow_beta must not be negative, nor infinite, got {self.glow_beta}: a negative one would favor "
                "samples that improve"
            )
        if not 0 <= self.glow_min_weight <= self.glow_max_weight:
            raise UserError(
                "glow_min_weight and glow_max_weight must satisfy 0 <= min <= max, got "
                f"{self.glow_min_weight} and {self.glow_max_weight}"
            )
        if self.glow_warmup_epochs < 1:
            raise UserError(
                f"glow_warmup_epochs must be at least 1, got {self.glow_warmup_epochs}: in the first epoch there is "
                "no previous loss to gain on"
            )
        product = self.product()
        last_epoch = math.ceil(self.num_train_epochs) if self.max_steps <= 0 else math.inf
        if self.weighting != "uniform" and not product.tells_apart(last_epoch):
            raise UserError(
                f"weighting={self.weighting!r} never takes effect: num_train_epochs ({self.num_train_epochs}) is not "
                f"more than glow_warmup_epochs ({self.glow_warmup_epochs}). Train for more epochs, or set "
                "weighting='uniform'"
            )
        if self.initial_loss == "log_probs" and "initial" not in product.needs:
            raise UserError(
                f"initial_loss='log_probs' has no effect: weighting={self.weighting!r} reads no initial losses"
            )
        if product.signed and self.glow_normalization == "mean":
            raise UserError(
                f"glow_normalization='mean' has no meaning with weighting={self.weighting!r}, whose weights can be "
                "negative: set glow_normalization='none'"
            )
        if not self.is_plain_sft:
            self._reject_unsupported_losses()
        if self.packing and self.packing_strategy != "bfd":
            raise UserError(
                f"packing_strategy={self.packing_strategy!r} cuts samples in pieces, which then have no one loss; use "
                "packing_strategy='bfd'"
            )

    @property
    def is_plain_sft(self) -> bool:
        """Whether the loss is exactly that of [`~trl.SFTTrainer`]."""
        return self.weighting == "uniform" and self.loss_reduction == "token"

    @property
    def reads_log_probs(self) -> bool:
        """Whether the weighting reads the log-probabilities that come with the data."""
        return self.initial_loss == "log_probs" or "ref_log_probs" in self.product().needs

    def product(self) -> Product:
        """The weightings, found by their names and tried out on made-up batches."""
        names = [self.weighting] if isinstance(self.weighting, str) else self.weighting
        rule = vars(Weighting.from_config(self))
        return Product(names, as_mapping(self.weighting_kwargs, "weighting_kwargs"), rule)

    def _reject_unsupported_losses(self) -> None:
        plain = "or set weighting='uniform' and loss_reduction='token' for plain SFT"
        if self.loss_type != "nll":
            instead = "set loss_type='nll' and weighting='dft'" if self.loss_type == "dft" else "set loss_type='nll'"
            raise UserError(f"loss_type={self.loss_type!r} has no GLOW form; {instead}, {plain}")
        if self.label_smoothing_factor:
            raise UserError(
                f"label_smoothing_factor={self.label_smoothing_factor} needs the full logits; set it to 0, {plain}"
            )
