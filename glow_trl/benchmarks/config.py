"""What a benchmark's YAML file, or an entry of `benchmarks` in `eval.yaml`, may say."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..data.columns import check_pattern
from ..data.paths import find_copy
from ..errors import UserError
from ..stages.config import nearest
from ..stages.paths import expand_path
from .formats import FORMAT_KEYS, RowFormat, check_format


_TEXTS = (
    *("name", "path", "split", "domain", "kind", "exclude", "note"),
    *("system_prompt", "prompt_template", "default_system_prompt", "default_prompt_template"),
)
_OPTIONAL = frozenset(_TEXTS) - {"name", "path", "split", "domain"}
_LOCAL_KEYS = ("path", "note", *FORMAT_KEYS)
_SUBJECT_KEYS = ("include", "exclude")
# File systems take 255 bytes, of which some are for what stands around the name
_LONGEST_NAME = 150
_NOT_IN_FILE_NAMES = set('/\\:*?"<>|')


@dataclass(frozen=True)
class Source:
    """Where a benchmark's rows come from: a file or a data set on the Hub, how its rows may look, and a note on it."""

    path: str
    formats: tuple[RowFormat, ...]
    note: str | None = None


@dataclass
class BenchmarkConfig:
    """One test set: a file that ships with the package, a YAML file of your own, or an entry of `benchmarks`.

    Args:
        name (`str`):
            Its name in results, report and file names.
        path (`str`):
            A JSONL, JSON or Parquet file, or a data set id on the Hub.
        version (`int` or `float`, *optional*):
            Stands beside the benchmark's numbers. Raise it with any change that makes earlier numbers incomparable,
            such as of questions, gold answers or prompt: `glow-trl compare` refuses evaluations of different versions.
        split (`str`, *optional*, defaults to `"test"`):
            Split of a Hub data set.
        config_name (`str` or `list[str]`, *optional*):
            Configuration of a Hub data set; of several, the rows follow each other, and each row's `subject` is the
            name of its configuration unless it has one.
        domain (`str`, *optional*, defaults to `"in"`):
            `"math"`, `"general"` or `"other"` for those that ship; a name of your own is as good. It counts as
            in-domain where the recipe lists it in `in_domain`. `"in"` and `"out"` speak for themselves.
        columns (`dict[str, str or list[str]]`, *optional*):
            Names of this file's columns: `{answer: gold}` reads the answer from `gold`, and
            `{problem: [context, question]}` joins two with a space.
        patterns (`dict[str, str]`, *optional*):
            Regular expressions that cut a column's text out, applied after `columns`: `{answer: '####\\s*(.+)'}`. The
            last match counts, its first group if there is one.
        choice_pattern (`str`, *optional*):
            Regular expression of an option that stands in the question's text, its group the option itself. Where at
            least two are found they become the row's `choices`, and the question ends before the first.
        choice_columns (`list[str]`, *optional*):
            Options that stand in columns of their own. The first is the right one where the row has no `answer`.
        choice_text (`str`, *optional*):
            Where options are objects, or an object of lists: the key of their text.
        choice_id (`str`, *optional*):
            Likewise, the key of what `answer` calls them; their letters are used by default.
        shuffle_choices (`int`, *optional*):
            Seed with which the options of each question are shuffled. The order of a question follows from the seed
            and the question alone.
        kind (`str`, *optional*):
            Kind of the answers for rows that have no `kind` of their own; by default `"choice"` for rows with
            `choices` and `"math"` for others. `my_module:my_function` is one of your own.
        kind_patterns (`dict[str, str]`, *optional*):
            Kind to a regular expression: a row whose whole answer matches has this kind instead.
        subjects (`dict[str, list[str]]`, *optional*):
            `{include: [...]}` or `{exclude: [...]}`: subjects, or groups of them, to which the questions are limited.
        subject_groups (`dict[str, list[str]]`, *optional*):
            Named groups of subjects.
        split_by_subject (`bool`, *optional*, defaults to `False`):
            Whether the results are also given for each subject and group.
        limit (`int`, *optional*):
            Only the first so many questions.
        exclude (`str`, *optional*):
            A file of trajectories or questions: those of the benchmark's questions that stand in it are left out.
        system_prompt (`str`, *optional*):
            System turn, in place of the recipe's and of the one in training.
        prompt_template (`str`, *optional*):
            Template, likewise.
        default_system_prompt (`str`, *optional*):
            System turn for checkpoints that nothing says how to prompt: neither the recipe nor a record of how they
            were trained.
        default_prompt_template (`str`, *optional*):
            Template, likewise.
        local (`str` or `dict`, *optional*):
            File name of a copy in the folder that the environment variable `GLOW_TRL_DATA` names (`../shared/data`
            without it), which is used where it exists; or `{path: ..., columns: ..., ...}` if its rows look otherwise.
        note (`str`, *optional*):
            What a reader of the results should know about the data, such as that they are a part of the whole.

    Attributes:
        formats (`tuple`):
            Shapes of rows that a file which the benchmark was pointed at may have.
    """

    name: str
    path: str
    version: int | float | None = None
    split: str = "test"
    config_name: str | list[str] | None = None
    domain: str = "in"
    columns: dict[str, str | list[str]] = field(default_factory=dict)
    patterns: dict[str, str] = field(default_factory=dict)
    choice_pattern: str | None = None
    choice_columns: list[str] | None = None
    choice_text: str | None = None
    choice_id: str | None = None
    shuffle_choices: int | None = None
    kind: str | None = None
    kind_patterns: dict[str, str] = field(default_factory=dict)
    subjects: dict[str, list[str]] = field(default_factory=dict)
    subject_groups: dict[str, list[str]] = field(default_factory=dict)
    split_by_subject: bool = False
    limit: int | None = None
    exclude: str | None = None
    system_prompt: str | None = None
    prompt_template: str | None = None
    default_system_prompt: str | None = None
    default_prompt_template: str | None = None
    local: str | dict[str, Any] | None = None
    note: str | None = None
    formats: tuple[RowFormat, ...] = field(default=(), repr=False)

    @property
    def row_format(self) -> RowFormat:
        """What turns the rows of `path` into questions."""
        return RowFormat(**{key: getattr(self, key) for key in FORMAT_KEYS})

    @property
    def local_copy(self) -> tuple[str, RowFormat] | None:
        """File name of the local copy, and what turns its rows into questions."""
        if self.local is None:
            return None
        if isinstance(self.local, str):
            return self.local, self.row_format
        return self.local["path"], RowFormat(**{key: self.local[key] for key in FORMAT_KEYS if key in self.local})

    def source(self) -> "Source":
        """The data that [`load_questions`] reads: what the benchmark was pointed at, or else the local copy if there
        is one, or else the data set on the Hub."""
        if self.local_copy is not None:
            name, row_format = self.local_copy
            if (path := find_copy(name)) is not None:
                note = self.local.get("note") if isinstance(self.local, Mapping) else None
                return Source(path, (row_format,), note or self.note)
        return Source(expand_path(self.path), self.formats or (self.row_format,), self.note)

    @classmethod
    def parse(cls, entry: Mapping[str, Any], where: str, formats: tuple[RowFormat, ...] = ()) -> "BenchmarkConfig":
        """Build the benchmark from a mapping of arguments to values, which stands in `where`; `formats` are shapes
        that the rows of `path` may have, if that is not known."""
        known = {item.name for item in dataclasses.fields(cls)} - {"formats"}
        for key in entry:
            if key not in known:
                raise UserError(f"{where}: unknown key {key!r}{nearest(str(key), known)}")
        for key in ("name", "path"):
            if not isinstance(entry.get(key), str) or not entry[key]:
                raise UserError(f"{where}: {key} is missing or not a string")
        for key, value in entry.items():
            _check(key, value, where)
        return cls(**{key: value for key, value in entry.items() if value is not None}, formats=formats)


def _check(key: str, value: Any, where: str) -> None:
    if value is None:
        return
    if key in _TEXTS and not (isinstance(value, str) and (value or key in _OPTIONAL)):
        raise UserError(f"{where}: {key} must be a text, found {value!r}")
    if key == "name" and (
        not _NOT_IN_FILE_NAMES.isdisjoint(value)
        or value.startswith(".")
        or not value.isprintable()
        or len(value.encode()) > _LONGEST_NAME
    ):
        raise UserError(
            f"{where}: the name becomes part of a file name; use at most {_LONGEST_NAME} letters, digits, '-' and '_'"
        )
    if key == "config_name" and not (isinstance(value, str) or _is_texts(value) and value):
        raise UserError(f"{where}: config_name must be a name or a list of names, found {value!r}")
    if key in ("limit", "shuffle_choices") and (type(value) is not int or value < (key == "limit")):
        least = "at least 1" if key == "limit" else "0 or more"
        raise UserError(f"{where}: {key} is {value!r}: it must be a whole number of {least}")
    if key == "version" and (type(value) not in (int, float) or not 0 < value < math.inf):
        raise UserError(f"{where}: version is {value!r}: it must be a positive number")
    if key == "split_by_subject" and not isinstance(value, bool):
        raise UserError(f"{where}: split_by_subject must be true or false, found {value!r}")
    if key == "kind_patterns":
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: kind_patterns must be a mapping of kinds to regular expressions")
        for name, pattern in value.items():
            check_pattern(pattern, f"{where}: kind_patterns: {name}")
    if key in ("subject_groups", "subjects") and not (
        isinstance(value, Mapping) and all(map(_is_texts, value.values()))
    ):
        raise UserError(f"{where}: {key} must be a mapping of names to lists of subjects")
    if key == "subjects":
        for name in value:
            if name not in _SUBJECT_KEYS:
                raise UserError(f"{where}: subjects has `include` or `exclude`, found {name!r}")
    if key == "local" and not isinstance(value, str):
        if not isinstance(value, Mapping) or not isinstance(value.get("path"), str):
            raise UserError(f"{where}: local must be a file name, or a mapping with `path`")
        for name in value:
            if name not in _LOCAL_KEYS:
                raise UserError(f"{where}: local: unknown key {name!r}{nearest(str(name), set(_LOCAL_KEYS))}")
        check_format({name: value[name] for name in value if name in FORMAT_KEYS}, f"{where}: local")
    if key in FORMAT_KEYS:
        check_format({key: value}, where)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
