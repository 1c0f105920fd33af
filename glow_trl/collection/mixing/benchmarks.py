"""The benchmarks that training questions are compared with."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...benchmarks import BenchmarkConfig, benchmark_names, get_benchmark, load_questions
from ...data import load_rows
from ...data.paths import FILE_SUFFIXES, is_local
from ...errors import UserError
from ...stages.paths import expand_path
from .decontamination import BenchmarkQuestion


ALL, LOCAL = "all", "local"


@dataclass(frozen=True)
class Benchmark:
    """A benchmark to look for: a shipped one or a YAML file (`config`), or a file of questions (`path` alone)."""

    name: str
    path: str
    config: BenchmarkConfig | None = None
    note: str | None = None

    def questions(self) -> list[dict[str, Any]]:
        """The rows, with `problem` and perhaps `choices`."""
        if self.config is None:
            return load_rows(self.path, required=("problem",))
        return load_questions(self.config)


def resolve_benchmarks(entries: Sequence[str]) -> tuple[list[Benchmark], list[str]]:
    """
    The benchmarks that `decontaminate` means, and the names of those that `"all"` and `"local"` leave out because
    their data are not there: of `"all"` only what a recipe makes itself, when it did not run.
    """
    found: dict[str, Benchmark] = {}
    left_out: list[str] = []

    def add(benchmark: Benchmark) -> None:
        same = found.get(benchmark.name, benchmark)
        if same.path != benchmark.path:
            # Two of one name are told apart by where they come from
            benchmark = replace(benchmark, name=f"{benchmark.name} ({benchmark.path})")
        found.setdefault(benchmark.name, benchmark)

    for entry in entries:
        if entry in (ALL, LOCAL):
            for name in benchmark_names():
                config = get_benchmark(name)
                # One that is a part of another has no question of its own
                if config.subjects:
                    continue
                benchmark = _benchmark(config)
                here = is_local(benchmark.path)
                if (here and not os.path.isfile(benchmark.path)) or (not here and entry == LOCAL):
                    left_out.append(name)
                else:
                    add(benchmark)
        elif entry.endswith(FILE_SUFFIXES):
            path = expand_path(entry)
            if not os.path.isfile(path):
                raise UserError(f"decontaminate: {path}: there is no such file")
            add(Benchmark(Path(path).stem, path))
        else:
            add(_benchmark(get_benchmark(entry)))
    return list(found.values()), [name for name in left_out if name not in found]


def _benchmark(config: BenchmarkConfig) -> Benchmark:
    source = config.source()
    return Benchmark(config.name, source.path, config, source.note)


def load_benchmarks(benchmarks: Sequence[Benchmark]) -> tuple[list[BenchmarkQuestion], dict[str, int]]:
    """The questions of some benchmarks, and how many there are by benchmark. The error names all that fail."""
    questions: list[BenchmarkQuestion] = []
    counts: dict[str, int] = {}
    failures: dict[str, UserError] = {}
    for benchmark in benchmarks:
        try:
            rows = benchmark.questions()
        except UserError as error:
            failures[benchmark.name] = error
            continue
        counts[benchmark.name] = len(rows)
        for number, row in enumerate(rows):
            choices = tuple(str(choice) for choice in row.get("choices") or ())
            questions.append(BenchmarkQuestion(benchmark.name, number, row["problem"], choices))
    if failures:
        first = next(iter(failures.values()))
        available = [benchmark.name for benchmark in benchmarks if benchmark.name not in failures]
        raise UserError(
            f"decontaminate: {', '.join(failures)} cannot be loaded ({first}). Put copies into the folder that "
            f"GLOW_TRL_DATA names, or leave them out: decontaminate: [{', '.join(available)}]; `local` means those "
            "whose data lie on this machine"
        )
    return questions, counts
