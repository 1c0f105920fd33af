"""What the ledger says about training: losses by outcome, gains, and the weights that followed from them."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from .run_data import ArmData


OUTCOMES = {"positive": 1, "negative": 0}


@dataclass(frozen=True)
class Weighting:
    """The settings of GLOW that an arm was trained with."""

    alpha: float
    beta: float
    min_weight: float
    max_weight: float
    warmup_epochs: int
    normalization: str


def weighting_of(arm: ArmData) -> Weighting | None:
    """The GLOW settings of an arm's SFT stage; `None` if it was not weighted by gain."""
    from ..glow import GLOWConfig

    stage = arm.stages.get("sft")
    if stage is None or not stage.run.get("config"):
        return None
    defaults = {item.name: item.default for item in dataclasses.fields(GLOWConfig)}
    settings: dict[str, Any] = {**defaults, **stage.run["config"]}
    if settings["weighting"] != "glow":
        return None
    return Weighting(
        alpha=float(settings["glow_alpha"]),
        beta=float(settings["glow_beta"]),
        min_weight=float(settings["glow_min_weight"]),
        max_weight=float(settings["glow_max_weight"]),
        warmup_epochs=int(settings["glow_warmup_epochs"]),
        normalization=settings["glow_normalization"],
    )


def weights(gains: np.ndarray, weighting: Weighting) -> np.ndarray:
    """The weight of each sample, before any normalization."""
    import torch

    from ..weighting import glow_weights

    return glow_weights(
        torch.from_numpy(np.asarray(gains, dtype=np.float64)),
        alpha=weighting.alpha,
        beta=weighting.beta,
        min_weight=weighting.min_weight,
        max_weight=weighting.max_weight,
    ).numpy()


def weighted_epochs(arm: ArmData, weighting: Weighting) -> list[tuple[int, np.ndarray]]:
    """Number and gains of each epoch in which samples were weighted."""
    if arm.ledger is None:
        return []
    return [(epoch, gains) for epoch, gains in arm.ledger.gains() if epoch > weighting.warmup_epochs]


def weight_table(arm: ArmData, weighting: Weighting) -> list[dict[str, Any]]:
    """For each weighted epoch the mean gain and weight by outcome, and the share of samples at either bound."""
    rows = []
    for epoch, gains in weighted_epochs(arm, weighting):
        known = ~np.isnan(gains)
        if not known.any():
            continue
        values = weights(gains, weighting)
        row: dict[str, Any] = {
            "epoch": epoch,
            "at_min": float(np.mean(values[known] <= weighting.min_weight)),
            "at_max": float(np.mean(values[known] >= weighting.max_weight)),
            "mean_weight": float(values[known].mean()),
            "mean_gain": float(gains[known].mean()),
        }
        for outcome, code in OUTCOMES.items():
            chosen = known & (arm.ledger.is_correct == code)
            row[f"gain_{outcome}"] = float(gains[chosen].mean()) if chosen.any() else None
            row[f"weight_{outcome}"] = float(values[chosen].mean()) if chosen.any() else None
        rows.append(row)
    return rows
