"""Two evaluations compared question by question: `glow-trl compare RUN_A RUN_B`."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import read_jsonl
from ..errors import UserError
from ..stages.command import run_command
from ..stages.config import parse_command, setting
from ..stages.files import read_json, write_json
from ..stages.frame import writing
from ..statistics.estimates import Estimate, pass_at_k
from ..statistics.pairing import Difference, combined, holm, paired_difference, relative_change


if TYPE_CHECKING:
    from rich.table import Table

# What must be the same for a difference to be the models': seeds and numbers of samples may differ
_PROTOCOL = ("temperature", "top_p", "top_k", "min_p", "max_new_tokens", "stop")


def compare_runs(first: str | Path, second: str | Path) -> dict[str, Any]:
    """Compare two evaluations of different checkpoints on the questions that both have.

    Args:
        first (`str` or `Path`):
            Output folder of an evaluation, the one to compare with.
        second (`str` or `Path`):
            Output folder of another. Positive differences mean that it has more.

    Returns:
        `dict`: `{"first", "second", "benchmarks": {NAME: {...}}, "domains": {GROUP: {...}}, "left_out": [...]}`. Of a
        benchmark there are `domain`, `n` (questions in both), `only_first` and `only_second` (questions in one), and
        for `pass@k`, `response_length`, `truncated` and `no_answer` a `dict` of `first`, `second`, `difference`, `ci`
        (95 %) and `p_value`; `pass@1` has `p_adjusted` too (Holm, over the benchmarks). `entropy` has `first`,
        `second`, `relative_change` and its `ci`, from the questions for which both measured it. The `pass@1` of a
        domain is the mean over its benchmarks, each counted the same. `left_out` names the benchmarks that only one
        run has.

    Raises:
        UserError: a folder holds no evaluation, there is no common benchmark or question, the completions were drawn
            in different ways, or the runs judged a question by different gold answers.
    """
    folders = [Path(first), Path(second)]
    results = [_results(folder) for folder in folders]
    _check_protocol(folders, results)
    names = [name for name in results[0]["benchmarks"] if name in results[1]["benchmarks"]]
    if not names:
        raise UserError(f"{first} and {second} have no benchmark in common")
    benchmarks = {
        name: _compare_benchmark(name, folders, [run["benchmarks"][name] for run in results]) for name in names
    }
    adjusted = holm([benchmarks[name]["pass@1"]["p_value"] for name in names])
    for name, p_value in zip(names, adjusted, strict=True):
        benchmarks[name]["pass@1"]["p_adjusted"] = p_value
    everything = set(results[0]["benchmarks"]) | set(results[1]["benchmarks"])
    return {
        "first": str(first),
        "second": str(second),
        "benchmarks": benchmarks,
        "domains": _domains(benchmarks),
        "left_out": sorted(everything - set(names)),
    }


def _results(folder: Path) -> dict[str, Any]:
    results = read_json(folder / "results.json")
    if not isinstance(results, dict) or not results.get("benchmarks"):
        raise UserError(f"{folder}: no finished evaluation is there (results.json); give the output_dir of `eval`")
    return results


def _check_protocol(folders: Sequence[Path], results: Sequence[dict[str, Any]]) -> None:
    ours, theirs = (run.get("sampling") or {} for run in results)
    for key in _PROTOCOL:
        if key in ours and key in theirs and ours[key] != theirs[key]:
            raise UserError(
                f"{folders[0]} and {folders[1]} cannot be compared: {key} is {ours[key]!r} in the one and "
                f"{theirs[key]!r} in the other; evaluate both with the same"
            )


def _compare_benchmark(name: str, folders: Sequence[Path], summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    runs = [_by_question(folder / f"generations_{name}.jsonl") for folder in folders]
    common = [question for question in runs[0] if question in runs[1]]
    if not common:
        raise UserError(f"benchmark '{name}': {folders[0]} and {folders[1]} have no question in common")
    for question in common:
        golds = [run[question][0]["answer"] for run in runs]
        if golds[0] != golds[1]:
            raise UserError(
                f"benchmark '{name}': the gold answer to {question[0][:40]!r} is {golds[0]!r} in {folders[0]} and "
                f"{golds[1]!r} in {folders[1]}; evaluate the older run again, which only judges it anew"
            )
    judged = [question for question in common if all(any(_is_judged(row) for row in run[question]) for run in runs)]
    if not judged:
        raise UserError(f"benchmark '{name}': no question was judged in both runs")
    counts = np.array([[_count(run[question]) for question in judged] for run in runs])  # run, question, (n, correct)
    comparison: dict[str, Any] = {
        "domain": summaries[1].get("domain"),
        "group": summaries[1].get("group", summaries[1].get("domain")),
        "n": len(common),
        "only_first": len(runs[0]) - len(common),
        "only_second": len(runs[1]) - len(common),
    }
    power = 1
    while power <= counts[..., 0].max():
        kept = (counts[..., 0] >= power).all(axis=0)
        if kept.any():
            figures = [pass_at_k(run[kept, 0], run[kept, 1], power) for run in counts]
            grain = 1 / math.lcm(*map(int, np.unique(counts[..., 0]))) if power == 1 else None
            comparison[f"pass@{power}"] = _entry(paired_difference(*figures, bounds=(0, 1), grain=grain))
        power *= 2
    figures = {
        "response_length": (lambda row: row["n_tokens"], None),
        "truncated": (lambda row: row["finish_reason"] == "length", (0, 1)),
        "no_answer": (lambda row: row["verdict"]["reason"] == "no_answer", (0, 1)),
    }
    for key, (figure, bounds) in figures.items():
        means = [[float(np.mean([figure(row) for row in run[question]])) for question in common] for run in runs]
        comparison[key] = _entry(paired_difference(*means, bounds=bounds))
    comparison["entropy"] = _entropy(name, folders, runs)
    return comparison


def _entropy(name: str, folders: Sequence[Path], runs: Sequence[dict]) -> dict[str, Any] | None:
    """The entropies of the two runs and their relative change; `None` where one did not measure it."""
    files = [folder / f"entropy_{name}.jsonl" for folder in folders]
    if not all(file.is_file() for file in files):
        return None
    sums = []
    for file, run in zip(files, runs, strict=True):
        questions = {rows[0]["index"]: question for question, rows in run.items()}
        total: dict[Any, list[float]] = {}
        for _, row in read_jsonl(file):
            if row["index"] in questions:
                pair = total.setdefault(questions[row["index"]], [0.0, 0.0])
                pair[0] += row["entropy"] * row["n_tokens"]
                pair[1] += row["n_tokens"]
        sums.append(total)
    common = [question for question in sums[0] if question in sums[1]]
    if not common:
        return None
    pairs = [tuple(zip(*(total[question] for question in common), strict=True)) for total in sums]
    means = [sum(upper) / sum(lower) for upper, lower in pairs]
    entry: dict[str, Any] = {"first": means[0], "second": means[1], "n": len(common)}
    if min(means) > 0:
        change = relative_change(*pairs)
        entry |= {"relative_change": change.mean, "ci": _interval(change.low, change.high)}
    return entry


def _domains(benchmarks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    domains: dict[str, dict[str, Any]] = {}
    for key in ("group", "domain"):
        for label in dict.fromkeys(entry[key] for entry in benchmarks.values()):
            members = {name: entry["pass@1"] for name, entry in benchmarks.items() if entry[key] == label}
            change = combined([Estimate(e["difference"], *e["ci"], 1) for e in members.values()])
            domains[label] = {
                "benchmarks": list(members),
                "pass@1": {
                    "first": float(np.mean([entry["first"] for entry in members.values()])),
                    "second": float(np.mean([entry["second"] for entry in members.values()])),
                    "difference": change.mean,
                    "ci": [change.low, change.high],
                },
            }
    return domains


def _by_question(file: Path) -> dict[tuple, list[dict[str, Any]]]:
    """Rows of each question, which its text and its options identify."""
    questions: dict[tuple, list[dict[str, Any]]] = {}
    for _, row in read_jsonl(file):
        questions.setdefault((row["problem"], tuple(row.get("choices") or ())), []).append(row)
    return questions


def _is_judged(row: dict[str, Any]) -> bool:
    return row["verdict"]["correct"] is not None


def _count(rows: Sequence[dict[str, Any]]) -> tuple[int, int]:
    judged = [row for row in rows if _is_judged(row)]
    return len(judged), sum(bool(row["verdict"]["correct"]) for row in judged)


def _entry(difference: Difference) -> dict[str, Any]:
    return {
        "first": difference.first,
        "second": difference.second,
        "difference": difference.mean,
        "ci": _interval(difference.low, difference.high),
        "p_value": difference.p_value,
    }


def _interval(low: float, high: float) -> list[float] | None:
    return [low, high] if math.isfinite(low) and math.isfinite(high) else None


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

    first: str | None = setting(None, "output_dir of an evaluation.", positional=True)
    second: str | None = setting(None, "output_dir of another, with the same sampling.", positional=True)
    output: str | None = setting(None, "JSON file to write everything to.")

    def __post_init__(self):
        if not self.first or not self.second:
            raise UserError("name two evaluations: glow-trl compare RUN_A RUN_B")


def main(argv: Sequence[str] | None = None) -> None:
    """Compare two evaluations and print the differences."""
    from rich.console import Console

    config: CompareConfig = parse_command("compare", sys.argv[1:] if argv is None else argv).config
    with writing(config.output) as output:
        comparison = compare_runs(config.first, config.second)
        if output is not None:
            write_json(output, comparison)
    console = Console()
    console.print(comparison_table(comparison))
    for name in comparison["left_out"]:
        console.print(f"{name}: only in one of the two, left out", style="dim")


def comparison_table(comparison: dict[str, Any]) -> "Table":
    """A table of a comparison, for the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ..statistics.numbers import number

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("benchmark", min_width=12)
    for column in (
        "questions",
        "accuracy A",
        "B",
        "B - A",
        "95 %",
        "p (Holm)",
        "tokens A",
        "B",
        "entropy A",
        "B",
        "change",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    for name, entry in comparison["benchmarks"].items():
        accuracy, length, entropy = entry["pass@1"], entry["response_length"], entry["entropy"] or {}
        cells = [f"{name} ({entry['domain']})", f"{entry['n']:,}", *_difference_cells(accuracy)]
        cells += [f"{accuracy['p_value']:.3g} ({accuracy['p_adjusted']:.3g})"]
        cells += [number(length["first"], 1), number(length["second"], 1)]
        cells += [number(entropy.get("first"), 3), number(entropy.get("second"), 3)]
        cells += [_relative(entropy)]
        table.add_row(*map(Text, cells))
    for label, entry in comparison["domains"].items():
        if len(entry["benchmarks"]) > 1:
            count = f"{len(entry['benchmarks'])} sets"
            table.add_row(*map(Text, [f"mean of {label}", count, *_difference_cells(entry["pass@1"])]), style="bold")
    table.caption = "accuracies in percent, differences in points"
    return table


def _difference_cells(entry: dict[str, Any]) -> list[str]:
    from ..statistics.numbers import percent

    interval = "" if entry["ci"] is None else f"{100 * entry['ci'][0]:+.1f} to {100 * entry['ci'][1]:+.1f}"
    return [percent(entry["first"]), percent(entry["second"]), f"{100 * entry['difference']:+.1f}", interval]


def _relative(entropy: dict[str, Any]) -> str:
    if "relative_change" not in entropy:
        return "–"
    interval = entropy["ci"]
    around = "" if interval is None else f" ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})"
    return f"{100 * entropy['relative_change']:+.1f} %{around}"


if __name__ == "__main__":
    sys.exit(run_command("compare"))
