"""The losses that an SFT stage wrote down, with the columns of its samples, and the weights that followed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from . import MalformedLine, read_jsonl


LABELS = {"positive": 1, "negative": 0}
LABEL_COLUMN = "is_correct"

# Defaults of `GLOWConfig`, repeated here so that reading a run does not load TRL; a test compares them
_WEIGHTING_DEFAULTS = {
    "weighting": "glow",
    "glow_alpha": 1.0,
    "glow_beta": 20.0,
    "glow_min_weight": 0.5,
    "glow_max_weight": 5.0,
    "glow_normalization": "none",
    "glow_warmup_epochs": 1,
}


@dataclass(frozen=True)
class Weighting:
    """The settings of GLOW that a stage was trained with.

    Args:
        alpha (`float`), beta (`float`), min_weight (`float`), max_weight (`float`), warmup_epochs (`int`),
        normalization (`str`), weighting (`str`): as in [`~glow_trl.GLOWConfig`].
    """

    alpha: float
    beta: float
    min_weight: float
    max_weight: float
    warmup_epochs: int
    normalization: str
    weighting: str = "glow"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Weighting":
        """From the settings in a stage's `run.json`; what they leave out has its default."""
        settings = {key: config.get(key, default) for key, default in _WEIGHTING_DEFAULTS.items()}
        return cls(
            alpha=float(settings["glow_alpha"]),
            beta=float(settings["glow_beta"]),
            min_weight=float(settings["glow_min_weight"]),
            max_weight=float(settings["glow_max_weight"]),
            warmup_epochs=int(settings["glow_warmup_epochs"]),
            normalization=settings["glow_normalization"],
            weighting=settings["weighting"],
        )

    def weights(self, gains: np.ndarray, epoch: int) -> np.ndarray:
        """
        The weight of each sample before any normalization.

        Args:
            gains (`np.ndarray`): gains of an epoch, NaN for a sample without one.
            epoch (`int`): number of the epoch, counted from 1.

        Returns:
            `np.ndarray`: float64, of the shape of `gains`; 1 for a sample without a gain.
        """
        gains = np.asarray(gains, dtype=np.float64)
        if self.weighting == "uniform" or epoch <= self.warmup_epochs:
            return np.ones_like(gains)
        if self.weighting == "constant":
            gains = gains * 0.0
        import torch

        from ..weighting import glow_weights

        return glow_weights(torch.from_numpy(gains), self.alpha, self.beta, self.min_weight, self.max_weight).numpy()


@dataclass
class LedgerData:
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
    """

    epochs: list[int]
    losses: np.ndarray
    is_correct: np.ndarray
    sample_ids: list[str] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)

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

    def weights(self, row: int, weighting: Weighting) -> np.ndarray:
        """Weight of every sample in the epoch of the given row, before any normalization; NaN where not visited."""
        weights = weighting.weights(self.gain(row), self.epochs[row])
        return np.where(np.isnan(self.losses[row]), np.nan, weights)

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
            raise UserError("ledger/samples.jsonl is missing: without ids no other data can be joined to the losses")
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


def read_ledger(folder: Path) -> LedgerData | None:
    """
    Read `epoch-001.npy`, ... and `samples.jsonl` of a ledger's folder.

    Returns:
        [`LedgerData`], or `None` if no epoch was recorded. Files that a killed run left unfinished are passed over.
    """
    found = []
    for path in sorted(folder.glob("epoch-*.npy"), key=lambda path: (len(path.name), path.name)):
        try:
            losses = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            continue
        number = path.stem.removeprefix("epoch-")
        if number.isdigit() and losses.ndim == 1 and losses.size:
            found.append((int(number), losses.astype(np.float64)))
    found = [(epoch, losses) for epoch, losses in found if losses.shape == found[0][1].shape]
    if not found:
        return None
    rows = _rows(folder / "samples.jsonl")
    count = found[0][1].size
    if len(rows) != count:
        # Of a run under way, or of other data: which row is which sample is then not known
        rows = rows[:count] if len(rows) > count else rows
    names = {name: None for row in rows for name in row if name not in ("sample_id", LABEL_COLUMN)}
    return LedgerData(
        epochs=[epoch for epoch, _ in found],
        losses=np.stack([losses for _, losses in found]),
        is_correct=_label_codes([row.get(LABEL_COLUMN) for row in rows], count),
        sample_ids=[str(row.get("sample_id")) for row in rows] if len(rows) == count else [],
        columns={name: _padded([row.get(name) for row in rows], count) for name in names},
    )


def _label_codes(labels: list[Any], count: int) -> np.ndarray:
    codes = [-1 if label is None else int(bool(label)) for label in labels]
    return np.array(_padded(codes, count, -1), dtype=int)


def _padded(values: list[Any], count: int, filler: Any = None) -> list[Any]:
    return [*values, *[filler] * (count - len(values))]


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [row for _, row in read_jsonl(path, on_malformed=_ignore)]


def _ignore(line: MalformedLine) -> None:
    """A run that was killed leaves a last line without an end."""
