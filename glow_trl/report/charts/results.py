"""Charts of what the stages scored: accuracy, pass@k, majority@k, differences between arms, entropy."""

from typing import TYPE_CHECKING, Any

from ..run_data import STAGES, RunData
from ..scores import Comparison
from ..svg import COLORS, Chart


if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABELS = {"sft": "after SFT", "grpo": "after GRPO"}
_PERCENT_TICKS = [0, 20, 40, 60, 80, 100]


def accuracy_charts(data: RunData) -> list[str]:
    """Accuracy after SFT and after GRPO, with intervals: a chart per benchmark, or one of all for a single arm."""
    if not data.benchmarks:
        return []
    if len(data.arms) == 1:
        arm = next(iter(data.arms))
        rows = [(name, COLORS[f"arm-{arm}"], _results(data, name)[arm]) for name in data.benchmarks]
        return [_accuracy_chart("Accuracy", "Accuracy on each benchmark", rows, (5.2, 1.0 + 0.36 * len(rows)))]
    charts = []
    for benchmark, domain in data.benchmarks.items():
        rows = [(arm, COLORS[f"arm-{arm}"], stages) for arm, stages in _results(data, benchmark).items() if stages]
        description = f"Accuracy on {benchmark} ({domain}-domain)"
        charts.append(_accuracy_chart(benchmark, description, rows, (3.6, 1.0 + 0.36 * len(rows))))
    return charts


def curve_charts(data: RunData, measure: str = "pass") -> list[str]:
    """One chart per benchmark that has more than one k: `pass` or `majority`@k of each arm before and after GRPO."""
    charts = []
    for benchmark in data.benchmarks:
        curves = {
            (arm, stage): points
            for arm, stages in _results(data, benchmark).items()
            for stage, row in stages.items()
            if len(points := points_by_k(row, measure)) > 1
        }
        if not curves:
            continue
        ks = sorted({k for points in curves.values() for k in points})
        with Chart(benchmark, f"{measure}@k on {benchmark} by the number of samples k, in percent") as chart:
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
            axes.set_ylabel(f"{measure}@k, %")
            axes.set_ylim(top=min(102, axes.get_ylim()[1]))
        charts.append(chart.svg)
    return charts


def difference_charts(table: dict[str, Any]) -> list[str]:
    """One chart per stage: accuracy of the other arms minus the first one's on each benchmark, with intervals."""
    charts = []
    for stage in STAGES:
        columns = [position for position, (its_stage, _) in enumerate(table["columns"]) if its_stage == stage]
        rows = [row for row in table["rows"] if any(row["cells"][position] for position in columns)]
        if not columns or not rows:
            continue
        title = f"Difference from {table['reference']} {_LABELS[stage]}"
        height = 0.9 + len(rows) * (0.18 + 0.15 * len(columns))
        with Chart(title, f"{title} in percentage points, with 95 % intervals", (5.2, height)) as chart:
            axes = chart.axes
            axes.axvline(0, color=COLORS["muted"], linewidth=1)
            for place, row in enumerate(rows):
                for offset, position in enumerate(columns):
                    _interval(axes, row["cells"][position], place, offset, len(columns), table["columns"][position][1])
            axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.set_xlabel("percentage points (95 % interval)")
            axes.grid(visible=False, axis="y")
            axes.tick_params(axis="y", length=0, labelcolor=COLORS["text"])
            axes.spines["left"].set_visible(False)
        charts.append(chart.svg)
    return charts


def entropy_chart(section: dict[str, Any]) -> list[str]:
    """Entropy of each arm and stage on each benchmark."""
    rows = [row for row in section["rows"] if not row["pooled"]]
    columns = section["columns"]
    title = "Policy entropy"
    height = 1.0 + len(rows) * (0.22 + 0.07 * len(columns))
    with Chart(
        title, "Mean entropy per token of each arm and stage on each benchmark, in nats", (5.2, height)
    ) as chart:
        axes = chart.axes
        arms = list(dict.fromkeys(arm for arm, _ in columns))
        for place, row in enumerate(rows):
            for (arm, stage), value in zip(columns, row["values"], strict=True):
                if value is None:
                    continue
                color = COLORS[f"arm-{arm}"]
                axes.plot(
                    value,
                    place + 0.6 * ((arms.index(arm) + 0.5) / len(arms) - 0.5),
                    marker="o",
                    markersize=6,
                    color=color,
                    markerfacecolor=color if stage == "grpo" else COLORS["surface"],
                    markeredgewidth=1.6,
                )
        axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel("nats per token")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0, labelcolor=COLORS["text"])
        axes.spines["left"].set_visible(False)
    return [chart.svg]


def points_by_k(row: dict[str, Any], measure: str = "pass") -> dict[int, float]:
    """pass@k or majority@k by k, in ascending order. The majority of one is the one."""
    prefix = f"{measure}@"
    suffixes = {key: key.removeprefix(prefix) for key in row if key.startswith(prefix)}
    points = {int(suffix): row[key] for key, suffix in suffixes.items() if suffix.isdigit() and row[key] is not None}
    if measure == "majority" and points and row.get("pass@1") is not None:
        points[1] = row["pass@1"]
    return dict(sorted(points.items()))


def _results(data: RunData, benchmark: str) -> dict[str, dict[str, dict[str, Any]]]:
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for name, arm in data.arms.items():
        results[name] = {}
        for stage in STAGES:
            row = arm.stages[stage].summary(benchmark) if stage in arm.stages else {}
            if row.get("pass@1") is not None:
                results[name][stage] = row
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


def _interval(axes: "Axes", comparison: Comparison | None, place: int, offset: int, count: int, arm: str) -> None:
    if comparison is None:
        return
    height = place + 0.66 * ((offset + 0.5) / count - 0.5)
    color = COLORS[f"arm-{arm}"]
    axes.plot([100 * comparison.low, 100 * comparison.high], [height, height], color=color, linewidth=1.4)
    filled = bool(comparison.mark)
    axes.plot(
        100 * comparison.difference,
        height,
        marker="o",
        markersize=5,
        color=color,
        markerfacecolor=color if filled else COLORS["surface"],
        markeredgewidth=1.4,
    )
