"""The weights of a run's samples and tokens: as they were recorded, or, of an older run, as its losses led to them."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.loss_history import LABELS, LossHistory, TokenWeights
from ..stages.config import as_mapping
from ..weighting import Weighting, shipped
from ..weighting.effective import effective_share


SPREAD = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}
# Those that runs knew before they recorded weights
_OLDEST = {"glow", "constant", "uniform"}


@dataclass(frozen=True)
class RunWeighting:
    """
    How an SFT stage weighted its samples and tokens.

    Args:
        names (`tuple[str, ...]`): the weightings, names of shipped ones or dotted paths; several are multiplied.
        parameters (`dict[str, Any]`): their parameters; of a function of the user's, while the stage runs, those that
            were set. Those of one among several stand with its name before theirs, `pear.gamma`.
        rule ([`Weighting`]): the rule by which older runs, which recorded no weights, weighted by gain.
    """

    names: tuple[str, ...]
    parameters: dict[str, Any]
    rule: Weighting

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "RunWeighting":
        """From the `run.json` of an SFT stage; while it runs, from its settings alone."""
        return cls.from_config(record.get("config") or {}, record.get("weightings") or {})

    @classmethod
    def from_config(cls, config: Mapping[str, Any], recorded: Mapping[str, Any] | None = None) -> "RunWeighting":
        """From the settings of an SFT stage, and all parameters by weighting as far as they were `recorded`."""
        rule = Weighting.from_config(config)
        chosen = config.get("weighting") or Weighting.weighting
        names = tuple(map(str, [chosen] if isinstance(chosen, str) else chosen))
        given = as_mapping(config.get("weighting_kwargs"), "weighting_kwargs")
        parameters: dict[str, Any] = {}
        for name in names:
            prefix = f"{name}." if len(names) > 1 else ""
            own = _defaults(name) | (as_mapping(given.get(name), name) if len(names) > 1 else given)
            own |= (recorded or {}).get(name) or {}
            if name in ("glow", "constant"):
                own = {key: getattr(rule, key) for key in own}
            parameters |= {f"{prefix}{key}": value for key, value in own.items()}
        return cls(names, parameters, rule)

    @property
    def name(self) -> str:
        """All names in one, for people."""
        return " × ".join(self.names)

    @property
    def tells_apart(self) -> bool:
        """Whether it is meant to weigh some samples or tokens more than others."""
        return not set(self.names) <= {"uniform", "constant"}

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The bounds of the weights that it has as parameters; a product has none."""
        if not self.tells_apart:
            return None, None
        low, high = (self.parameters.get(name) for name in ("min_weight", "max_weight"))
        return low if isinstance(low, int | float) else None, high if isinstance(high, int | float) else None

    def counted(self, ledger: LossHistory, row: int, weights: np.ndarray) -> np.ndarray:
        """
        Which samples the weighting tells apart in the epoch of the given row, given their [`sample_weights`]: shape
        `(samples,)`, bool. Those with a weight; GLOW alone tells apart by a gain only, and after its warm-up.
        """
        known = ~np.isnan(weights)
        if self.names == ("glow",):
            known &= ~np.isnan(ledger.gain(row)) & self.rule.follows_gain(ledger.epochs[row])
        return known & self.tells_apart


def described(parameters: Mapping[str, Any]) -> list[str]:
    """Parameters as text, name and value."""
    return [
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in parameters.items()
    ]


def _defaults(name: str) -> dict[str, Any]:
    """The parameters of a shipped weighting, with their defaults where it has some itself."""
    if "." in name or ":" in name or not hasattr(shipped, name):
        return {}
    _, *parameters = inspect.signature(getattr(shipped, name)).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}


def sample_weights(ledger: LossHistory, row: int, weighting: RunWeighting) -> np.ndarray:
    """
    Weight of every sample in the epoch of the given row, before any normalization, float64: where tokens were
    weighted, the mean over its tokens. NaN where a sample was not visited, or the weight is not known.
    """
    recorded = ledger.weights.get(ledger.epochs[row])
    if recorded is not None:
        return recorded.astype(np.float64)
    if not set(weighting.names) <= _OLDEST:
        return np.full(len(ledger), np.nan)
    import torch

    weights = weighting.rule.weights(torch.from_numpy(ledger.gain(row)), ledger.epochs[row]).numpy()
    return np.where(np.isnan(ledger.losses[row]), np.nan, weights)


def weight_shares(
    ledger: LossHistory, row: int, weighting: RunWeighting, weights: np.ndarray, chosen: np.ndarray
) -> dict[str, float | None]:
    """
    What the weights of some samples did in the epoch of the given row.

    Args:
        weights (`np.ndarray` of shape `(samples,)`): the [`sample_weights`] of that epoch.
        chosen (`np.ndarray` of shape `(samples,)`, bool): which samples.

    Returns:
        `dict`: `at_min` and `at_max`, the shares of samples whose weight is at a bound (`None` where there is none,
        and where tokens were weighted: a sample's weight is a mean then); `dropped`, the share whose weight is 0;
        `effective_sample_size`, of Kish: what share of the samples, with equal weights, would estimate a mean as
        precisely as these do.
    """
    ranked = weights[chosen & weighting.counted(ledger, row, weights)]
    ranked = ranked.astype(np.float32)  # as they are recorded, so that a bound is met to the bit
    of_tokens = ledger.epochs[row] in ledger.token_weights
    low, high = (None if of_tokens else bound for bound in weighting.bounds)
    known = weights[chosen & ~np.isnan(weights)]
    return {
        "at_min": None if low is None or not ranked.size else float(np.mean(ranked <= np.float32(low))),
        "at_max": None if high is None or not ranked.size else float(np.mean(ranked >= np.float32(high))),
        "dropped": float(np.mean(known == 0)) if known.size else None,
        "effective_sample_size": _effective(known),
    }


def _effective(weights: np.ndarray) -> float | None:
    return float(effective_share(weights.size, weights.sum(), np.square(weights).sum())) if weights.size else None


def token_shares(weights: TokenWeights, counts: np.ndarray, weighting: RunWeighting) -> dict[str, float | None]:
    """
    The shares `at_min`, `at_max` and `dropped` of some tokens, given their `counts` by bin: of what has a bin of its
    own among those of `weights`, as the trainer makes one for 0 and for the bounds.
    """
    boundaries = weights.boundaries.astype(np.float32)
    shares: dict[str, float | None] = {}
    for name, value in zip(("at_min", "at_max", "dropped"), (*weighting.bounds, 0.0), strict=True):
        exact = np.float32(np.nan if value is None else value)
        index = int(np.searchsorted(boundaries, exact))
        own_bin = 0 < index < boundaries.size and boundaries[index] == exact
        own_bin = own_bin and boundaries[index - 1] == np.nextafter(exact, np.float32(-np.inf))
        shares[name] = float(counts[index] / counts.sum()) if own_bin and counts.any() else None
    return shares


def token_table(weights: TokenWeights, weighting: RunWeighting) -> dict[str, list[dict[str, Any]]]:
    """
    The weights of tokens by label and position.

    Returns:
        `dict`: for `"positive"`, `"negative"` and `"unknown"`, as far as there are such tokens, a row for each tenth
        of the samples' tokens that has any: `position` (from 1), `tokens`, the mean `weight`, and the quantiles
        `weight_q05`, `weight_q25`, `weight_median`, `weight_q75`, `weight_q95`, which are no finer than the bins that
        the weights were counted in; and their [`token_shares`].
    """
    table: dict[str, list[dict[str, Any]]] = {}
    for label, code in {**LABELS, "unknown": 2}.items():
        for position, counts in enumerate(weights.counts[code]):
            if tokens := int(counts.sum()):
                row = {"position": position + 1, "tokens": tokens, "weight": weights.sums[code, position] / tokens}
                quantiles = _quantiles(weights.boundaries, counts)
                row |= {f"weight_{key}": value for key, value in quantiles.items()}
                table.setdefault(label, []).append(row | token_shares(weights, counts, weighting))
    return table


def _quantiles(boundaries: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """Of values that were counted in bins: spread evenly within a bin, and at the boundary in those without an end."""
    edges = np.concatenate([boundaries[:1], boundaries, boundaries[-1:]])
    below = np.concatenate([[0], np.cumsum(counts)])
    return {key: float(np.interp(share * below[-1], below, edges)) for key, share in SPREAD.items()}
