"""The identity of training samples: from the data set through packing and collation to the loss."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict
from trl import pack_dataset

from ..data.log_probs import UNKNOWN
from ..errors import UserError
from .reference import REF_LOG_PROBS


SAMPLE_ID = "sample_id"
SAMPLE_ROW = "sample_row"
NUM_TARGETS = "num_targets"
# Columns of a data set with a value for each token of a sample
BY_TOKEN = ("input_ids", "labels", REF_LOG_PROBS)

_FINGERPRINT_ROWS = 1000


def add_sample_ids(dataset: Dataset) -> Dataset:
    """
    Number the samples of a training set from 0, in the column `sample_id`, an int64. A column of that name is
    replaced: numbers that come with the data collide as soon as two data sets are concatenated, positions never do.
    Raises `UserError` for what is not a plain, unpacked [`~datasets.Dataset`] with rows.
    """
    if isinstance(dataset, (IterableDataset, IterableDatasetDict)):
        raise UserError(
            "GLOW needs to know each sample again in the next epoch, which a streaming data set does not allow: load "
            "it without streaming=True"
        )
    if isinstance(dataset, DatasetDict):
        raise UserError(f"train_dataset has several splits ({', '.join(map(str, dataset))}); pass one of them")
    if not isinstance(dataset, Dataset):
        raise UserError(
            f"train_dataset must be a datasets.Dataset, got {type(dataset).__name__}; use Dataset.from_list for rows"
        )
    if len(dataset) == 0:
        raise UserError("the training set is empty")
    if "seq_lengths" in dataset.column_names:
        raise UserError("the training set is packed already; pass it unpacked and set packing=True")
    if dataset.format["type"] == "custom":
        raise UserError("the training set uses with_transform(), which hides columns; apply the transform with map()")
    # A format that shows some of the columns only would hide the new one
    dataset = dataset.select_columns(dataset.format["columns"]).with_format(None)
    if SAMPLE_ID in dataset.column_names:
        dataset = dataset.remove_columns(SAMPLE_ID)
    return dataset.add_column(SAMPLE_ID, np.arange(len(dataset), dtype=np.int64))


def fingerprint(dataset: Dataset) -> str:
    """A short digest of a tokenized data set: its length, and the tokens of up to a thousand rows spread over it."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, num=min(len(dataset), _FINGERPRINT_ROWS), dtype=np.int64))
    digest = hashlib.blake2b(str(len(dataset)).encode(), digest_size=8)
    for input_ids in dataset.select(rows).with_format("numpy", columns=["input_ids"])["input_ids"]:
        digest.update(np.asarray(input_ids, dtype=np.int64).tobytes())
    return digest.hexdigest()


def truncate_samples(dataset: Dataset, max_length: int, mode: str, **map_kwargs) -> Dataset:
    """Cut tokenized samples to `max_length` tokens, all columns of [`BY_TOKEN`] alike, as `SFTTrainer` does."""
    part = slice(None, max_length) if mode == "keep_start" else slice(-max_length, None)
    return dataset.map(
        _cut, fn_kwargs={"part": part}, features=dataset.features, desc="Truncating train dataset", **map_kwargs
    )


def _cut(row: dict[str, Any], part: slice) -> dict[str, Any]:
    return {column: row[column][part] for column in BY_TOKEN if column in row}


def drop_samples_without_target(dataset: Dataset) -> Dataset:
    """Drop the tokenized samples that have no token to predict: they have no loss."""
    batches = dataset.with_format("numpy", columns=["labels"]).iter(batch_size=1000)
    has_target = [(np.asarray(labels)[1:] != -100).any() for batch in batches for labels in batch["labels"]]
    # A selection is slower to read from than the whole
    return dataset if all(has_target) else dataset.select(np.flatnonzero(has_target))


def check_samples_left(prepared: Dataset, dataset: Dataset, max_length: int | None, name: str) -> None:
    """Raise a `UserError` if `prepared`, which was made of `dataset`, has no rows."""
    if isinstance(prepared, IterableDataset) or len(prepared) > 0:
        return
    if len(dataset) == 0:
        raise UserError(f"the {name} is empty")
    raise UserError(
        f"none of the {len(dataset)} samples of the {name} has a target token left within max_length={max_length}: "
        "raise max_length, or check that the completions are not empty"
    )


def pack_samples(dataset: Dataset, max_length: int, strategy: str, **map_kwargs) -> Dataset:
    """
    Pack tokenized samples with [`~trl.pack_dataset`], with the column `sample_id` then holding one id for each
    sequence of a packed row.
    """

    def repeat_ids(batch):
        pairs = zip(batch["input_ids"], batch[SAMPLE_ID], strict=True)
        return {SAMPLE_ID: [np.full(len(ids), sample, dtype=np.int64) for ids, sample in pairs]}

    def first_ids(batch):
        starts = [np.cumsum([0, *lengths[:-1]]) for lengths in batch["seq_lengths"]]
        return {SAMPLE_ID: [np.asarray(ids)[first] for ids, first in zip(batch[SAMPLE_ID], starts, strict=True)]}

    map_kwargs = {"desc": "Packing train dataset", **map_kwargs}
    # Each sample's id stands at each of its tokens meanwhile, so that packing moves the ids along with the tokens
    columns = [name for name in ("input_ids", "labels", REF_LOG_PROBS, SAMPLE_ID) if name in dataset.column_names]
    dataset = dataset.select_columns(columns)
    dataset = dataset.map(repeat_ids, batched=True, remove_columns=SAMPLE_ID, **map_kwargs)
    dataset = pack_dataset(dataset, max_length, strategy, map_kwargs)
    return dataset.map(first_ids, batched=True, **map_kwargs)


@dataclass
class SampleIdCollator:
    """
    Wraps a data collator and adds to its batches, when the examples have numbers for ids,

    - `sample_id` (`torch.Tensor` of shape `(n,)`, int64): ids of the samples of the batch, in order; several for a
      packed row.
    - `sample_row` (`torch.Tensor` of shape `(n,)`, int64): number of the example that each came in.

    and, when the examples have them, `ref_log_probs` (`torch.Tensor` of the shape of `input_ids`, int32): the codes of
    the tokens' log-probabilities, with that of an unknown one for padding.
    """

    collator: Callable[[list[dict[str, Any]]], dict[str, Any]]

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        ours = (SAMPLE_ID, REF_LOG_PROBS)
        batch = self.collator([{k: v for k, v in example.items() if k not in ours} for example in examples])
        if all(REF_LOG_PROBS in example for example in examples):
            batch[REF_LOG_PROBS] = _padded([example[REF_LOG_PROBS] for example in examples], batch["input_ids"].shape)
        ids = [example.get(SAMPLE_ID) for example in examples]
        if all(type(row) is int for row in ids):
            batch[SAMPLE_ID], batch[SAMPLE_ROW] = torch.tensor(ids), torch.arange(len(ids))
            return batch
        packed = [np.atleast_1d(np.asarray(row)) for row in ids]
        # Rows of an evaluation set may bring ids of their own, of any type
        if all(row.dtype.kind == "i" for row in packed):
            batch[SAMPLE_ID] = torch.from_numpy(np.concatenate(packed))
            batch[SAMPLE_ROW] = torch.from_numpy(np.repeat(np.arange(len(packed)), [len(row) for row in packed]))
        return batch


def _padded(codes: list[Any], shape: torch.Size) -> torch.Tensor:
    """Codes of the examples' tokens in the shape of a batch: a row each, or all in one row; padding on the right."""
    padded = torch.full(shape, UNKNOWN, dtype=torch.int32)
    rows = [torch.as_tensor(np.asarray(row, dtype=np.int32)) for row in codes]
    rows = rows if shape[0] == len(rows) else [torch.cat(rows)]
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded


def sum_by_sample(values: torch.Tensor, num_samples: int, seq_idx: torch.Tensor | None = None) -> torch.Tensor:
    """
    Sum values at the predicted positions over each of `num_samples` samples of a batch, in float32.

    `values` has the shape `(batch_size, seq_len - 1)`: those of the tokens from the second on. `seq_idx`, of shape
    `(1, seq_len)`, is the sequence that each token of a packed or padding-free batch belongs to, counted from 0;
    higher numbers than `num_samples - 1` are padding.
    """
    if seq_idx is None:
        return values.sum(-1, dtype=torch.float32)
    # One bin more than there are samples collects the padding
    index = seq_idx[:, 1:].flatten().long().clamp(max=num_samples)
    sums = values.new_zeros(num_samples + 1, dtype=torch.float32)
    return sums.index_add(0, index, values.flatten().float())[:num_samples]
