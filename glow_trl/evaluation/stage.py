"""The evaluation stage: `glow-trl eval --config eval.yaml [--key value ...]`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .config import EvalConfig
from .runner import evaluate


if TYPE_CHECKING:
    from rich.console import Console

# What may change between two starts in one folder: it does not change what is generated, or `evaluate` itself
# recognizes which benchmarks it concerns
_CHANGEABLE = ("benchmarks", "only", "in_domain", "k_values", "majority", "entropy", "rescore", "on_bad_gold", "limit")
_CHANGEABLE_SIZES = ("batch_size", "batch_tokens")


def run_stage(config: EvalConfig, given: dict[str, Any], console: "Console | None" = None) -> dict[str, Any]:
    """Evaluate and record the run in `run.json`.

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
    from ..runs import StageRun, fingerprint

    benchmarks = config.resolve()
    settings = {key: value for key, value in given.items() if key not in (*_CHANGEABLE, *_CHANGEABLE_SIZES)}
    folder = local_folder(config.model_name_or_path)
    run = StageRun("eval", config.output_dir, settings, inputs=[] if folder is None else [folder])
    run.start()
    try:
        results = evaluate(config, console=console)
    except BaseException:
        run.interrupt()
        raise
    run.complete(
        settings=vars(config),
        benchmarks={item.name: {"path": item.path, "fingerprint": fingerprint(item.path)} for item in benchmarks},
        seed=config.seed,
    )
    return results


def main(argv: Sequence[str] | None = None) -> None:
    """Parse configuration file and command line, evaluate, and print the results."""
    from rich.console import Console

    from ..config import parse_stage

    (config,), given = parse_stage([EvalConfig], sys.argv[1:] if argv is None else argv, "glow-trl eval", "eval")
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    console = Console()
    results = run_stage(config, given, console)
    console.print(results_table(results))


def results_table(results: dict[str, Any]) -> Any:
    """A table of one evaluation, for the terminal."""
    from rich import box
    from rich.table import Table

    k_values = sorted(
        {int(key.removeprefix("pass@")) for row in results["benchmarks"].values() for key in row if _is_pass(key)}
    )
    columns = ["benchmark", "domain", "questions", "accuracy", *(f"pass@{k}" for k in k_values if k > 1)]
    columns += ["tokens", "cut off", "no answer", "entropy"]
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="left" if column in ("benchmark", "domain") else "right")
    for name, row in results["benchmarks"].items():
        low, high = row["pass@1_ci"] or (None, None)
        interval = f" [{100 * low:.1f}, {100 * high:.1f}]" if low is not None else ""
        cells = [name, row["domain"], str(row["n"]), f"{100 * row['pass@1']:.1f} %{interval}"]
        cells += [f"{100 * row[f'pass@{k}']:.1f} %" if f"pass@{k}" in row else "" for k in k_values if k > 1]
        cells += [
            f"{row['response_length']:.1f}",
            f"{100 * row['truncated']:.1f} %",
            f"{100 * row['no_answer']:.1f} %",
        ]
        cells.append(f"{row['entropy']:.3f}" if "entropy" in row else "")
        table.add_row(*(cell.replace("[", "\\[") for cell in cells))
    return table


def _is_pass(key: str) -> bool:
    return key.startswith("pass@") and key.removeprefix("pass@").isdigit()


def cli() -> int:
    """[`main`] as a program: bad input is one line on the standard error and exit code 2."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
