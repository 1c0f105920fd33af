"""The evaluation stage: `glow-trl eval --config eval.yaml [--key value ...]`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..benchmarks import BenchmarkConfig
from ..stages.files import read_json
from ..statistics.numbers import interval, number, percent
from .config import EvalConfig
from .runner import evaluate


if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_SIZES = ("batch_size", "batch_tokens")
# What may change between two starts in one folder: it does not change what is generated, or `evaluate` recognizes
# which benchmarks it concerns
_CHANGEABLE = (
    *("benchmarks", "only", "limit", "on_bad_gold", "in_domain", "k_values", "majority", "rescore"),
    *("entropy", "entropy_questions", *_SIZES),
)


def run_stage(config: EvalConfig, given: dict[str, Any], console: "Console | None" = None) -> dict[str, Any]:
    """Evaluate and record the run in `run.json`; take the results as they are if they are complete.

    Args:
        config ([`EvalConfig`]): the configuration.
        given (`dict`): the settings that the user chose.
        console (`rich.console.Console`, *optional*): where progress bars are drawn.

    Returns:
        `dict`: the content of `results.json`.

    Raises:
        UserError: bad input or configuration, or the folder holds the evaluation of another model.
    """
    from ..generation.loading import local_folder
    from ..stages.record import StageRun, jsonable

    benchmarks = config.resolve()
    settings = {key: value for key, value in given.items() if key not in _CHANGEABLE}
    folder = local_folder(config.model_name_or_path)
    run = StageRun("eval", config.output_dir, settings, inputs=[] if folder is None else [folder])
    facts = {
        "settings": jsonable({key: value for key, value in vars(config).items() if key not in ("rescore", *_SIZES)}),
        "benchmarks": {item.name: _data_facts(item) for item in benchmarks},
        "seed": config.seed,
    }
    if run.is_complete and not config.rescore and all(run.record.get(key) == value for key, value in facts.items()):
        results = read_json(run.output_dir / "results.json")
        if results is not None:
            return results
    run.start()
    try:
        results = evaluate(config, console=console)
    except BaseException:
        run.interrupt()
        raise
    run.complete(**facts)
    return results


def _data_facts(benchmark: BenchmarkConfig) -> dict[str, Any]:
    """What a benchmark's questions come from."""
    from ..stages.record import fingerprint

    source = benchmark.source()
    facts = {"path": source.path, "data": fingerprint(source.path)}
    if benchmark.exclude:
        facts |= {"exclude": benchmark.exclude, "excluded": fingerprint(benchmark.exclude)}
    return facts


def main(argv: Sequence[str] | None = None) -> None:
    """Parse configuration file and command line, evaluate, and print the results."""
    from rich.console import Console

    from ..stages.config import parse_stage

    (config,), given = parse_stage([EvalConfig], sys.argv[1:] if argv is None else argv, "glow-trl eval", "eval")
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    results = run_stage(config, given, Console(stderr=True))
    Console().print(results_table(results))


def results_table(results: dict[str, Any]) -> "Table":
    """A table of one evaluation, for the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    k = max(int(key.removeprefix("pass@")) for row in results["benchmarks"].values() for key in row if _is_pass(key))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("benchmark", min_width=12)
    columns = ["questions", "accuracy", "95 %", *([f"pass@{k}"] if k > 1 else [])]
    for column in (*columns, "tokens", "cut off", "no answer", "entropy"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in results["benchmarks"].items():
        cells = [f"{name} ({row['domain']})", f"{row['n']:,}", percent(row["pass@1"]), interval(row["pass@1_ci"])]
        cells += [percent(row.get(f"pass@{k}"))] if k > 1 else []
        cells += [number(row["response_length"], 1), percent(row["truncated"]), percent(row["no_answer"])]
        table.add_row(*map(Text, [*cells, number(row.get("entropy"), 3)]))
    return table


def _is_pass(key: str) -> bool:
    return key.startswith("pass@") and key.removeprefix("pass@").isdigit()
