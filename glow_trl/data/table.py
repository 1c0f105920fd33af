"""Rows as a memory-mapped table: made once for all processes of a machine, and kept in the cache of `datasets`."""

import hashlib
import itertools
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

import datasets
import numpy as np
import pyarrow
from datasets import Dataset, Features, List, Value

from ..stages.files import read_json, write_json
from ..stages.fingerprint import fingerprint
from ..version import __version__
from .load import Place, iter_sources, share_ids
from .paths import expand_names, is_local
from .sources import load_hub


# A conversation in a data set, as TRL reads it
MESSAGES = [{"role": Value("string"), "content": Value("string")}]

# Changed when the same files give other tables
_FORMAT = 1
_FEATURES = Features(
    {
        "row": Value("large_string"),
        "sample_id": Value("string"),
        "source": Value("int32"),
        "number": Value("int64"),
        "is_correct": Value("int8"),
        "question": [Value("int64")],
    }
)
# To JSON; what has no place there, as a date of a Parquet file, is its text
_encode = json.JSONEncoder(default=str).encode
_TWO_NUMBERS = struct.Struct("=qq")
_FACTS_FILE = "facts.json"
_ROWS_AT_ONCE = 1000
# Below this size nobody waits for a table
_WORTH_A_BAR = 50 << 20
_TYPES = {
    ("bool",): Value("bool"),
    ("int",): Value("int64"),
    ("float",): Value("float64"),
    ("float", "int"): Value("float64"),
    ("str",): Value("string"),
    ("list of str",): List(Value("string")),
}


class RowTable(Sequence):
    """
    Rows that are read where they lie: in memory is what is looked at. Each is a `dict`, as
    [`~glow_trl.data.load_rows`] gives it.

    Args:
        dataset (`Dataset`):
            With the columns `row` (JSON), `sample_id`, `source` (its number), `number` (of the line or row in it),
            `is_correct` (1, 0, or -1 where there is no label) and `question` (a digest of the problem).
        types (`dict[str, list[str]]`):
            The types of the values that the rows have in each column, nulls aside.
    """

    def __init__(self, dataset: Dataset, types: Mapping[str, list[str]]):
        self.dataset = dataset
        self.types = types

    def __len__(self) -> int:
        return len(self.dataset)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> "RowTable": ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.select(range(*index.indices(len(self))))
        return _row(**self.dataset.select_columns(["row", "sample_id"])[index])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.dataset.select_columns(["row", "sample_id"]).iter(batch_size=_ROWS_AT_ONCE):
            yield from map(_row, batch["row"], batch["sample_id"])

    def select(self, indices: Sequence[int] | np.ndarray) -> "RowTable":
        """The rows at some positions."""
        return RowTable(self.dataset.select(indices), self.types)

    @property
    def labels(self) -> np.ndarray:
        """1, 0, or -1 where there is no label; of shape `(rows,)`, int8."""
        return self._numbers("is_correct")

    @property
    def problems(self) -> np.ndarray:
        """The number of each row's problem, in the order in which they first appear; of shape `(rows,)`, int64."""
        digests = self._numbers("question")
        order = np.lexsort((digests[:, 1], digests[:, 0]))
        new = np.ones(len(order), dtype=bool)
        new[1:] = (digests[order[1:]] != digests[order[:-1]]).any(axis=1)
        firsts = order[new]
        numbers = np.empty(len(firsts), dtype=np.int64)
        numbers[np.argsort(firsts)] = np.arange(len(firsts))
        problems = np.empty(len(order), dtype=np.int64)
        problems[order] = numbers[np.cumsum(new) - 1]
        return problems

    def distinct_questions(self) -> "RowTable":
        """One row for each problem: the last one, in the place of the first."""
        problems = self.problems
        lasts = np.empty(int(problems.max()) + 1, dtype=np.int64)
        lasts[problems] = np.arange(len(problems))
        return self if len(lasts) == len(self) else self.select(lasts)

    def features(self, columns: Iterable[str]) -> Features:
        """The columns of some names that any row has a value in, with their types; what has several is JSON."""
        return Features(
            {name: _TYPES.get(tuple(self.types[name]), Value("string")) for name in columns if self.types.get(name)}
        )

    def map(self, function: Callable[..., list[dict[str, Any]]], features: Features, **arguments: Any) -> Dataset:
        """
        The data set that a function of this package makes of the rows, batch by batch: `function(rows, **arguments)`
        gives a row for each. It is made once, too, and kept in the cache.
        """
        with bars_for(sum(Path(file["filename"]).stat().st_size for file in self.dataset.cache_files)):
            return self.dataset.map(
                _apply,
                batched=True,
                remove_columns=self.dataset.column_names,
                features=features,
                fn_kwargs={
                    "function": function,
                    "arguments": arguments,
                    "schema": features.arrow_schema,
                    "version": __version__,
                },
            )

    def _numbers(self, column: str) -> np.ndarray:
        return np.asarray(self.dataset.with_format("numpy", columns=[column])[:][column])


def load_table(
    name: str | Sequence[str],
    *,
    split: str = "train",
    config_name: str | None = None,
    columns: Mapping[str, str] | None = None,
    patterns: Mapping[str, str] | None = None,
    required: Iterable[str] = (),
    limit: int | None = None,
) -> RowTable:
    """
    The rows of [`~glow_trl.data.load_rows`], which has the same arguments and errors, as a table: private memory does
    not grow with their number. What was read before, by this process or another, is taken from the cache.
    """
    sources, required = expand_names(name), tuple(required)
    contents = [
        fingerprint(source)
        if is_local(source)
        else [file["filename"] for file in load_hub(source, split, config_name).cache_files]
        for source in sources
    ]
    key = [_FORMAT, __version__, sources, contents, dict(columns or {}), dict(patterns or {}), required, limit]
    digest = hashlib.sha256(json.dumps(key).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    types: dict[str, set[str]] = {}
    reading = {"name": sources, "split": split, "config_name": config_name, "columns": columns}
    reading["patterns"] = patterns
    size = sum(Path(source).stat().st_size for source in sources if is_local(source) and Path(source).is_file())
    try:
        with bars_for(size):
            builder = _Builder(_batches(reading | {"required": required, "limit": limit}, types), digest)
            builder.download_and_prepare()
            dataset = builder.as_dataset(datasets.Split.TRAIN)
    except datasets.exceptions.DatasetGenerationError as error:
        # A bad row, or a full disk: `datasets` puts an error of its own around it
        raise error.__cause__ or error from None
    return _checked(dataset, types, sources, split)


@contextmanager
def bars_for(size: int) -> Iterator[None]:
    """No progress bars of `datasets` in a block that reads so few bytes that nobody waits for it."""
    quiet = size < _WORTH_A_BAR and datasets.is_progress_bar_enabled()
    if quiet:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if quiet:
            datasets.enable_progress_bars()


class _Builder(datasets.ArrowBasedBuilder):
    """Writes tables into a folder of the cache that has the digest in its name, unless they are there."""

    def __init__(self, tables: Iterator[pyarrow.Table], digest: str):
        self._tables = tables
        super().__init__(dataset_name="rows", config_id=digest)

    def _info(self):
        return datasets.DatasetInfo(features=_FEATURES)

    def _split_generators(self, dl_manager):
        return [datasets.SplitGenerator(datasets.Split.TRAIN)]

    def _generate_tables(self):
        return enumerate(self._tables)


def _batches(reading: dict[str, Any], types: dict[str, set[str]]) -> Iterator[pyarrow.Table]:
    rows = iter_sources(**reading)
    schema = _FEATURES.arrow_schema
    while batch := [_record(*item, types) for item in itertools.islice(rows, _ROWS_AT_ONCE)]:
        columns = zip(*batch, strict=True)
        yield pyarrow.table(dict(zip(schema.names, map(list, columns), strict=True)), schema=schema)


def _record(source: int, place: Place, row: dict[str, Any], types: dict[str, set[str]]) -> tuple[Any, ...]:
    """What the table has of a row: the values of its columns, in their order."""
    _note_types(row, types)
    digest = hashlib.blake2b(repr(row.get("problem")).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    label = row.get("is_correct")
    return (
        _encode(row),
        row["sample_id"],
        source,
        place.number,
        -1 if label is None else int(label),
        _TWO_NUMBERS.unpack(digest),
    )


def _note_types(row: Mapping[str, Any], types: dict[str, set[str]]) -> None:
    for name, value in row.items():
        if value is None:
            continue
        kind = type(value).__name__
        if kind == "list":
            kind = " or ".join(sorted({f"list of {type(item).__name__}" for item in value}))
        if kind:
            types.setdefault(name, set()).add(kind)


def _checked(dataset: Dataset, types: Mapping[str, set[str]], sources: Sequence[str], split: str) -> RowTable:
    """The table with its ids checked, and prefixed with the source's number where two sources share one."""
    file = Path(dataset.cache_files[0]["filename"]).with_name(_FACTS_FILE)
    facts = read_json(file)
    if facts is None:
        if not types:  # a process was killed before it wrote them
            types = {}
            for row in RowTable(dataset, {}):
                _note_types(row, types)
        columns = dataset.data

        def place(index: int) -> Place:
            source = sources[columns["source"][index].as_py() - 1]
            unit = "line" if source.endswith(".jsonl") else "row"
            name = source if is_local(source) else f"{source} (split {split})"
            return Place(name, unit, columns["number"][index].as_py())

        facts = {
            "shared": share_ids(columns["sample_id"], columns["source"].to_numpy(), place),
            "types": {name: sorted(kinds) for name, kinds in types.items()},
        }
        write_json(file, facts)
    if facts["shared"]:
        with bars_for(0):
            dataset = dataset.map(_prefixed, batched=True)
    return RowTable(dataset, facts["types"])


def _prefixed(batch: dict[str, list]) -> dict[str, list]:
    pairs = zip(batch["source"], batch["sample_id"], strict=True)
    return {"sample_id": [f"{source}/{name}" for source, name in pairs]}


def _row(row: str, sample_id: str) -> dict[str, Any]:
    return json.loads(row) | {"sample_id": sample_id}


def _apply(
    batch: dict[str, list], function: Callable, arguments: dict[str, Any], schema: pyarrow.Schema, version: str
) -> pyarrow.Table:
    made = function(list(map(_row, batch["row"], batch["sample_id"])), **arguments)
    columns = {}
    for field in schema:
        values = [row.get(field.name) for row in made]
        columns[field.name] = list(map(_text, values)) if field.type == pyarrow.string() else values
    return pyarrow.table(columns, schema=schema)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
