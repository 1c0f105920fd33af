"""What the ledger says about training: losses by label and column, gains, weights, and the data map."""

from typing import Any

import numpy as np

from ..analysis.data_map import DEFINITION, DataMap, data_map
from ..analysis.groups import UNKNOWN, epoch_table, groups_of, telling_columns
from ..analysis.weights import weights_of
from ..data.loss_history import LABEL_COLUMN, LABELS, LossHistory
from ..weighting import Weighting
from .run_data import ArmData


OUTCOMES = LABELS
_MOST_VALUES = 12


def weighting_of(arm: ArmData) -> Weighting | None:
    """The GLOW settings of an arm's SFT stage; `None` if it was not weighted by gain."""
    stage = arm.stages.get("sft")
    if stage is None or not stage.run.get("config"):
        return None
    weighting = Weighting.from_config(stage.run["config"])
    return weighting if weighting.weighting == "glow" else None


def weighted_epochs(arm: ArmData, weighting: Weighting) -> list[tuple[int, np.ndarray]]:
    """Number and gains of each epoch in which samples were weighted."""
    if arm.ledger is None:
        return []
    return [(epoch, gains) for epoch, gains in arm.ledger.gains() if weighting.follows_gain(epoch)]


def weight_table(arm: ArmData, weighting: Weighting) -> list[dict[str, Any]]:
    """For each weighted epoch the mean gain and weight by outcome, and the shares of samples at either bound.

    Means are over the samples with a gain."""
    rows = []
    for epoch, gains in weighted_epochs(arm, weighting):
        known = ~np.isnan(gains)
        if not known.any():
            continue
        values = weights_of(gains, weighting, epoch)
        at_min, at_max = weighting.at_bounds(values)
        figures = {"at_min": at_min, "at_max": at_max, "weight": values, "gain": gains}
        row: dict[str, Any] = {
            "epoch": epoch,
            "at_min": _mean(at_min[known]),
            "at_max": _mean(at_max[known]),
            "mean_weight": _mean(values[known]),
            "mean_gain": _mean(gains[known]),
        }
        for outcome, code in OUTCOMES.items():
            chosen = known & (arm.ledger.is_correct == code)
            row |= {f"{name}_{outcome}": _mean(figure[chosen]) for name, figure in figures.items()}
        rows.append(row)
    return rows


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None


def column_tables(ledger: LossHistory, weighting: Weighting | None, cartography: DataMap) -> list[dict[str, Any]]:
    """
    Losses by label and by the other columns that tell samples apart: for each its `rows` with `first` and `last` mean
    loss, `weight` in the last epoch, `never` (share that never improved) and `variability`.
    """
    tables = []
    for column in telling_columns(ledger.columns):
        groups = groups_of(ledger, column, _MOST_VALUES)
        if column == LABEL_COLUMN and list(groups) == [UNKNOWN]:
            continue
        rows = []
        for value, mask in groups.items():
            epochs = epoch_table(ledger, weighting, mask)
            counts = cartography.counts(mask)
            rows.append(
                {
                    "value": value,
                    "samples": counts["samples"],
                    "first": epochs[0]["loss"],
                    "last": epochs[-1]["loss"],
                    "weight": epochs[-1].get("weight"),
                    "never": counts["never_improved_share"],
                    "variability": counts["variability"],
                }
            )
        tables.append({"name": "label" if column == LABEL_COLUMN else column, "rows": rows})
    return tables


def map_facts(ledger: LossHistory, cartography: DataMap) -> dict[str, Any]:
    """Counts of the data map, the definition behind them, and the hardest of the samples that never improved."""
    never = cartography.hardest()
    return {
        "definition": DEFINITION,
        "reference_epoch": cartography.reference_epoch,
        "min_improvement": cartography.min_improvement,
        "comparable": int(cartography.known.sum()),
        "never": int(never.size),
        "hardest": [ledger.sample_ids[index] if ledger.sample_ids else f"row {index}" for index in never[:5]],
    }


def arm_map(arm: ArmData) -> DataMap | None:
    """The data map of an arm with at least two epochs; `None` for others."""
    if arm.ledger is None or len(arm.ledger.epochs) < 2:
        return None
    return data_map(arm.ledger)
