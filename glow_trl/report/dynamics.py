"""What the ledger says about training: losses by label and column, gains, weights, and the data map."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..analysis.data_map import DEFINITION, DataMap, data_map
from ..analysis.groups import UNKNOWN, epoch_table, groups_of, telling_columns
from ..analysis.weights import RunWeighting, described, sample_weights, token_shares, token_table, weight_shares
from ..data.loss_history import LABEL_COLUMN, LABELS, LossHistory
from .run_data import ArmData


OUTCOMES = LABELS
_MOST_VALUES = 12


def weighting_of(arm: ArmData) -> RunWeighting | None:
    """How an arm's SFT stage weighted its samples; `None` if that is not recorded."""
    stage = arm.stages.get("sft")
    if stage is None or not stage.run.get("config"):
        return None
    return RunWeighting.from_record(stage.run)


def weighted_epochs(arm: ArmData, weighting: RunWeighting) -> list[tuple[int, np.ndarray]]:
    """Number and weights of each epoch in which the weighting told samples apart; NaN for those that it did not."""
    if arm.ledger is None:
        return []
    found = []
    for row, epoch in enumerate(arm.ledger.epochs):
        weights = sample_weights(arm.ledger, row, weighting)
        counted = weighting.counted(arm.ledger, row, weights)
        if counted.any():
            found.append((epoch, np.where(counted, weights, np.nan)))
    return found


def weight_table(arm: ArmData, weighting: RunWeighting) -> list[dict[str, Any]]:
    """
    For each of the [`weighted_epochs`] the mean `gain` and `weight`, the shares of samples at either bound and
    dropped, and the effective sample size, over all samples that the weighting told apart and by outcome
    (`weight_positive`). Where tokens were weighted, the shares are those of tokens.
    """
    rows = []
    for epoch, weights in weighted_epochs(arm, weighting):
        place = arm.ledger.epochs.index(epoch)
        gains = arm.ledger.gain(place)
        tokens = arm.ledger.token_weights.get(epoch)
        row: dict[str, Any] = {"epoch": epoch}
        for suffix, code in {"": None, **{f"_{name}": code for name, code in OUTCOMES.items()}}.items():
            chosen = ~np.isnan(weights) & (True if code is None else arm.ledger.is_correct == code)
            figures = weight_shares(arm.ledger, place, weighting, weights, chosen)
            figures |= {"weight": _mean(weights[chosen]), "gain": _mean(gains[chosen & ~np.isnan(gains)])}
            if tokens is not None:
                counts = tokens.counts[slice(None) if code is None else slice(code, code + 1)].sum(axis=(0, 1))
                figures |= token_shares(tokens, counts, weighting)
            row |= {f"{name}{suffix}": figure for name, figure in figures.items()}
        # The bounds of one of several weightings, and those that a function of the user's has of itself
        for name in ("at_min", "at_max"):
            row[name] = _logged(arm, epoch, f"glow/epoch_share_{name}") if row[name] is None else row[name]
        rows.append(row)
    return rows


def weightings_table(arms: Iterable[ArmData]) -> list[dict[str, Any]]:
    """
    For each arm with recorded losses how it was weighted: the `arm`, the `name` of its weighting and its `parameters`
    as text, whether it weighs `tokens`, whether all weigh the `same`, and the `figures` of [`weight_table`] in its
    last epoch.
    """
    rows = []
    for arm in arms:
        weighting = weighting_of(arm)
        if arm.ledger is not None and weighting is not None:
            last = weight_table(arm, weighting)[-1:]
            rows.append(
                {
                    "arm": arm.name,
                    "name": weighting.name,
                    "parameters": ", ".join(described(weighting.parameters)),
                    "tokens": bool(arm.ledger.token_weights),
                    "same": not weighting.tells_apart,
                    "figures": last[0] if last else None,
                }
            )
    return rows


def weight_facts(arm: ArmData) -> dict[str, Any]:
    """
    What `summary.json` says of an arm's weights: the `weighting` and its `weighting_parameters`, the `weights` of each
    epoch (see [`weight_table`]) and, where tokens were weighted, the `token_weights` of each (see [`token_table`]).
    """
    weighting = weighting_of(arm)
    if weighting is None or arm.ledger is None:
        return {}
    facts = {"weighting": list(weighting.names), "weighting_parameters": weighting.parameters}
    facts |= {"weights": weight_table(arm, weighting)}
    tokens = {str(epoch): token_table(weights, weighting) for epoch, weights in arm.ledger.token_weights.items()}
    return facts | ({"token_weights": tokens} if tokens else {})


def _logged(arm: ArmData, epoch: int, name: str) -> float | None:
    """What the log says at the end of an epoch."""
    found = [row.get(name) for row in arm.stages["sft"].log if row.get("glow/epoch") == epoch]
    return next((value for value in reversed(found) if isinstance(value, int | float)), None)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None


def column_tables(ledger: LossHistory, weighting: RunWeighting | None, cartography: DataMap) -> list[dict[str, Any]]:
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
