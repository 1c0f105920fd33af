"""Two evaluations compared question by question: `glow-trl compare RUN_A RUN_B`."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ..errors import UserError
from ..stages.command import run_command
from ..stages.config import parse_command, setting
from ..stages.console import FiguresTable, say_results, visible
from ..stages.files import write_json
from ..stages.frame import writing
from ..statistics.numbers import number, percent, points, span
from ..statistics.pairing import Difference, holm
from .metrics import benchmark_label, domain_members
from .paired import (
    Evaluation,
    QuestionPair,
    accuracy_difference,
    entropy_change,
    mean_accuracy_difference,
    mean_per_sample,
    pair_questions,
    paired_entropies,
    read_evaluation,
)


def compare_runs(first: str | Path, second: str | Path) -> dict[str, Any]:
    """Compare two evaluations of different checkpoints on the questions that both have.

    Args:
        first (`str` or `Path`):
            Output folder of an evaluation, the one to compare with.
        second (`str` or `Path`):
            Output folder of another. Positive differences mean that it has more.

    Returns:
        `dict`: `{"first", "second", "benchmarks": {NAME: {...}}, "domains": {GROUP: {...}}, "left_out": [...]}`. Of a
        benchmark there are `domain`, `version`, `n` (questions in both), `only_first` and `only_second` (questions in
        one), and for `pass@k`, `response_length`, `truncated` and `no_answer` a `dict` of `first`, `second`,
        `difference`, `ci` (95 %), `p_value` and `n`, the questions behind it; `pass@1` has `p_adjusted` too (Holm,
        over the benchmarks). `entropy` has `first`, `second`, `n`, `relative_change` and its `ci`, from the questions
        for which both measured it. The `pass@1` of a domain is the mean over its benchmarks, each counted the same.
        `left_out` names the benchmarks that only one run has.

    Raises:
        UserError: a folder holds no evaluation, there is no common benchmark or question, the completions were drawn
            in different ways, or the runs judged a question by different gold answers or another version of the
            benchmark.
    """
    runs = [read_evaluation(Path(first)), read_evaluation(Path(second))]
    known = [run.results["benchmarks"] for run in runs]
    names = [name for name in known[0] if name in known[1]]
    if not names:
        raise UserError(f"{first} and {second} have no benchmark in common")
    pairs = {name: pair_questions(name, *runs) for name in names}
    benchmarks = {name: _compare_benchmark(name, runs, pairs[name]) for name in names}
    adjusted = holm([entry["pass@1"]["p_value"] for entry in benchmarks.values()])
    for entry, p_value in zip(benchmarks.values(), adjusted, strict=True):
        entry["pass@1"]["p_adjusted"] = p_value
    domains = {}
    for label, members in domain_members(benchmarks).items():
        mean = mean_accuracy_difference([pairs[name] for name in members])
        domains[label] = {"benchmarks": members, "pass@1": _entry(mean)}
    return {
        "first": str(first),
        "second": str(second),
        "benchmarks": benchmarks,
        "domains": domains,
        "left_out": sorted(known[0].keys() ^ known[1].keys()),
    }


def _compare_benchmark(name: str, runs: Sequence[Evaluation], pairs: Sequence[QuestionPair]) -> dict[str, Any]:
    summary = runs[1].summary(name)
    comparison: dict[str, Any] = {
        "domain": summary.get("domain"),
        "group": summary.get("group", summary.get("domain")),
        "version": summary.get("version"),
        "n": len(pairs),
        "only_first": len(runs[0].questions(name)) - len(pairs),
        "only_second": len(runs[1].questions(name)) - len(pairs),
    }
    k = 1
    while (difference := accuracy_difference(pairs, k)) is not None:
        comparison[f"pass@{k}"] = _entry(difference)
        k *= 2
    if k == 1:
        raise UserError(f"benchmark '{name}': no question was judged in both runs")
    for key, sums, bounds in (
        ("response_length", "tokens", None),
        ("truncated", "truncated", (0, 1)),
        ("no_answer", "no_answer", (0, 1)),
    ):
        comparison[key] = _entry(mean_per_sample(pairs, sums, bounds))
    comparison["entropy"] = entropy_change(paired_entropies(name, *runs, pairs))
    return comparison


def _entry(difference: Difference) -> dict[str, Any]:
    known = math.isfinite(difference.low) and math.isfinite(difference.high)
    return {
        "first": difference.first,
        "second": difference.second,
        "difference": difference.mean,
        "ci": [difference.low, difference.high] if known else None,
        "p_value": difference.p_value,
        "n": difference.n,
    }


@dataclass
class CompareConfig:
    r"""
    Two evaluations to compare question by question. Differences are those of the second from the first.

    Parameters:
        first (`str`):
            `output_dir` of an evaluation; also the first argument of the command.
        second (`str`):
            That of another, with the same sampling; also the second argument.
        output (`str`, *optional*):
            JSON file to write everything to.
    """

    first: str | None = setting(None, "output_dir of an evaluation.", positional=True, required=True)
    second: str | None = setting(
        None, "output_dir of another, with the same sampling.", positional=True, required=True
    )
    output: str | None = setting(None, "JSON file to write everything to.")

    def __post_init__(self):
        if not self.first or not self.second:
            raise UserError("name two evaluations: glow-trl compare RUN_A RUN_B")


def main(argv: Sequence[str] | None = None) -> None:
    """Run `glow-trl compare` with the arguments `argv`, by default those of the command line."""
    config: CompareConfig = parse_command("compare", sys.argv[1:] if argv is None else argv).config
    with writing(config.output, [config.first, config.second]) as output:
        comparison = compare_runs(config.first, config.second)
        if output is not None:
            write_json(output, comparison)
    console = Console()
    console.print(comparison_table(comparison))
    for name in comparison["left_out"]:
        console.print(visible(f"{name}: only in one of the two, left out"), style="dim", markup=False)
    if output is not None:
        say_results(output)


def comparison_table(comparison: dict[str, Any]) -> FiguresTable:
    """A table of a comparison, for the terminal."""
    columns = ("questions", "accuracy A", "accuracy B", "B - A", "95 %", "p (Holm)")
    columns += ("tokens A", "tokens B", "entropy A", "entropy B", "change, %", "95 % of it")
    caption = "accuracies in percent, differences in points"
    table = FiguresTable("benchmark", numbers=columns, caption=caption)
    for name, entry in comparison["benchmarks"].items():
        accuracy, length, entropy = entry["pass@1"], entry["response_length"], entry["entropy"] or {}
        cells = [benchmark_label(name, entry), f"{entry['n']:,}", *_difference_cells(accuracy)]
        cells += [f"{accuracy['p_value']:.3g} ({accuracy['p_adjusted']:.3g})"]
        cells += [number(length["first"], 1), number(length["second"], 1)]
        cells += [number(entropy.get("first"), 3), number(entropy.get("second"), 3)]
        table.add(*cells, points(entropy.get("relative_change")), span(*(entropy.get("ci") or (None, None))))
    for label, entry in comparison["domains"].items():
        if len(entry["benchmarks"]) > 1:
            count = f"{len(entry['benchmarks'])} sets"
            table.add(f"mean of {label}", count, *_difference_cells(entry["pass@1"]), bold=True)
    return table


def _difference_cells(entry: dict[str, Any]) -> list[str]:
    ends = span(*(entry["ci"] or (None, None)))
    return [percent(entry["first"]), percent(entry["second"]), points(entry["difference"]), ends]


if __name__ == "__main__":
    sys.exit(run_command("compare"))
