"""The charts of the report. Each function returns inline SVGs, and fewer or none where data is missing."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .dynamics import OUTCOMES, Weighting, weighted_epochs, weights
from .run_data import STAGES, ArmData, RunData
from .svg import COLORS, Chart


if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DASHES = {"glow": "-", "positive": (0, (5, 2)), "negative": (0, (1, 1.4)), "all": (0, (5, 1.5, 1, 1.5))}
_LABELS = {"sft": "after SFT", "grpo": "after GRPO"}
_PERCENT_TICKS = [0, 20, 40, 60, 80, 100]


def accuracy_charts(data: RunData) -> list[str]:
    """Accuracy after SFT and after GRPO, with intervals: a chart per benchmark, or one of all for a single arm."""
    if not data.benchmarks:
        return []
    if len(data.arms) == 1:
        arm = next(iter(data.arms))
        rows = [(name, COLORS[f"arm-{arm}"], _results(data, name)[arm]) for name in data.benchmarks]
        return [_accuracy_chart("Accuracy", "Accuracy on each benchmark", rows, (7.2, 1.0 + 0.4 * len(rows)))]
    charts = []
    for benchmark, domain in data.benchmarks.items():
        rows = [(arm, COLORS[f"arm-{arm}"], stages) for arm, stages in _results(data, benchmark).items() if stages]
        description = f"Accuracy on {benchmark} ({domain}-domain)"
        charts.append(_accuracy_chart(benchmark, description, rows, (3.6, 1.0 + 0.36 * len(rows))))
    return charts


def pass_at_k_charts(data: RunData) -> list[str]:
    """One chart per benchmark that has more than one k: pass@k of each arm before and after GRPO."""
    charts = []
    for benchmark in data.benchmarks:
        curves = {
            (arm, stage): points
            for arm, stages in _results(data, benchmark).items()
            for stage, row in stages.items()
            if len(points := pass_points(row)) > 1
        }
        if not curves:
            continue
        ks = sorted({k for points in curves.values() for k in points})
        with Chart(benchmark, f"pass@k on {benchmark} by the number of samples k, in percent") as chart:
            axes = chart.axes
            for (arm, stage), points in curves.items():
                filled = stage == "grpo"
                axes.plot(
                    list(points),
                    [100 * value for value in points.values()],
                    color=COLORS[f"arm-{arm}"],
                    linestyle="-" if filled else (0, (2, 2)),
                    marker="o",
                    markersize=4.5,
                    markerfacecolor=COLORS[f"arm-{arm}"] if filled else COLORS["surface"],
                    label=f"{arm}, {_LABELS[stage]}",
                )
            axes.set_xscale("log", base=2)
            axes.set_xticks(ks, [str(k) for k in ks])
            axes.minorticks_off()
            axes.set_xlabel("k")
            axes.set_ylabel("pass@k, %")
            axes.set_ylim(top=min(102, axes.get_ylim()[1]))
        charts.append(chart.svg)
    return charts


def loss_charts(data: RunData) -> list[str]:
    """One chart per arm: mean loss of positives and of negatives in each epoch, and the middle half of each."""
    arms = [arm for arm in data.arms.values() if arm.ledger is not None]
    charts = []
    highest = max((_upper(arm) for arm in arms), default=1.0)
    for arm in arms:
        ledger = arm.ledger
        with Chart(arm.name, f"Loss of positive and negative samples per epoch, arm {arm.name}") as chart:
            axes = chart.axes
            for outcome, code in OUTCOMES.items():
                losses = ledger.losses[:, ledger.is_correct == code]
                visited = ~np.isnan(losses).all(axis=1)
                if not losses.size or not visited.any():
                    continue
                color = COLORS[f"outcome-{outcome}"]
                epochs, losses = np.array(ledger.epochs)[visited], losses[visited]
                low, high = np.nanquantile(losses, [0.25, 0.75], axis=1)
                axes.fill_between(epochs, low, high, color=color, alpha=0.15, linewidth=0)
                axes.plot(
                    epochs,
                    np.nanmean(losses, axis=1),
                    color=color,
                    linestyle="-" if outcome == "positive" else (0, (5, 2)),
                    marker="o",
                    markersize=4,
                    label=f"{outcome} ({losses.shape[1]:,})",
                )
            axes.set_ylim(0, highest * 1.05)
            axes.set_xticks(_epoch_ticks(ledger.epochs))
            axes.set_xlabel("epoch")
            axes.set_ylabel("loss, nats per token")
            if axes.get_legend_handles_labels()[0]:
                axes.legend()
        charts.append(chart.svg)
    return charts


def gain_charts(arm: ArmData) -> list[str]:
    """Histograms of the gains in the first and the last epoch that has any."""
    if arm.ledger is None:
        return []
    return [
        _histogram(
            f"Gain in epoch {epoch}",
            f"Distribution of the gains of epoch {epoch} by outcome, arm {arm.name}",
            "gain, nats per token",
            gains,
            arm.ledger.is_correct,
            zero_line=True,
        )
        for epoch, gains in _first_and_last(arm.ledger.gains())
    ]


def weight_charts(arm: ArmData, weighting: Weighting) -> list[str]:
    """Histograms of the weights in the first and the last weighted epoch, with the clip bounds."""
    return [
        _histogram(
            f"Weight in epoch {epoch}",
            f"Distribution of the weights of epoch {epoch} by outcome, arm {arm.name}",
            "weight",
            weights(gains, weighting),
            arm.ledger.is_correct,
            bounds=(weighting.min_weight, min(weighting.max_weight, max(weighting.alpha, weighting.min_weight))),
        )
        for epoch, gains in _first_and_last(weighted_epochs(arm, weighting))
    ]


def grpo_charts(data: RunData) -> list[str]:
    """Reward, entropy, completion length and share of cut-off completions over the GRPO steps, all arms in one."""
    panels = (
        ("Reward", "mean reward", ("reward",)),
        ("Policy entropy", "nats per token", ("entropy",)),
        ("Completion length", "tokens", ("completions/mean_length",)),
        ("Cut-off completions", "share", ("completions/clipped_ratio",)),
    )
    charts = []
    for title, unit, names in panels:
        series = {arm.name: arm.stages["grpo"].series(*names) for arm in data.arms.values() if "grpo" in arm.stages}
        series = {name: points for name, points in series.items() if points[0].size}
        if not series:
            continue
        with Chart(title, f"{title} over the steps of GRPO") as chart:
            axes = chart.axes
            for arm, (steps, values) in series.items():
                color = COLORS[f"arm-{arm}"]
                axes.plot(steps, values, color=color, linewidth=0.8, alpha=0.3)
                axes.plot(steps, _smooth(values), color=color, linestyle=_DASHES[arm], label=arm)
            axes.set_xlabel("step")
            axes.set_ylabel(unit)
            axes.margins(x=0.02)
        charts.append(chart.svg)
    return charts


def pass_points(row: dict[str, Any]) -> dict[int, float]:
    """pass@k by k, in ascending order."""
    suffixes = {key: key.removeprefix("pass@") for key in row if key.startswith("pass@")}
    return dict(sorted((int(suffix), row[key]) for key, suffix in suffixes.items() if suffix.isdigit()))


def _results(data: RunData, benchmark: str) -> dict[str, dict[str, dict[str, Any]]]:
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for name, arm in data.arms.items():
        results[name] = {}
        for stage in STAGES:
            row = ((arm.stages[stage].results if stage in arm.stages else None) or {}).get("benchmarks", {})
            if benchmark in row:
                results[name][stage] = row[benchmark]
    return results


def _accuracy_chart(
    title: str, description: str, rows: list[tuple[str, str, dict[str, dict[str, Any]]]], size: tuple[float, float]
) -> str:
    with Chart(title, f"{description} after each stage, in percent", size) as chart:
        axes = chart.axes
        for position, (_, color, stages) in enumerate(rows):
            _dumbbell(axes, position, stages, color)
        axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-2, 102)
        axes.set_xticks(_PERCENT_TICKS)
        axes.set_xlabel("accuracy, % (95 % interval)")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0, labelcolor=COLORS["text"])
        axes.spines["left"].set_visible(False)
    return chart.svg


def _dumbbell(axes: "Axes", position: float, stages: dict[str, dict[str, Any]], color: str) -> None:
    if len(stages) == 2:
        ends = [100 * stages[stage]["pass@1"] for stage in STAGES]
        axes.plot(ends, [position, position], color=color, linewidth=4, alpha=0.25, solid_capstyle="butt")
    for stage, row in stages.items():
        interval = row.get("pass@1_ci")
        # Intervals of both stages often overlap: one is drawn a little above the line, the other below
        height = position + (-0.13 if stage == "sft" else 0.13)
        if interval:
            axes.plot([100 * end for end in interval], [height, height], color=color, linewidth=1.1)
        axes.plot(
            100 * row["pass@1"],
            height,
            marker="o",
            markersize=6.5,
            color=color,
            markerfacecolor=color if stage == "grpo" else COLORS["surface"],
            markeredgewidth=1.6,
        )


def _histogram(
    title: str,
    description: str,
    xlabel: str,
    values: np.ndarray,
    is_correct: np.ndarray,
    zero_line: bool = False,
    bounds: tuple[float, float] | None = None,
) -> str:
    known = values[~np.isnan(values)]
    low, high = np.quantile(known, [0.002, 0.998]) if bounds is None else bounds
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, 41)
    with Chart(title, description) as chart:
        axes = chart.axes
        for outcome, code in OUTCOMES.items():
            chosen = values[(is_correct == code) & ~np.isnan(values)]
            if chosen.size:
                color = COLORS[f"outcome-{outcome}"]
                share = np.full(chosen.size, 100 / chosen.size)
                clipped = np.clip(chosen, low, high)
                axes.hist(clipped, edges, weights=share, histtype="stepfilled", color=color, alpha=0.18)
                axes.hist(
                    clipped,
                    edges,
                    weights=share,
                    histtype="step",
                    color=color,
                    linewidth=1.5,
                    linestyle="-" if outcome == "positive" else (0, (4, 1.5)),
                    label=outcome,
                )
        if zero_line:
            axes.axvline(0, color=COLORS["muted"], linewidth=1)
        axes.set_xlabel(xlabel)
        axes.set_ylabel("% of samples")
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    return chart.svg


def _first_and_last(epochs: list[tuple[int, np.ndarray]]) -> list[tuple[int, np.ndarray]]:
    with_values = [item for item in epochs if not np.isnan(item[1]).all()]
    return with_values[:1] + with_values[1:][-1:]


def _upper(arm: ArmData) -> float:
    """The highest value that the arm's loss chart shows."""
    ledger = arm.ledger
    highest = []
    for code in OUTCOMES.values():
        losses = ledger.losses[:, ledger.is_correct == code]
        visited = losses[~np.isnan(losses).all(axis=1)] if losses.size else losses
        if visited.size:
            highest += [np.nanquantile(visited, 0.75, axis=1).max(), np.nanmean(visited, axis=1).max()]
    return float(max(highest, default=1.0))


def _epoch_ticks(epochs: list[int]) -> list[int]:
    stride = max(1, -(-len(epochs) // 10))
    return epochs[::stride]


def _smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over a twentieth of the curve, narrower at its ends."""
    half = max(1, values.size // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    left = np.maximum(np.arange(values.size) - half, 0)
    right = np.minimum(np.arange(values.size) + half + 1, values.size)
    return (sums[right] - sums[left]) / (right - left)
