"""The analyzed samples as Parquet: one row a sample, or one row a sample and epoch."""

import os
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from ..data.loss_history import LABEL_COLUMN, LossHistory
from ..stages.files import atomic_path
from .data_map import DataMap
from .weights import RunWeighting, sample_weights


def sample_table(ledger: LossHistory, weighting: RunWeighting, cartography: DataMap) -> pyarrow.Table:
    """
    One row for each sample of the training data, in its order.

    Returns:
        `pyarrow.Table`: `sample_id`, `is_correct`, the other columns of the samples, then float64 columns
        `loss_epoch_N`, `gain_epoch_N` (from the second epoch on) and `weight_epoch_N` (before any normalization), and
        `mean_loss`, `variability`, `improvement` and `never_improved` (see [`DataMap`]). Null where a sample was not
        visited.
    """
    columns = _identity(ledger)
    for position, epoch in enumerate(ledger.epochs):
        columns[f"loss_epoch_{epoch}"] = _floats(ledger.losses[position])
    for epoch, gain in ledger.gains():
        columns[f"gain_epoch_{epoch}"] = _floats(gain)
    for position, epoch in enumerate(ledger.epochs):
        columns[f"weight_epoch_{epoch}"] = _floats(sample_weights(ledger, position, weighting))
    for name in ("mean_loss", "variability", "improvement"):
        columns[name] = _floats(getattr(cartography, name))
    columns["never_improved"] = pyarrow.array(cartography.never_improved, mask=~cartography.known)
    return pyarrow.table(columns)


def long_table(ledger: LossHistory, weighting: RunWeighting) -> pyarrow.Table:
    """
    One row for each sample and epoch in which it was visited: `sample_id`, `is_correct`, the other columns, `epoch`
    (int64), `loss`, `gain` and `weight` (float64).
    """
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


def write_parquet(path: str | os.PathLike, table: pyarrow.Table) -> None:
    """Write a table; the file appears under its name only when it is whole."""
    with atomic_path(path) as partial:
        pyarrow.parquet.write_table(table, partial, compression="zstd")


def _identity(ledger: LossHistory) -> dict[str, Any]:
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


def _floats(values: np.ndarray) -> pyarrow.Array:
    return pyarrow.array(values, mask=np.isnan(values))
