"""The questions of a benchmark."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..data import load_rows
from ..data.paths import is_local
from ..errors import UserError
from ..verifiers import load_kind
from .config import BenchmarkConfig, Source
from .formats import RowFormat, shuffled


def load_questions(benchmark: BenchmarkConfig) -> list[dict[str, Any]]:
    """Read a benchmark's questions.

    Args:
        benchmark ([`BenchmarkConfig`]): which, see [`get_benchmark`].

    Returns:
        `list[dict]`: rows with `problem`, `answer` (a text; the letter of an option where there are `choices`),
        `kind`, `sample_id`, and, where the benchmark has them, `choices` and `subject`. Further columns of the data
        are kept.

    Raises:
        UserError: the data cannot be read or look otherwise than the benchmark says, or no question is left.
    """
    where = f"benchmark '{benchmark.name}'"
    source = benchmark.source()
    wanted = _wanted_subjects(benchmark, where)
    excluded = set()
    if benchmark.exclude:
        excluded = {row["problem"] for row in load_rows(benchmark.exclude, required=("problem",))}
    questions: list[dict[str, Any]] = []
    subjects: set[str] = set()
    filtered = wanted is not None or bool(excluded)
    for question in _questions(benchmark, source, None if filtered else benchmark.limit):
        subject = question.get("subject")
        if wanted is not None:
            if subject is None:
                raise UserError(f"{where}: {source.path} has no column 'subject' to choose `subjects` by")
            subjects.add(subject)
            if not wanted(subject):
                continue
        if question["problem"] in excluded:
            continue
        questions.append(question)
        if benchmark.limit is not None and len(questions) == benchmark.limit:
            break
    if not questions and excluded and not subjects:
        raise UserError(f"{where}: every question stands in {benchmark.exclude} (`exclude`)")
    if not questions:
        raise UserError(f"{where}: no question is left; its subjects are {', '.join(sorted(subjects)) or 'none'}")
    return questions


def _questions(benchmark: BenchmarkConfig, source: Source, limit: int | None) -> Iterator[dict[str, Any]]:
    names = benchmark.config_name if isinstance(benchmark.config_name, list) else [benchmark.config_name]
    several = isinstance(benchmark.config_name, list) and not is_local(source.path)
    kinds = {kind: re.compile(pattern) for kind, pattern in benchmark.kind_patterns.items()}
    for kind in (*kinds, *filter(None, [benchmark.kind])):
        load_kind(kind)
    for name in [None] if is_local(source.path) else names:
        rows = load_rows(source.path, split=benchmark.split, config_name=name, limit=limit)
        row_format = _matching(source.formats, rows[0], f"benchmark '{benchmark.name}': {source.path}")
        for number, row in enumerate(rows, start=1):
            where = f"benchmark '{benchmark.name}': {source.path}, row {number}"
            question = row_format.convert(row, where)
            for column in ("problem", "answer"):
                # An empty answer is found with the other unusable ones, when the gold answers grade themselves
                if not isinstance(question[column], str) or column == "problem" and not question[column].strip():
                    raise UserError(f"{where}: column {column!r} is {question[column]!r}; correct `columns`")
            if several:
                question.setdefault("subject", name)
                question["sample_id"] = f"{name}/{question['sample_id']}"
            if question.get("choices") and benchmark.shuffle_choices is not None:
                question = shuffled(question, benchmark.shuffle_choices, where)
            matching = (kind for kind, pattern in kinds.items() if pattern.fullmatch(question["answer"].strip()))
            default = benchmark.kind or ("choice" if question.get("choices") else "math")
            question["kind"] = question.get("kind") or next(matching, default)
            yield question


def _matching(formats: Sequence[RowFormat], row: Mapping[str, Any], where: str) -> RowFormat:
    for row_format in formats:
        if row_format.fits(row):
            return row_format
    if len(formats) == 1:
        return formats[0]
    expected = " or ".join(dict.fromkeys(", ".join(sorted(row_format.needed)) for row_format in formats))
    found = ", ".join(key for key in row if key != "sample_id")
    raise UserError(f"{where} has the columns {found}, expected {expected}; name them with `columns`")


def _wanted_subjects(benchmark: BenchmarkConfig, where: str):
    """Whether a subject is wanted, as a function; `None` if all are."""
    if not benchmark.subjects:
        return None

    def resolved(names: Sequence[str]) -> set[str]:
        return {subject for name in names for subject in benchmark.subject_groups.get(name, [name])}

    included = resolved(benchmark.subjects["include"]) if "include" in benchmark.subjects else None
    excluded = resolved(benchmark.subjects.get("exclude", []))
    return lambda subject: (included is None or subject in included) and subject not in excluded
