"""Rows as a memory-mapped table: made once for all processes of a machine, and kept in the cache of `datasets`."""

import functools
import hashlib
import io
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
import pyarrow.compute as compute
import xxhash
from datasets import Dataset, Features, List, Value
from filelock import FileLock

from ..stages.files import read_json, write_json
from ..stages.fingerprint import fingerprint
from ..version import __version__
from .columnar import column_types, conversations, is_usable, join_lines, parse_lines, read_blocks, split_lines
from .jsonl import numbered_rows
from .load import Place, iter_source, iter_sources, no_rows, share_ids
from .paths import expand_names, is_local
from .prompts import build_prompt
from .sources import load_hub


# A conversation in a data set, as TRL reads it
MESSAGES = [{"role": Value("string"), "content": Value("string")}]

# Changed when the same files give other tables
_FORMAT = 2
_FEATURES = Features(
    {
        "row": Value("large_string"),
        "sample_id": Value("string"),
        "source": Value("int32"),
        "number": Value("int64"),
        "is_correct": Value("int8"),
        "question": List(Value("int64"), length=2),
    }
)
# To JSON; what has no place there, as a date of a Parquet file, is its text
_encode = json.JSONEncoder(default=str).encode
# No text is this in UTF-8
_NO_TEXT = b"\xff"
_TWO_NUMBERS = struct.Struct("=qq")
_FACTS_FILE = "facts.json"
_ROWS_AT_ONCE = 1000
# Bytes of a row up to which it is ten times as many
_SHORT_ROW = 1000
# Stands for a question in what is asked; no other text in a table has it
_QUESTION = "\ud800"
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
            With the columns `row` (a line of JSON), `sample_id`, `source` (its number), `number` (of the line or row
            in it), `is_correct` (1, 0, or -1 where there is no label) and `question` (a digest of the problem).
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
        starts = np.sort(self._numbers("question")[:, 0])
        if (starts[1:] != starts[:-1]).all():
            return self
        problems = self.problems
        lasts = np.empty(int(problems.max()) + 1, dtype=np.int64)
        lasts[problems] = np.arange(len(problems))
        return self.select(lasts)

    def features(self, columns: Iterable[str]) -> Features:
        """The columns of some names that any row has a value in, with their types; what has several is JSON."""
        return Features(
            {name: _TYPES.get(tuple(self.types[name]), Value("string")) for name in columns if self.types.get(name)}
        )

    def map(self, function: Callable[..., Mapping[str, Any]], features: Features, **arguments: Any) -> Dataset:
        """
        The data set that a function of this package makes of the rows, batch by batch: `function(rows, **arguments)`
        gives the columns that it makes, of `features`, of some [`Rows`]; the others are the rows' own. It is made
        once, too, and kept in the cache.
        """
        size = sum(Path(file["filename"]).stat().st_size for file in self.dataset.cache_files)
        with bars_for(size):
            made = self.dataset.with_format("arrow").map(
                _apply,
                batched=True,
                batch_size=_ROWS_AT_ONCE if size > _SHORT_ROW * len(self) else 10 * _ROWS_AT_ONCE,
                remove_columns=self.dataset.column_names,
                features=features,
                fn_kwargs={
                    "function": function,
                    "arguments": arguments,
                    "schema": features.arrow_schema,
                    "version": __version__,
                },
            )
        return made.with_format(None)

    def _numbers(self, column: str) -> np.ndarray:
        values = self.dataset.select_columns(column).with_format("arrow")[:][column].combine_chunks()
        if pyarrow.types.is_fixed_size_list(values.type):
            return values.flatten().to_numpy().reshape(len(values), -1)
        return values.to_numpy()


class Rows(Sequence):
    """
    Rows that a function of [`RowTable.map`] is given: each is a `dict`, which is made when it is looked at.

    Args:
        table (`pyarrow.Table`): with the columns `row` and `sample_id`.
    """

    def __init__(self, table: pyarrow.Table):
        self._lines = table["row"].combine_chunks()
        self.ids = table["sample_id"].combine_chunks()

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index):
        return _row(self._lines[index].as_py(), self.ids[index].as_py())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(_row, self._lines.to_pylist(), self.ids.to_pylist())

    @functools.cached_property
    def columns(self) -> pyarrow.Table | None:
        """The rows in columns; `None` where they are not plain enough, see [`~glow_trl.data.columnar.parse_lines`]."""
        return parse_lines(join_lines(self._lines))

    def prompts(self, system_prompt: str | None, prompt_template: str | None) -> Any:
        """The prompt of each row's question, see [`~glow_trl.data.build_prompt`]."""
        if self.columns is None or "choices" in column_types(self.columns):
            return [build_prompt(row["problem"], system_prompt, prompt_template, row.get("choices")) for row in self]
        # Each of them is this one but for the question
        asked = build_prompt(_QUESTION, system_prompt, prompt_template)
        problems = self.columns["problem"].combine_chunks()
        turns = []
        for message in asked:
            before, *others = message["content"].split(_QUESTION)
            pieces = [before, *(piece for other in others for piece in (problems, other))]
            turns.append((message["role"], compute.binary_join_element_wise(*pieces, "") if others else before))
        return conversations(turns, len(self))

    def completions(self) -> Any:
        """The turn that answers each row's prompt."""
        if self.columns is None:
            return [[{"role": "assistant", "content": row["completion"]}] for row in self]
        return conversations([("assistant", self.columns["completion"].combine_chunks())], len(self))

    def own(self, field: pyarrow.Field) -> Any:
        """The values of a column as one of the field's type; of a text's, other values are JSON."""
        if field.name == "sample_id":
            return self.ids
        if self.columns is not None:
            if field.name not in self.columns.column_names:
                return pyarrow.nulls(len(self), field.type)
            column = self.columns[field.name]
            if column.type == field.type or column.null_count == len(self):
                return column.cast(field.type)
        values = [row.get(field.name) for row in self]
        return list(map(_text, values)) if field.type == pyarrow.string() else values


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
    sources, required = reading["name"], reading["required"]
    in_lines = all(is_local(source) and source.endswith(".jsonl") for source in sources)
    if not in_lines or reading["columns"] or reading["patterns"] or reading["limit"] is not None:
        yield from _tables(iter_sources(**reading), types)
        return
    for source, name in enumerate(sources, start=1):
        path, found = Path(name), False
        for first, block in read_blocks(path):
            lines = block if block.endswith(b"\n") else block + b"\n"
            columns = parse_lines(lines)
            if columns is not None and is_usable(columns, required):
                found = True
                yield _table(source, path.stem, first, lines, columns, types)
                continue
            numbered = numbered_rows(path, io.BytesIO(block), first=first)
            rows = iter_source(name, "", None, {}, {}, required, None, numbered=numbered)
            for table in _tables(((source, *item) for item in rows), types):
                found = True
                yield table
        if not found:
            raise no_rows(name)


def _table(
    source: int, label: str, first: int, lines: bytes, columns: pyarrow.Table, types: dict[str, set[str]]
) -> pyarrow.Table:
    """The rows of a block of lines, which stand as they are for what JSON would make of them."""
    for name, kind in {**column_types(columns), "sample_id": "str"}.items():
        types.setdefault(name, set()).add(kind)
    count = len(columns)
    numbers = pyarrow.array(np.arange(first, first + count))
    ids = compute.binary_join_element_wise(f"{label}:", numbers.cast("string"), "")
    label_column = columns["is_correct"] if "is_correct" in columns.column_names else pyarrow.nulls(count, "bool")
    texts = compute.fill_null(columns["problem"].cast("binary"), _NO_TEXT)
    digests = b"".join(map(xxhash.xxh3_128_digest, texts.to_pylist()))
    return pyarrow.table(
        [
            split_lines(lines),
            compute.coalesce(columns["sample_id"], ids),
            pyarrow.repeat(pyarrow.scalar(source, "int32"), count),
            numbers,
            compute.fill_null(label_column.cast("int8"), -1),
            pyarrow.FixedSizeListArray.from_arrays(np.frombuffer(digests, dtype=np.int64), 2),
        ],
        schema=_FEATURES.arrow_schema,
    )


def _tables(rows: Iterator[tuple[int, Place, dict[str, Any]]], types: dict[str, set[str]]) -> Iterator[pyarrow.Table]:
    schema = _FEATURES.arrow_schema
    while batch := [_record(*item, types) for item in itertools.islice(rows, _ROWS_AT_ONCE)]:
        columns = zip(*batch, strict=True)
        yield pyarrow.table(dict(zip(schema.names, map(list, columns), strict=True)), schema=schema)


def _record(source: int, place: Place, row: dict[str, Any], types: dict[str, set[str]]) -> tuple[Any, ...]:
    """What the table has of a row: the values of its columns, in their order."""
    _note_types(row, types)
    label, problem = row.get("is_correct"), row.get("problem")
    text = _NO_TEXT if problem is None else problem.encode("utf-8", "surrogatepass")
    return (
        _encode(row) + "\n",
        row["sample_id"],
        source,
        place.number,
        -1 if label is None else int(label),
        _TWO_NUMBERS.unpack(xxhash.xxh3_128_digest(text)),
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
        # Other machines of this run, or other runs with the same data, may be at it too
        with FileLock(file.with_suffix(".lock")):
            facts = read_json(file)
            if facts is None:
                facts = _find_facts(dataset, types, sources, split)
                write_json(file, facts)
    if facts["shared"]:
        with bars_for(0):
            dataset = dataset.map(_prefixed, batched=True)
    return RowTable(dataset, facts["types"])


def _find_facts(dataset: Dataset, types: Mapping[str, set[str]], sources: Sequence[str], split: str) -> dict[str, Any]:
    """Whether two sources share ids, and the types in each column; an id that one source has twice is an error."""
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

    return {
        "shared": share_ids(columns["sample_id"], columns["source"].to_numpy(), place),
        "types": {name: sorted(kinds) for name, kinds in types.items()},
    }


def _prefixed(batch: dict[str, list]) -> dict[str, list]:
    pairs = zip(batch["source"], batch["sample_id"], strict=True)
    return {"sample_id": [f"{source}/{name}" for source, name in pairs]}


def _row(row: str, sample_id: str) -> dict[str, Any]:
    return json.loads(row) | {"sample_id": sample_id}


def _apply(
    table: pyarrow.Table, function: Callable, arguments: dict[str, Any], schema: pyarrow.Schema, version: str
) -> pyarrow.Table:
    rows = Rows(table)
    made = function(rows, **arguments)
    columns = {name: made[name] if name in made else rows.own(schema.field(name)) for name in schema.names}
    return pyarrow.table(columns, schema=schema)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
