"""Samples on disk: JSONL shards that are appended to, and survive whatever ends the process."""

from pathlib import Path
from typing import Any

from ...data import read_jsonl
from ...data.append_log import AppendLog
from ...data.jsonl import encode_row
from ...errors import UserError
from ...stages.files import atomic_file, partial_of


class SampleShards:
    """
    The samples of a collection, a row each, in files `trajectories-00000-of-00004.jsonl`, ...

    Shard `i` has the samples of the questions from `i * questions_per_shard` on. A sample is written as it comes; when
    a shard is complete it is rewritten in the order of questions and samples, so that the finished files do not depend
    on what came when, nor on interruptions. Opening reads what is there: a last line that was cut off, lines that are
    no rows and repeated samples are dropped. Samples of other questions than `problems` (by their `index`) are an
    error.

    `rows`, `tokens` and `truncated` say how many samples there are, the sum of their `n_tokens`, and how many have the
    `finish_reason` `"length"`.
    """

    def __init__(self, folder: Path, problems: list[str], num_samples: int, questions_per_shard: int):
        self._folder = folder
        self._problems = problems
        self._num_samples = num_samples
        self._questions_per_shard = questions_per_shard
        self._count = -(-len(problems) // questions_per_shard)
        self._done = bytearray(len(problems) * num_samples)
        self._missing = [num_samples * len(self._questions(shard)) for shard in range(self._count)]
        self._open: dict[int, AppendLog] = {}
        self.rows = self.tokens = self.truncated = 0
        for shard in range(self._count):
            self._load(shard)

    @property
    def complete(self) -> bool:
        """Whether every question has all its samples."""
        return not any(self._missing)

    @property
    def paths(self) -> list[Path]:
        """The files, in order."""
        return [self._path(shard) for shard in range(self._count)]

    def __contains__(self, pair: tuple[int, int]) -> bool:
        """Whether a question, by its index, has a sample, by its number."""
        return bool(self._done[pair[0] * self._num_samples + pair[1]])

    def append(self, row: dict[str, Any]) -> None:
        """Save a sample; its `index` and `sample` say which."""
        shard = row["index"] // self._questions_per_shard
        if shard not in self._open:
            self._open[shard] = AppendLog(self._path(shard))
        self._open[shard].append(row)
        self._count_in(shard, row)
        if not self._missing[shard]:
            self._finish(shard)

    def finish(self) -> None:
        """Order the shards that lack samples of questions which cannot be answered."""
        for shard in range(self._count):
            if self._missing[shard] and self._path(shard).exists():
                self._finish(shard)

    def __enter__(self) -> "SampleShards":
        return self

    def __exit__(self, *error: Any) -> None:
        # What is missing stays missing: questions that cannot be answered have no samples
        for shard in list(self._open):
            self._open.pop(shard).__exit__(*error)

    def _questions(self, shard: int) -> range:
        start = shard * self._questions_per_shard
        return range(start, min(start + self._questions_per_shard, len(self._problems)))

    def _path(self, shard: int) -> Path:
        return self._folder / f"trajectories-{shard:05d}-of-{self._count:05d}.jsonl"

    def _load(self, shard: int) -> None:
        partial_of(self._path(shard)).unlink(missing_ok=True)
        if not self._path(shard).exists():
            return
        bad: list[Any] = []
        keys = []
        with AppendLog(self._path(shard)) as log:
            for line, row in log.rows(on_malformed=bad.append):
                key = self._key(row, shard, f"{log.path}, line {line}")
                if key is None or key in self:
                    bad.append(line)
                    continue
                keys.append(key)
                self._count_in(shard, row)
        if bad or (not self._missing[shard] and keys != sorted(keys)):
            self._finish(shard)

    def _key(self, row: dict[str, Any], shard: int, where: str) -> tuple[int, int] | None:
        index, sample = row.get("index"), row.get("sample")
        if type(index) is not int or type(sample) is not int:
            return None
        if index not in self._questions(shard) or not 0 <= sample < self._num_samples:
            return None
        if row.get("problem") != self._problems[index]:
            raise UserError(
                f"{where}: a sample of another question than the one that now has this place: the questions have "
                "changed. Choose another output_dir, or delete that folder to start over"
            )
        return index, sample

    def _count_in(self, shard: int, row: dict[str, Any]) -> None:
        self._done[row["index"] * self._num_samples + row["sample"]] = 1
        self._missing[shard] -= 1
        self.rows += 1
        self.tokens += row.get("n_tokens") or 0
        self.truncated += row.get("finish_reason") == "length"

    def _finish(self, shard: int) -> None:
        """Write a shard in order, each sample once."""
        if shard in self._open:
            self._open.pop(shard).close()
        path = self._path(shard)
        rows: dict[tuple[int, int], dict[str, Any]] = {}
        for _, row in read_jsonl(path, on_malformed=lambda _: None):
            key = self._key(row, shard, str(path))
            if key is not None:
                rows.setdefault(key, row)
        with atomic_file(path, "wb") as ordered:
            ordered.writelines(encode_row(rows[key]) for key in sorted(rows))
