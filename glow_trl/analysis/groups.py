"""Loss, gain and weight of the samples in each epoch, for all of them and by any of their columns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..data.loss_history import LABEL_COLUMN, LossHistory
from .weights import SPREAD, RunWeighting, sample_weights, weight_shares


ALL = "all"
OTHER = "(other)"
UNKNOWN = "(none)"
TELLING_COLUMNS = ("source", "model", "pattern")


def epoch_table(
    ledger: LossHistory, weighting: RunWeighting | None = None, chosen: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """
    One row for each epoch, over the samples visited in it.

    Args:
        ledger ([`LossHistory`]):
            The losses.
        weighting ([`RunWeighting`], *optional*):
            How samples were weighted; without it there is nothing about weights.
        chosen (`np.ndarray` of shape `(samples,)`, bool, *optional*):
            Which samples count; by default all.

    Returns:
        `list[dict]`: `epoch`, `samples` (visited), `loss` and its `loss_std`, `loss_q25`, `loss_median`, `loss_q75`
        in nats per token; `gain`, `gain_std`, `gain_q05`, ..., `gain_q95`, `improved` (share with a gain above zero);
        `weight`, `weight_std`, `weight_q05`, ..., and the shares of [`weight_shares`]. `None` where nothing is known.
    """
    chosen = np.ones(len(ledger), dtype=bool) if chosen is None else chosen
    table = []
    for position, epoch in enumerate(ledger.epochs):
        losses = _known(ledger.losses[position][chosen])
        gains = _known(ledger.gain(position)[chosen])
        row: dict[str, Any] = {"epoch": epoch, "samples": int(losses.size)}
        row |= _moments("loss", losses, {"q25": 0.25, "median": 0.5, "q75": 0.75})
        row |= _moments("gain", gains, SPREAD)
        row["improved"] = float(np.mean(gains > 0)) if gains.size else None
        if weighting is not None:
            weights = sample_weights(ledger, position, weighting)
            row |= _moments("weight", _known(weights[chosen]), SPREAD)
            row |= weight_shares(ledger, position, weighting, weights, chosen)
        table.append(row)
    return table


def groups_of(ledger: LossHistory, by: str, most: int = 20) -> dict[str, np.ndarray]:
    """
    The samples by the values of a column (`"source"`), or of several joined by `+` (`"is_correct+source"`): for each
    value, most frequent first, a mask of shape `(samples,)`. Samples without a value stand under `"(none)"`, the less
    frequent values beyond `most` under `"(other)"`. A column that is not there raises a `UserError`.
    """
    columns = [ledger.values(name) for name in by.split("+")]
    values = [" · ".join(map(_text, row)) for row in zip(*columns, strict=True)]
    frequent = [value for value, _ in sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))]
    kept = frequent if len(frequent) <= most else frequent[: most - 1]
    array = np.array(values, dtype=object)
    groups = {value: array == value for value in kept}
    if len(kept) < len(frequent):
        groups[OTHER] = ~np.any(list(groups.values()), axis=0)
    return groups


def group_tables(
    ledger: LossHistory, weighting: RunWeighting | None = None, by: Sequence[str] = (LABEL_COLUMN,), most: int = 20
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """
    [`epoch_table`] of all samples, and of the samples with each value of the columns.

    Args:
        ledger ([`LossHistory`]): the losses.
        weighting ([`RunWeighting`], *optional*): how samples were weighted.
        by (`list[str]`, *optional*): the columns; see [`groups_of`].
        most (`int`, *optional*, defaults to `20`): values of a column that are told apart.

    Returns:
        `dict`: `{"all": {"all": table}, column: {value: table}}`.

    Raises:
        UserError: there is no such column.
    """
    return {
        column: {value: epoch_table(ledger, weighting, mask) for value, mask in groups.items()}
        for column, groups in all_groups(ledger, by, most).items()
    }


def all_groups(ledger: LossHistory, by: Sequence[str], most: int) -> dict[str, dict[str, np.ndarray]]:
    """All samples, and [`groups_of`] each of the columns."""
    groups = {ALL: {ALL: np.ones(len(ledger), dtype=bool)}}
    return groups | {column: groups_of(ledger, column, most) for column in by}


def telling_columns(columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """The columns that samples are told apart by if nobody says: the label, and those of more than one value."""
    return [LABEL_COLUMN, *(name for name in TELLING_COLUMNS if len(set(map(str, columns.get(name, [])))) > 1)]


def _text(value: Any) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or UNKNOWN
    return str(value)


def _known(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def _moments(name: str, values: np.ndarray, quantiles: dict[str, float]) -> dict[str, float | None]:
    if not values.size:
        return dict.fromkeys([name, f"{name}_std", *(f"{name}_{key}" for key in quantiles)])
    marks = np.quantile(values, list(quantiles.values()))
    return {
        name: float(values.mean()),
        f"{name}_std": float(values.std()),
        **{f"{name}_{key}": float(mark) for key, mark in zip(quantiles, marks, strict=True)},
    }
