"""Log-probabilities that came with the data, put beside the tokens that the student is trained on."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow
from datasets import Dataset, Features, List, Value

from ..data.log_probs import COMPLETION_IDS, LOG_PROBS, UNKNOWN, log_probs_of, read_row
from ..errors import UserError


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: The column of the codes of a row's log-probabilities, one for each of its tokens.
REF_LOG_PROBS = "ref_log_probs"

_FAULT = "log_probs_fault"
# In place of the number of a token
_NONE, _MISSING = -1, -2
_IGNORED = -100
_WAY_OUT = (
    "The log-probabilities must be those of the student's own tokens: `glow-trl loss --write_log_probs true` measures "
    "them, with any model that has the student's tokenizer and chat template"
)


class UnalignedSample(UserError):
    """A sample has no log-probabilities of the student's tokens. `row` is its number."""

    def __init__(self, message: str, row: int):
        super().__init__(message)
        self.row = row


def align_log_probs(dataset: Dataset, tokenizer: "PreTrainedTokenizerBase", max_length: int | None = None) -> Dataset:
    """
    Put the columns `log_probs` and `completion_ids` of a tokenized, unpacked data set beside its tokens: in their
    place it gets `ref_log_probs`, a uint16 for each of the `input_ids`, see
    [`~glow_trl.data.log_probs.log_probs_of`].

    The tokens that the loss is on, from a row's first label to its end, must be those of `completion_ids`. Unknown is
    the log-probability of the prompt's tokens, and of those with which the chat template closes the answer behind the
    last one that was sampled: these have no text but spaces.

    Args:
        dataset (`Dataset`):
            With `input_ids` and `labels`, and the two columns, each text or list.
        tokenizer (`PreTrainedTokenizerBase`):
            The student's.
        max_length (`int`, *optional*):
            Rows end, or will be cut, after so many tokens: what comes behind is not compared, and unknown.

    Raises:
        UnalignedSample: the log-probabilities of a row are those of other tokens, cannot be read or are not there.
        UserError: no row has any.
    """
    for column in (LOG_PROBS, COMPLETION_IDS):
        if column not in dataset.column_names:
            raise UserError(f"the training set has no column {column!r}. {_WAY_OUT}")
    features = Features(
        {name: feature for name, feature in dataset.features.items() if name not in (LOG_PROBS, COMPLETION_IDS)}
        | {REF_LOG_PROBS: List(Value("uint16")), _FAULT: Value("int64")}
    )
    aligned = dataset.with_format("arrow").map(
        _align,
        batched=True,
        features=features,
        remove_columns=[LOG_PROBS, COMPLETION_IDS],
        fn_kwargs={
            "tokenizer": tokenizer,
            "max_length": max_length,
            "schema": features.arrow_schema,
        },
        desc="Aligning log-probabilities",
    )
    faults = aligned.select_columns(_FAULT)[:][_FAULT].to_numpy()
    if (faults != _NONE).any():
        raise _error(dataset.with_format(None), faults, tokenizer)
    return aligned.remove_columns(_FAULT).with_format(None)


def initial_losses(dataset: Dataset) -> np.ndarray:
    """
    The mean loss of each row of an aligned data set, over its labels whose log-probability is known; NaN where there
    is none. Of shape `(rows,)`, float32.
    """
    losses = []
    for batch in dataset.select_columns([REF_LOG_PROBS, "labels"]).with_format("arrow").iter(1000):
        (lengths, codes), (_, labels) = _flat(batch[REF_LOG_PROBS]), _flat(batch["labels"])
        counts = (codes != UNKNOWN) & (labels != _IGNORED)
        row = np.repeat(np.arange(len(lengths)), lengths)[counts]
        sums = np.bincount(row, -log_probs_of(codes[counts]), minlength=len(lengths))
        with np.errstate(invalid="ignore"):
            losses.append(sums / np.bincount(row, minlength=len(lengths)))
    return np.concatenate(losses).astype(np.float32)


def _align(
    table: pyarrow.Table, tokenizer: "PreTrainedTokenizerBase", max_length: int | None, schema: pyarrow.Schema
) -> pyarrow.Table:
    """The rows with `ref_log_probs`, and the number of the first token of each that is another, or [`_NONE`]."""
    (lengths, student), (_, labels) = _flat(table["input_ids"]), _flat(table["labels"])
    ends = np.cumsum(lengths)
    begins = ends - lengths
    row = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(student)) - begins[row]
    targets = np.flatnonzero(labels != _IGNORED)
    # Of each row the place of its first target, its length where it has none, and the places that are looked at
    first = np.minimum(np.append(targets, len(student))[np.searchsorted(targets, begins)], ends) - begins
    seen = lengths if max_length is None else np.minimum(lengths, max_length)
    is_cut = lengths >= (np.inf if max_length is None else max_length)

    missing, sampled, ids, codes = _read(table)
    token = place - first[row]
    has_sampled = (token >= 0) & (place < seen[row]) & (token < sampled[row])
    place_in_ids = (np.cumsum(sampled) - sampled)[row[has_sampled]] + token[has_sampled]
    is_other = np.zeros(len(student), dtype=bool)
    is_other[has_sampled] = student[has_sampled] != ids[place_in_ids]
    # Behind what was sampled the template may close the answer
    is_further = (token >= sampled[row]) & (place < seen[row])
    further, number = np.unique(student[is_further], return_inverse=True)
    texts = [tokenizer.decode([token_id], skip_special_tokens=True) for token_id in further.tolist()]
    is_other[is_further] = np.array([bool(text.strip()) for text in texts], dtype=bool)[number]

    faults = np.full(len(lengths), _NONE)
    too_many = (sampled > np.maximum(seen - first, 0)) & ~is_cut
    faults[too_many] = (seen - first)[too_many]
    others = np.flatnonzero(is_other)[::-1]
    # Of several values for a row the last one stays: the first token
    faults[row[others]] = token[others]
    faults[missing] = _MISSING

    aligned = np.full(len(student), UNKNOWN, dtype=np.uint16)
    aligned[has_sampled] = codes[place_in_ids]
    offsets = pyarrow.array(np.append(0, ends), "int32")
    columns = {name: table[name] for name in schema.names if name in table.column_names}
    columns[REF_LOG_PROBS] = pyarrow.ListArray.from_arrays(offsets, pyarrow.array(aligned))
    columns[_FAULT] = pyarrow.array(faults)
    return pyarrow.table([columns[name] for name in schema.names], schema=schema)


def _read(table: pyarrow.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Which rows have no log-probabilities; how many tokens each has, and the ids and codes of them all."""
    columns = {name: table[name].to_pylist() for name in (LOG_PROBS, COMPLETION_IDS)}
    missing = np.zeros(len(table), dtype=bool)
    ids, codes = [], []
    for number, pair in enumerate(zip(*columns.values(), strict=True)):
        missing[number] = None in pair
        try:
            row_ids, row_codes = read_row(dict(zip(columns, ("", "") if missing[number] else pair, strict=True)))
        except UserError as error:
            name = table["sample_id"][number].as_py() if "sample_id" in table.column_names else number
            raise UnalignedSample(f"sample {name} of the training set: {error}", name) from error
        ids.append(row_ids)
        codes.append(row_codes)
    return missing, np.array(list(map(len, ids))), np.concatenate(ids), np.concatenate(codes)


def _flat(column: pyarrow.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """How many values each list of a column has, and the values of all."""
    lists = column.combine_chunks()
    return np.diff(lists.offsets.to_numpy()).astype(np.int64), lists.flatten().to_numpy(zero_copy_only=False)


def _error(dataset: Dataset, faults: np.ndarray, tokenizer: "PreTrainedTokenizerBase") -> UnalignedSample:
    """What to say of the first row that has a fault."""
    count, total = int((faults != _NONE).sum()), len(faults)
    number = int((faults != _NONE).argmax())
    row: dict[str, Any] = dataset[number]
    name = row.get("sample_id", number)
    if faults[number] == _MISSING:
        message = f"sample {name} of the training set has no log-probabilities ({count:,} of {total:,} samples)"
        return UnalignedSample(f"{message}. {_WAY_OUT}", number)
    sampled, _ = read_row(row)
    targets = [place for place, label in enumerate(row["labels"]) if label != _IGNORED]
    student = row["input_ids"][targets[0] :] if targets else []
    token = int(faults[number])
    return UnalignedSample(
        f"the log-probabilities of sample {name} of the training set belong to other tokens than the student's: token "
        f"{token + 1} is {_described(sampled, token, tokenizer)} in {COMPLETION_IDS} and "
        f"{_described(student, token, tokenizer)} for the student ({count:,} of {total:,} samples differ). {_WAY_OUT}",
        number,
    )


def _described(ids: Any, token: int, tokenizer: "PreTrainedTokenizerBase") -> str:
    if token >= len(ids):
        return "missing"
    return f"{ids[token]} {tokenizer.decode([int(ids[token])])!r}"
