"""Configuration of where a stage's rows come from, and of how it asks their questions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..stages.config import as_mapping, nearest, setting
from .columns import check_pattern
from .load import Place, iter_placed_rows
from .paths import expand_names, find_copy, is_local
from .prompts import build_prompt
from .rejects import Reject


if TYPE_CHECKING:
    from .table import RowTable


@dataclass
class RowsConfig:
    r"""
    Where a stage's rows come from.

    Parameters:
        dataset_name (`str` or `list[str]`):
            JSONL, JSON or Parquet file, pattern of such files (`shards/*.jsonl`), or data set on the Hub; several
            are concatenated. `${NAME:-default}` in a path is replaced by the environment variable.
        dataset_config (`str`, *optional*):
            Configuration of a data set on the Hub.
        dataset_train_split (`str`, *optional*, defaults to `"train"`):
            Split of a data set on the Hub.
        columns (`dict[str, str]`, *optional*):
            Columns that are named otherwise in the data: `{answer: gold}` reads `answer` from the column `gold`.
        patterns (`dict[str, str]`, *optional*):
            Regular expressions that cut a column's text out, applied after `columns`: `{answer: '####\s*(.+)'}`. The
            last match counts, its first group if there is one.
        local_copy (`dict`, *optional*):
            Copy of a data set on the Hub, which is used where it exists, in the folder that the environment variable
            `GLOW_TRL_DATA` names (`../shared/data` without it): the data set's name to the file's,
            `{openai/gsm8k: copy.jsonl}`, or to `{path: copy.jsonl, columns: ..., patterns: ...}` if its rows look
            otherwise.
        limit (`int`, *optional*):
            Number of rows to use at most, from the first on.
    """

    dataset_name: list[str] = setting(
        [], "Local files or a data set on the Hub; several are concatenated.", required=True
    )
    dataset_config: str | None = setting(None, "Configuration of a data set on the Hub.")
    dataset_train_split: str = setting("train", "Split of a data set on the Hub.")
    columns: dict[str, str] | str | None = setting(None, "Columns named otherwise in the data: '{answer: gold}'.")
    patterns: dict[str, str] | str | None = setting(
        None, "Regular expressions that cut a column's text out: '{answer: \"#### (.+)\"}'."
    )
    local_copy: dict[str, Any] | str | None = setting(
        None, "Copy of a data set on the Hub in the folder GLOW_TRL_DATA: '{NAME: FILE}'."
    )
    limit: int | None = setting(None, "Number of rows to use at most, from the first on.")

    def __post_init__(self):
        if isinstance(self.dataset_name, str):
            self.dataset_name = [self.dataset_name]
        if not self.dataset_name:
            raise UserError("dataset_name is required: a file or a data set on the Hub")
        if self.limit is not None and self.limit < 1:
            raise UserError(f"limit is {self.limit}: it must be at least 1")
        self.columns = as_mapping(self.columns, "columns")
        self.patterns = as_mapping(self.patterns, "patterns")
        self._take_local_copy()
        for column, pattern in self.patterns.items():
            check_pattern(pattern, f"patterns: {column}")

    def _take_local_copy(self) -> None:
        """Read the local copy, if it is there, in the place of the data set on the Hub that it is a copy of."""
        self.local_copy = as_mapping(self.local_copy, "local_copy")
        for name, copy in self.local_copy.items():
            copy = {"path": copy, **self._shape} if isinstance(copy, str) else as_mapping(copy, f"local_copy: {name}")
            for key in copy:
                if key not in ("path", *self._shape):
                    raise UserError(f"local_copy: {name}: unknown key {key!r}{nearest(key, {'path', *self._shape})}")
            if not isinstance(copy.get("path"), str):
                raise UserError(f"local_copy: {name}: expected a file name, or a mapping with `path`")
            if [name] == self.dataset_name and (path := find_copy(copy["path"])) is not None:
                self.dataset_name = [path]
                for key in self._shape:
                    setattr(self, key, as_mapping(copy.get(key), f"local_copy: {name}: {key}"))

    @property
    def _shape(self) -> dict[str, Any]:
        """What makes the rows of the data be called and cut as they are here."""
        return {"columns": self.columns, "patterns": self.patterns}

    def load(self, required: Sequence[str]) -> "RowTable":
        """The rows; see [`~glow_trl.data.table.load_table`]."""
        from .table import load_table

        return load_table(self.dataset_name, required=required, **self._reading)

    def iter_placed(
        self, required: Sequence[str], on_reject: Callable[[Reject], None] | None = None
    ) -> Iterator[tuple[Place, dict[str, Any]]]:
        """The rows one at a time, each with the place where it stands; see [`~glow_trl.data.iter_placed_rows`]."""
        return iter_placed_rows(self.dataset_name, required=required, on_reject=on_reject, **self._reading)

    @property
    def _reading(self) -> dict[str, Any]:
        return {
            "split": self.dataset_train_split,
            "config_name": self.dataset_config,
            **self._shape,
            "limit": self.limit,
        }

    @property
    def files(self) -> list[str]:
        """The local files among the data sets."""
        return [path for path in expand_names(self.dataset_name) if is_local(path)]


@dataclass
class PromptedRowsConfig(RowsConfig):
    r"""
    How the questions of a stage's rows are asked: [`RowsConfig`], and

    Parameters:
        system_prompt (`str`, *optional*):
            System turn of every prompt.
        prompt_template (`str`, *optional*):
            Text of every prompt, with `{problem}` where the question goes.
    """

    system_prompt: str | None = setting(None, "System turn of every prompt.")
    prompt_template: str | None = setting(None, "Text of every prompt, with {problem} where the question goes.")

    def __post_init__(self):
        super().__post_init__()
        # Refuses a template without a place for the question
        build_prompt("", prompt_template=self.prompt_template)
