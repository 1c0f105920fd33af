"""The evaluation stage: `glow-trl eval --config eval.yaml [--key value ...]`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ..benchmarks import BenchmarkConfig
from ..generation.loading import check_exists
from ..generation.registry import ENGINES
from ..stages.command import run_command
from ..stages.config import parse_command
from ..stages.console import FiguresTable, say_results
from ..stages.dotted import own_code
from ..stages.files import read_json
from ..stages.fingerprint import fingerprint
from ..stages.frame import refuse_overwriting, stage_run
from ..statistics.numbers import interval, number, percent
from .config import EvalConfig
from .metrics import benchmark_label, largest_k
from .runner import evaluate


def _data_facts(benchmark: BenchmarkConfig) -> dict[str, Any]:
    """What a benchmark's questions come from."""
    source = benchmark.source()
    facts = {"version": benchmark.version, "path": source.path, "data": fingerprint(source.path)}
    if benchmark.exclude:
        facts |= {"exclude": benchmark.exclude, "excluded": fingerprint(benchmark.exclude)}
    return facts


def main(argv: Sequence[str] | None = None) -> None:
    """Run `glow-trl eval` with the arguments `argv`, by default those of the command line."""
    settings = parse_command("eval", sys.argv[1:] if argv is None else argv)
    config: EvalConfig = settings.config
    benchmarks = config.resolve()
    folder = config.checkpoint_folder()
    facts = {"benchmarks": {item.name: _data_facts(item) for item in benchmarks}}
    kinds = [item.kind for item in benchmarks if item.kind]
    inputs = [folder, *own_code([config.engine, *kinds], "engine, kind")]
    sources = [path for item in benchmarks for path in (item.source().path, item.exclude) if path]
    refuse_overwriting(Path(config.output_dir), sources)
    with stage_run(settings, config.output_dir, inputs, depends_on=facts, reopens=config.rescore) as run:
        results = read_json(run.output_dir / "results.json") if run.is_complete else None
        if results is None:
            if config.engine in ENGINES and not config.is_remote:
                # Before the Hub is asked for the benchmarks
                check_exists(config.model_name_or_path)
            run.start()
            results = evaluate(config, console=Console(stderr=True))
            run.complete()
    Console().print(results_table(results))
    say_results(run.output_dir)


def results_table(results: dict[str, Any]) -> FiguresTable:
    """A table of one evaluation, for the terminal."""
    k = largest_k(results["benchmarks"].values())
    columns = ("questions", "accuracy", "95 %", *([f"pass@{k}"] if k > 1 else []))
    table = FiguresTable("benchmark", numbers=(*columns, "tokens", "cut off", "no answer", "entropy"))
    for name, row in results["benchmarks"].items():
        cells = [benchmark_label(name, row), f"{row['n']:,}", percent(row["pass@1"]), interval(row["pass@1_ci"])]
        cells += [percent(row.get(f"pass@{k}"))] if k > 1 else []
        cells += [number(row["response_length"], 1), percent(row["truncated"]), percent(row["no_answer"])]
        table.add(*cells, number(row.get("entropy"), 3))
    return table


if __name__ == "__main__":
    sys.exit(run_command("eval"))
