"""
The losses and weights that an SFT stage writes down in its folder `ledger`, with the columns of its samples: the
format of the files, for those who write and who read them.

`epoch-001.npy`, `epoch-002.npy`, ... hold the loss of every sample in each epoch, `weights-001.npy`, ... its weight,
float32 arrays; `token-weights-001.npz`, ... how the weights of tokens were distributed (see [`TokenWeights`]), where
tokens were weighted; `samples.jsonl` says which sample each position is, one row each.
"""

import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import UserError
from . import MalformedLine, read_jsonl, write_jsonl
from .columns import present


HISTORY_DIR = "ledger"
SAMPLES_FILE = "samples.jsonl"
LABELS = {"positive": 1, "negative": 0}
LABEL_COLUMN = "is_correct"
# Columns of the trajectories that the analysis of a run can be split by
_SAMPLE_COLUMNS = ("sample_id", LABEL_COLUMN, "source", "model", "pattern")


def write_samples(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write which samples the losses are of, and the columns that they can be told apart by."""
    write_jsonl(folder / SAMPLES_FILE, (present(row, _SAMPLE_COLUMNS) for row in rows))


def write_epoch(folder: Path, epoch: int, losses: np.ndarray) -> None:
    """
    Write the losses of an epoch, counted from 1: shape `(samples,)`, in nats per token, NaN where a sample was not
    visited.
    """
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"epoch-{epoch:03d}.npy", losses.astype(np.float32))


def write_weights(folder: Path, epoch: int, weights: np.ndarray) -> None:
    """
    Write the weights of an epoch, counted from 1: shape `(samples,)`, before any normalization; where tokens were
    weighted, the mean over the sample's target tokens. NaN where a sample was not visited.
    """
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"weights-{epoch:03d}.npy", weights.astype(np.float32))


def write_token_weights(
    folder: Path, epoch: int, boundaries: np.ndarray, counts: np.ndarray, sums: np.ndarray
) -> None:
    """Write how the weights of an epoch's tokens were distributed: the fields of [`TokenWeights`]."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"token-weights-{epoch:03d}.npz"
    np.savez(path, boundaries=boundaries.astype(np.float64), counts=counts.astype(np.int64), sums=sums)


class TokenWeights(NamedTuple):
    """
    How the weights of an epoch's target tokens were distributed, by label (negative, positive, unknown) and by
    position (tenth of the sample's target tokens).

    Args:
        boundaries (`np.ndarray` of shape `(bins - 1,)`, float64):
            Where one bin ends and the next begins, in ascending order.
        counts (`np.ndarray` of shape `(3, 10, bins)`, int64):
            Number of tokens by label, position and bin; a token whose weight is a boundary is in the bin below it.
        sums (`np.ndarray` of shape `(3, 10)`, float64):
            Sum of the weights.
    """

    boundaries: np.ndarray
    counts: np.ndarray
    sums: np.ndarray

    @classmethod
    def read(cls, path: Path) -> "TokenWeights":
        with np.load(path, allow_pickle=False) as file:
            return cls(*(file[name] for name in cls._fields))


def recorded_epochs(folder: Path, name: str = "epoch-*.npy") -> dict[int, Path]:
    """The files of the epochs in a folder, by number and in order: of losses, or of another `name`."""
    head, tail = name.split("*")
    numbers = ((path.name.removeprefix(head).removesuffix(tail), path) for path in folder.glob(name))
    return dict(sorted((int(number), path) for number, path in numbers if number.isdigit()))


def _readable(paths: Mapping[int, Path], read: Callable[[Path], Any]) -> dict[int, Any]:
    """What is in the files of the epochs, those aside that a killed run left unfinished."""
    found = {}
    for epoch, path in paths.items():
        try:
            found[epoch] = read(path)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            continue
    return found


def _read_array(path: Path) -> np.ndarray:
    values = np.load(path, allow_pickle=False)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"expected one number for each sample, found shape {values.shape}")
    return values


@dataclass
class LossHistory:
    """The loss of every sample in every epoch.

    Args:
        epochs (`list[int]`):
            Numbers of the epochs that were recorded.
        losses (`np.ndarray` of shape `(epochs, samples)`, float64):
            In nats per token; NaN where a sample was not visited.
        is_correct (`np.ndarray` of shape `(samples,)`, int):
            1 (positive), 0 (negative) or -1 (unknown).
        sample_ids (`list[str]`, *optional*):
            Ids of the samples; empty where they were not recorded.
        columns (`dict[str, list]`, *optional*):
            Further columns of the samples, `None` where a sample has no value.
        weights (`dict[int, np.ndarray]`, *optional*):
            By epoch the weight of every sample, float32, as [`write_weights`] takes it; older runs recorded none.
        token_weights (`dict[int, TokenWeights]`, *optional*):
            By epoch how the weights of tokens were distributed; empty where only samples were weighted.
    """

    epochs: list[int]
    losses: np.ndarray
    is_correct: np.ndarray
    sample_ids: list[str] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    weights: dict[int, np.ndarray] = field(default_factory=dict)
    token_weights: dict[int, TokenWeights] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "LossHistory | None":
        """
        Read what the functions of this module wrote: `None` if no epoch was recorded. Files that a killed run
        left unfinished are passed over.
        """
        found = _readable(recorded_epochs(folder), _read_array)
        if not found:
            return None
        count = next(iter(found.values())).size
        found = {epoch: losses for epoch, losses in found.items() if losses.size == count}
        weights = _readable(recorded_epochs(folder, "weights-*.npy"), _read_array)
        tokens = _readable(recorded_epochs(folder, "token-weights-*.npz"), TokenWeights.read)
        samples = folder / SAMPLES_FILE
        rows = [row for _, row in read_jsonl(samples, on_malformed=_ignore)] if samples.is_file() else []
        # With fewer or more rows, of a run under way or of other data, it is not known which is which sample
        ids = [str(row.get("sample_id")) for row in rows] if len(rows) == count else []
        rows = rows[:count]
        names = {name: None for row in rows for name in row if name not in ("sample_id", LABEL_COLUMN)}
        return cls(
            epochs=list(found),
            losses=np.stack(list(found.values())).astype(np.float64),
            is_correct=_label_codes([row.get(LABEL_COLUMN) for row in rows], count),
            sample_ids=ids,
            columns={name: _padded([row.get(name) for row in rows], count) for name in names},
            weights={epoch: values for epoch, values in weights.items() if values.size == count},
            token_weights=tokens,
        )

    def __len__(self) -> int:
        return self.losses.shape[1]

    def gain(self, row: int) -> np.ndarray:
        """Fall of every sample's loss from the epoch before to that of the given row; NaN where one is unknown."""
        if row == 0 or self.epochs[row] != self.epochs[row - 1] + 1:
            return np.full(len(self), np.nan)
        return self.losses[row - 1] - self.losses[row]

    def gains(self) -> list[tuple[int, np.ndarray]]:
        """For each epoch that follows a recorded one, its number and every sample's gain."""
        return [
            (epoch, self.gain(row))
            for row, epoch in enumerate(self.epochs)
            if row > 0 and epoch == self.epochs[row - 1] + 1
        ]

    def values(self, column: str) -> list[Any]:
        """
        The values of a column, one for each sample. The label reads `"positive"` or `"negative"`.

        Raises:
            UserError: there is no such column.
        """
        if column == LABEL_COLUMN:
            names = {code: name for name, code in LABELS.items()}
            return [names.get(int(code)) for code in self.is_correct]
        if column not in self.columns:
            known = ", ".join([LABEL_COLUMN, *self.columns])
            raise UserError(f"the samples have no column {column!r} (there are {known}); join the data that has it")
        return self.columns[column]

    def join(self, rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> int:
        """
        Add columns of the rows that have the samples' ids.

        Args:
            rows (`Iterable[dict]`): rows with `sample_id`.
            columns (`Iterable[str]`): names of the columns to take from them.

        Returns:
            `int`: number of samples that a row was found for.

        Raises:
            UserError: the samples have no ids, or none of them stands in the rows.
        """
        if not self.sample_ids:
            raise UserError(
                f"{HISTORY_DIR}/{SAMPLES_FILE} is missing: without ids no other data can be joined to the losses"
            )
        position = {sample_id: index for index, sample_id in enumerate(self.sample_ids)}
        columns = list(columns)
        joined = {column: [None] * len(self) for column in columns}
        found = set()
        for row in rows:
            index = position.get(str(row.get("sample_id")))
            if index is not None:
                found.add(index)
                for column in columns:
                    joined[column][index] = row.get(column)
        if not found:
            raise UserError(
                f"none of the {len(self)} trained samples has its sample_id in the data to join; give the file that "
                "SFT was trained on"
            )
        for column, values in joined.items():
            if column == LABEL_COLUMN:
                self.is_correct = _label_codes(values, len(self))
            else:
                self.columns[column] = values
        return len(found)


def _label_codes(labels: list[Any], count: int) -> np.ndarray:
    codes = [-1 if label is None else int(bool(label)) for label in labels]
    return np.array(_padded(codes, count, -1), dtype=int)


def _padded(values: list[Any], count: int, filler: Any = None) -> list[Any]:
    return [*values, *[filler] * (count - len(values))]


def _ignore(line: MalformedLine) -> None:
    """A run that was killed leaves a last line without an end."""
