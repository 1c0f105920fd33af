"""The analyzed samples as Parquet: one row a sample, or one row a sample and epoch."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.loss_history import LABEL_COLUMN, LossHistory
from ..stages.files import atomic_path
from ..weighting import Weighting
from .data_map import DataMap
from .weights import sample_weights


if TYPE_CHECKING:
    import pyarrow


def sample_table(ledger: LossHistory, weighting: Weighting, cartography: DataMap) -> "pyarrow.Table":
    """
    One row for each sample of the training data, in its order.

    Returns:
        `pyarrow.Table`: `sample_id`, `is_correct`, the other columns of the samples, then float64 columns
        `loss_epoch_N`, `gain_epoch_N` (from the second epoch on) and `weight_epoch_N` (before any normalization), and
        `mean_loss`, `variability`, `improvement` and `never_improved` (see [`DataMap`]). Null where a sample was not
        visited.
    """
    import pyarrow

    columns = _identity(ledger)
    for position, epoch in enumerate(ledger.epochs):
        columns[f"loss_epoch_{epoch}"] = _floats(ledger.losses[position])
    for position, epoch in enumerate(ledger.epochs):
        if position > 0 and epoch == ledger.epochs[position - 1] + 1:
            columns[f"gain_epoch_{epoch}"] = _floats(ledger.gain(position))
    for position, epoch in enumerate(ledger.epochs):
        columns[f"weight_epoch_{epoch}"] = _floats(sample_weights(ledger, position, weighting))
    columns["mean_loss"] = _floats(cartography.mean_loss)
    columns["variability"] = _floats(cartography.variability)
    columns["improvement"] = _floats(cartography.improvement)
    columns["never_improved"] = pyarrow.array(cartography.never_improved, mask=~cartography.known)
    return pyarrow.table(columns)


def long_table(ledger: LossHistory, weighting: Weighting) -> "pyarrow.Table":
    """
    One row for each sample and epoch in which it was visited: `sample_id`, `is_correct`, the other columns, `epoch`
    (int64), `loss`, `gain` and `weight` (float64).
    """
    import pyarrow

    identity = _identity(ledger)
    parts = []
    for position, epoch in enumerate(ledger.epochs):
        visited = pyarrow.array(np.flatnonzero(~np.isnan(ledger.losses[position])))
        part = pyarrow.table(
            {
                **identity,
                "epoch": pyarrow.array(np.full(len(ledger), epoch, dtype=np.int64)),
                "loss": _floats(ledger.losses[position]),
                "gain": _floats(ledger.gain(position)),
                "weight": _floats(sample_weights(ledger, position, weighting)),
            }
        )
        parts.append(part.take(visited))
    return pyarrow.concat_tables(parts)


def write_parquet(path: str | os.PathLike, table: "pyarrow.Table") -> None:
    """
    Write a table; the file appears under its name only when it is whole.

    Raises:
        UserError: the file cannot be written.
    """
    import pyarrow.parquet

    with atomic_path(path) as partial:
        pyarrow.parquet.write_table(table, partial, compression="zstd")


def _identity(ledger: LossHistory) -> dict[str, Any]:
    import pyarrow

    ids = ledger.sample_ids or [f"row {position}" for position in range(len(ledger))]
    columns = {
        "sample_id": pyarrow.array(ids),
        LABEL_COLUMN: pyarrow.array(ledger.is_correct == 1, mask=ledger.is_correct < 0),
    }
    for name, values in ledger.columns.items():
        try:
            columns[name] = pyarrow.array(values)
        except (pyarrow.ArrowException, OverflowError):  # values of several types
            columns[name] = pyarrow.array([None if value is None else str(value) for value in values])
    return columns


def _floats(values: np.ndarray) -> Any:
    import pyarrow

    return pyarrow.array(values, mask=np.isnan(values))
