"""Rows from local files (JSONL, JSON, Parquet) or from the Hub, with the columns named as this package names them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UserError
from .columns import Fault, answer_as_text, cut_columns, find_fault, rename_columns, without_gaps
from .jsonl import MalformedLine
from .paths import expand_names, is_local
from .rejects import NoUsableRows, Reject
from .sources import NumberedRows, read_file, read_hub


if TYPE_CHECKING:
    import numpy as np
    import pyarrow


class Place(NamedTuple):
    """Where a row stands. `file` is the path, or the name of a data set on the Hub with its split; `unit` is `"line"`
    (JSONL) or `"row"`; `number` counts from 1."""

    file: str
    unit: str
    number: int

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.number}"


def iter_placed_rows(
    name: str | Sequence[str],
    *,
    split: str = "train",
    config_name: str | None = None,
    columns: Mapping[str, str] | None = None,
    patterns: Mapping[str, str] | None = None,
    required: Iterable[str] = (),
    limit: int | None = None,
    on_reject: Callable[[Reject], None] | None = None,
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """
    Read rows one at a time: what is in memory does not grow with the number of rows, but for a `.json` file's.

    Args:
        name (`str` or `list[str]`):
            Local `.jsonl`, `.json` (a list of objects) or `.parquet` file, a pattern of such files
            (`shards/*.jsonl`), or a data set on the Hub, which is streamed; several are read one after another.
            Environment variables in paths are expanded, see [`~glow_trl.stages.paths.expand_path`].
        split (`str`, *optional*, defaults to `"train"`):
            Split of a data set on the Hub.
        config_name (`str`, *optional*):
            Configuration of a data set on the Hub.
        columns (`dict[str, str]`, *optional*):
            Names in the data of columns that are named otherwise there: `{"answer": "gold"}` reads `answer` from
            the column `gold`.
        patterns (`dict[str, str]`, *optional*):
            Regular expressions that cut a column's text out, after renaming: `{"answer": r"#### (.+)"}`. The last
            match counts, its first group if there is one.
        required (`Iterable[str]`, *optional*):
            Columns, after renaming, that every row must have, with a value that is neither null nor blank.
        limit (`int`, *optional*):
            Number of usable rows to read at most, from the first on.
        on_reject (`Callable`, *optional*):
            Called with the [`~glow_trl.data.Reject`] of each row that cannot be used (broken JSON, no object, a
            column that is missing, null, blank or of the wrong type), which is then left out. By default the first
            such row is an error.

    Yields:
        `tuple[Place, dict]`: where the row stands, and the row, with a `sample_id`: the one that it has, as text, or
        file name and line. Whether they are unique is not checked here. What is missing in a row is `None`, however
        the file says so (NaN, for one). A number in `answer` becomes text: the letter
        of an option where the row has `choices`, which are counted from 0.

    Raises:
        UserError: a file is missing, unreadable or damaged, or a row cannot be used and `on_reject` was not given.
        NoUsableRows: no row can be used, or there is none.
    """
    count, rejected = 0, 0
    first: Reject | None = None

    def reject(fault: Reject) -> None:
        nonlocal first, rejected
        if on_reject is None:
            raise UserError(str(fault))
        first = first or fault
        rejected += 1
        on_reject(fault)

    sources = expand_names(name)
    for source in sources:
        left = None if limit is None else limit - count
        if left is not None and left <= 0:
            return
        reading = (source, split, config_name, columns or {}, patterns or {}, tuple(required), left)
        for item in iter_source(*reading, True, True, reject):
            count += 1
            yield item
    if not count and first is not None:
        raise NoUsableRows(f"none of {rejected:,} rows can be used; the first: {first}")
    if not count:
        raise NoUsableRows(f"{', '.join(sources)}: the data set is empty")


def load_rows(
    name: str | Sequence[str],
    *,
    split: str = "train",
    config_name: str | None = None,
    columns: Mapping[str, str] | None = None,
    patterns: Mapping[str, str] | None = None,
    required: Iterable[str] = (),
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """
    Load rows into memory.

    Args:
        name, split, config_name, columns, patterns, limit: as in [`iter_placed_rows`].
        required (`Iterable[str]`, *optional*): columns, after renaming, that every row must have, not null.

    Returns:
        `list[dict]`: the rows, with a `sample_id` that is unique over all of them: that of [`iter_placed_rows`],
        prefixed with the number of the source where two sources share one.

    Raises:
        UserError: a file is missing, unreadable or malformed (named by line), a required column is missing (the
            nearest is named), a source repeats a `sample_id`, or there are no rows.
    """
    import numpy as np
    import pyarrow

    # Downloaded once, a data set on the Hub is there for the next run too
    found = list(
        iter_sources(name, split, config_name, columns, patterns, required, limit, streaming=limit is not None)
    )
    sources = np.array([source for source, _, _ in found])
    rows = [row for _, _, row in found]
    if share_ids(pyarrow.array(row["sample_id"] for row in rows), sources, lambda index: found[index][1]):
        for source, row in zip(sources, rows, strict=True):
            row["sample_id"] = f"{source}/{row['sample_id']}"
    return rows


def iter_sources(
    name: str | Sequence[str],
    split: str = "train",
    config_name: str | None = None,
    columns: Mapping[str, str] | None = None,
    patterns: Mapping[str, str] | None = None,
    required: Iterable[str] = (),
    limit: int | None = None,
    streaming: bool = False,
) -> Iterator[tuple[int, Place, dict[str, Any]]]:
    """The rows of [`load_rows`] one at a time, with the number of their source, from 1, and their place in it."""
    total = 0
    for number, source in enumerate(expand_names(name), start=1):
        left = None if limit is None else limit - total
        if left is not None and left <= 0:
            return
        before = total
        reading = (source, split, config_name, columns or {}, patterns or {}, tuple(required), left)
        for place, row in iter_source(*reading, streaming):
            total += 1
            yield number, place, row
        if total == before:
            raise no_rows(source)


def no_rows(source: str) -> UserError:
    """The error for a source without rows."""
    return UserError(f"{source}: the data set is empty")


def share_ids(ids: "pyarrow.Array", sources: "np.ndarray", place: Callable[[int], Place]) -> bool:
    """
    Whether two sources share an id. `sources` is the number of each row's source, `place` tells where a row stands.

    Raises:
        UserError: one source has an id twice.
    """
    import numpy as np
    import pyarrow
    import pyarrow.compute

    table = pyarrow.table({"id": ids, "source": sources})
    distinct = table.group_by(["id", "source"]).aggregate([])
    if len(distinct) < len(table):
        rows = np.arange(len(table))
        firsts = table.append_column("row", pyarrow.array(rows)).group_by(["id", "source"], use_threads=False)
        firsts = firsts.aggregate([("row", "min")])["row_min"].to_numpy()
        second = int(np.setdiff1d(rows, firsts, assume_unique=True)[0])
        same = pyarrow.compute.equal(ids, ids[second]).to_numpy(zero_copy_only=False) & (sources == sources[second])
        first = place(int(np.flatnonzero(same)[0]))
        raise UserError(f"{place(second)}: sample_id {ids[second].as_py()!r} was used at {first.number} already")
    return len(pyarrow.compute.unique(distinct["id"])) < len(distinct)


def iter_source(
    source: str,
    split: str,
    config_name: str | None,
    columns: Mapping[str, str],
    patterns: Mapping[str, str],
    required: tuple[str, ...],
    limit: int | None,
    streaming: bool = False,
    strict: bool = False,
    on_reject: Callable[[Reject], None] | None = None,
    numbered: NumberedRows | None = None,
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """
    The usable rows of one source with their places; without `on_reject` the first bad row is raised. `numbered` are
    the rows that were read of it, by default all.
    """

    def malformed(error: MalformedLine) -> None:
        if on_reject is None:
            raise error
        reason, bracket, detail = error.problem.partition(" (")
        on_reject(Reject(str(error.path), error.line, reason, bracket + detail, text=error.text, unit=error.unit))

    if is_local(source):
        label, file, unit = Path(source).stem, source, "line" if source.endswith(".jsonl") else "row"
        numbered = numbered or read_file(Path(source), None if on_reject is None else malformed)
    else:
        label, file, unit = source, f"{source} (split {split})", "row"
        numbered = read_hub(source, split, config_name, streaming)

    count = 0
    while limit is None or count < limit:
        item = next(numbered, None)
        if item is None:
            return
        number, given = item
        shaped = rename_columns(without_gaps(given), columns)
        shaped = shaped if isinstance(shaped, Fault) else cut_columns(shaped, patterns)
        row, fault = ({}, shaped) if isinstance(shaped, Fault) else (shaped, find_fault(shaped, required, strict))
        if fault is not None:
            if on_reject is None:
                raise UserError(f"{Place(file, unit, number)}: {fault}")
            on_reject(Reject(file, number, fault.reason, fault.detail, row=given, unit=unit))
            continue
        count += 1
        if isinstance(row.get("answer"), int | float):
            row["answer"] = answer_as_text(row["answer"], row.get("choices"))
        sample_id = row.get("sample_id")
        row["sample_id"] = f"{label}:{number}" if sample_id is None else str(sample_id)
        yield Place(file, unit, number), row
