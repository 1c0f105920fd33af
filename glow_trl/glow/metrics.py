"""What is logged of weights and gains: of the steps since the last log, and of each epoch."""

import torch

from ..errors import UserError
from ..weighting.effective import effective_share
from ..weighting.known import wide
from ..weighting.product import Product
from .ledger import LossLedger
from .token_weights import TokenWeights


class WeightMetrics:
    """
    Means over the samples that this process trained on since the last call of [`~WeightMetrics.pop`]. They are
    computed for `fold_every` batches at once and stay on the device until then, so that a step neither waits for them
    nor pays for a dozen small operations.
    """

    def __init__(self, product: Product, fold_every: int = 64):
        self.product = product
        self.fold_every = fold_every
        self._batches: list[tuple[torch.Tensor, ...]] = []
        self._sums: torch.Tensor | None = None

    def update(
        self,
        weights: torch.Tensor,
        gains: torch.Tensor,
        losses: torch.Tensor,
        visited: torch.Tensor,
        at_bounds: tuple[torch.Tensor, torch.Tensor] | None,
        usable: torch.Tensor,
    ) -> None:
        """
        Add the samples of one batch, tensors of shape `(n,)`: weights before any normalization, gains that are `NaN`
        for a sample without a previous loss, detached losses, which of the samples count (bool), shares of their
        weights at the lower and the upper clip bound, and whether all weights of a sample are finite numbers, and
        negative only where they may be (bool).
        """
        shares = (torch.zeros_like(weights),) * 2 if at_bounds is None else at_bounds
        self._batches.append((weights, gains, losses, visited, *shares, usable))
        if len(self._batches) >= self.fold_every:
            self._fold()

    def _fold(self) -> None:
        if not self._batches:
            return
        columns = (torch.cat(tensors) for tensors in zip(*self._batches, strict=True))
        weights, gains, losses, visited, at_min, at_max, usable = columns
        self._batches = []
        has_gain = visited & ~gains.isnan()
        bounded = _bounded(self.product, visited, has_gain)
        weights = wide(weights.where(visited, 0))
        sums = torch.stack(
            [
                visited.sum(),
                losses.where(visited, 0).sum(),
                weights.sum(),
                weights.square().sum(),
                ((weights == 0) & visited).sum(),
                (~usable & visited).sum(),
                has_gain.sum(),
                gains.where(has_gain, 0).sum(),
                bounded.sum(),
                at_min.where(bounded, 0).sum(),
                at_max.where(bounded, 0).sum(),
            ]
        )
        self._sums = sums if self._sums is None else self._sums + sums

    def pop(self) -> dict[str, float]:
        """
        The means since the last call; empty when there was no sample. Raises `UserError` if a weighting returned
        what cannot be weights.
        """
        self._fold()
        if self._sums is None:
            return {}
        names = "samples loss weight square dropped unusable gains gain bounded at_min at_max"
        sums = dict(zip(names.split(), self._sums.tolist(), strict=True))
        self._sums = None
        if sums["unusable"]:
            raise UserError(
                f"weighting: {' x '.join(self.product.names)} gave weights that are not finite numbers, or negative "
                "ones without returning glow_trl.weighting.Signed"
            )
        if not sums["samples"]:
            return {}
        metrics = {
            "glow/sample_loss": sums["loss"] / sums["samples"],
            "glow/mean_weight": sums["weight"] / sums["samples"],
            "glow/share_dropped": sums["dropped"] / sums["samples"],
            "glow/effective_sample_size": effective_share(sums["samples"], sums["weight"], sums["square"]),
        }
        if sums["gains"]:
            metrics["glow/mean_gain"] = sums["gain"] / sums["gains"]
        if sums["bounded"]:
            metrics["glow/share_at_min"] = sums["at_min"] / sums["bounded"]
            metrics["glow/share_at_max"] = sums["at_max"] / sums["bounded"]
        return metrics


def _bounded(product: Product, visited: torch.Tensor, has_gain: torch.Tensor) -> torch.Tensor:
    """For which samples clip bounds mean something: for those with a gain where the weight is one of gains."""
    if product.bounded is None:
        return torch.zeros_like(visited)
    return has_gain if product.bounded.follows_gain else visited


def epoch_metrics(
    ledger: LossLedger,
    product: Product,
    is_correct: torch.Tensor | None = None,
    token_weights: TokenWeights | None = None,
) -> dict[str, float]:
    """
    Means over the samples visited in the ledger's current epoch, exact over all processes once the ledger is synced:
    `glow/epoch`, `glow/epoch_loss`, `glow/epoch_gain` from the second epoch on, and, once the weighting tells samples
    apart, `glow/epoch_weight`, `glow/epoch_share_dropped`, `glow/epoch_effective_sample_size`, and
    `glow/epoch_share_at_min` and `glow/epoch_share_at_max` where it has clip bounds. With `is_correct`, bool of shape
    `(num_samples,)`, loss, gain and weight are also reported for positives and negatives apart.
    """
    metrics: dict[str, float] = {"glow/epoch": ledger.epoch}
    loss, gain, weight = ledger.current.cpu(), ledger.gain.cpu(), ledger.weight.cpu()
    groups = {"": torch.ones_like(loss, dtype=torch.bool)}
    if is_correct is not None:
        groups |= {"_positive": is_correct, "_negative": ~is_correct}
    shown = {"loss": loss, "gain": gain}
    if product.tells_apart(ledger.epoch):
        shown["weight"] = weight
    for name, values in shown.items():
        for suffix, group in groups.items():
            known = values[group & ~values.isnan()]
            if len(known):
                metrics[f"glow/epoch_{name}{suffix}"] = known.double().mean().item()
    known = weight[~weight.isnan()].double()
    if "weight" in shown and len(known):
        metrics["glow/epoch_share_dropped"] = (known == 0).double().mean().item()
        metrics["glow/epoch_effective_sample_size"] = effective_share(
            len(known), known.sum().item(), known.square().sum().item()
        )
        at_bounds = _epoch_at_bounds(product, ledger, token_weights)
        if at_bounds is not None:
            metrics |= dict(zip(("glow/epoch_share_at_min", "glow/epoch_share_at_max"), at_bounds, strict=True))
    return metrics


def _epoch_at_bounds(
    product: Product, ledger: LossLedger, token_weights: TokenWeights | None
) -> tuple[float, float] | None:
    """Shares of the epoch's weights at the lower and the upper clip bound, where that is known."""
    term = product.bounded
    if term is None or term.bounds is None:
        return None
    if term.level == "tokens":
        return None if token_weights is None else token_weights.at_bounds(term.bounds)
    if term.follows_gain:
        # Also where the weight is a product
        values = term.of_gains(ledger.gain.cpu())
    elif len(product.terms) == 1:
        values = ledger.weight.cpu()
    else:
        return None
    values = values[~values.isnan()].double()
    low, high = (torch.tensor(bound).double() for bound in term.bounds)
    return ((values <= low).double().mean().item(), (values >= high).double().mean().item()) if len(values) else None
