"""Charts of what the stages scored: accuracy, pass@k, majority@k, differences between arms, entropy."""

import math
from typing import Any

from ...evaluation.metrics import points_by_k
from ..arm_styles import ArmStyle
from ..run_data import STAGES, RunData
from ..svg import COLORS, Chart


_LABELS = {"sft": "after SFT", "grpo": "after GRPO"}


def accuracy_charts(data: RunData) -> list[str]:
    """Accuracy after SFT and after GRPO, with intervals: a chart per benchmark, or one of all for a single arm."""
    if not data.benchmarks:
        return []
    if (arm := data.main_arm) is not None and len(data.arms) == 1:
        rows = [(name, arm.style, _results(data, name)[arm.name]) for name in data.benchmarks]
        return [_accuracy_chart("Accuracy", "Accuracy on each benchmark", rows, 5.2)]
    charts = []
    for benchmark, domain in data.benchmarks.items():
        found = _results(data, benchmark)
        rows = [(name, arm.style, found[name]) for name, arm in data.arms.items() if found[name]]
        charts.append(_accuracy_chart(benchmark, f"Accuracy on {benchmark} ({domain}-domain)", rows, 3.6))
    return charts


def curve_charts(data: RunData, measure: str = "pass") -> list[str]:
    """
    One chart per benchmark that has more than one k: `pass` or `majority`@k of each arm before and after GRPO. All of
    them, of both measures, have the same axes, so that any two can be compared.
    """
    charts = []
    every = [
        points_by_k(row, name)
        for benchmark in data.benchmarks
        for stages in _results(data, benchmark).values()
        for row in stages.values()
        for name in ("pass", "majority")
    ]
    ks = sorted({k for points in every for k in points})
    # The next ten above the highest
    top = max((10 * math.ceil(10 * value) for points in every for value in points.values()), default=100)
    for benchmark in data.benchmarks:
        curves = [
            (data.arms[arm].style, stage, points)
            for arm, stages in _results(data, benchmark).items()
            for stage, row in stages.items()
            if len(points := points_by_k(row, measure)) > 1
        ]
        if not curves:
            continue
        with Chart(benchmark, f"{measure}@k on {benchmark} by the number of samples k, in percent") as chart:
            axes = chart.axes
            for style, stage, points in curves:
                filled = stage == "grpo"
                percents = [100 * value for value in points.values()]
                width = 1.8 if filled else 1.0
                axes.plot(
                    list(points), percents, color=COLORS[style.color], linestyle=style.linestyle, linewidth=width
                )
                for k, value in zip(points, percents, strict=True):
                    chart.mark(k, value, style, filled, 5)
            axes.set_xscale("log", base=2)
            axes.set_xticks(ks, [str(k) for k in ks])
            axes.minorticks_off()
            axes.set(xlabel="k", ylabel=f"{measure}@k, %", xlim=(0.9 * ks[0], 1.1 * ks[-1]))
            axes.set_ylim(-0.02 * top, 1.02 * top)
        charts.append(chart.svg)
    return charts


def seed_charts(data: RunData, beside: dict[str, Any]) -> list[str]:
    """One chart per stage: the run of an arm on each benchmark, where one run is expected, and the mean over seeds."""
    charts = []
    style = data.arms[beside["arm"]].style
    for stage in beside["stages"]:
        rows = {row["name"]: cell for row in beside["rows"] if (cell := row["cells"].get(stage)) is not None}
        title = f"This run among other seeds, {_LABELS[stage]}"
        description = f"{beside['arm']}: range expected of one run, interval of the mean over seeds, and this run"
        with Chart(title, description, (5.2, 1.0 + 0.34 * len(rows))) as chart:
            for place, cell in enumerate(rows.values()):
                for key, color, width in (("one_more_run", "grid", 7), ("ci", "muted", 2)):
                    if cell["study"][key]:
                        ends = [100 * end for end in cell["study"][key]]
                        chart.axes.plot(
                            ends, [place, place], color=COLORS[color], linewidth=width, solid_capstyle="butt"
                        )
                if cell["value"] is not None:
                    chart.mark(100 * cell["value"], place, style, stage == "grpo")
            chart.name_rows(rows)
            chart.axes.set_xlabel("accuracy, %")
        charts.append(chart.svg)
    return charts


def difference_charts(data: RunData, table: dict[str, Any]) -> list[str]:
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
                    comparison, style = row["cells"][position], data.arms[table["columns"][position][1]].style
                    if comparison is None:
                        continue
                    level = place + _offset(offset, len(columns))
                    ends = [100 * comparison.low, 100 * comparison.high]
                    axes.plot(ends, [level, level], color=COLORS[style.color], linewidth=1.4)
                    chart.mark(100 * comparison.difference, level, style, bool(comparison.mark))
            chart.name_rows(row["name"] for row in rows)
            axes.set_xlabel("percentage points (95 % interval)")
        charts.append(chart.svg)
    return charts


def entropy_chart(data: RunData, section: dict[str, Any]) -> list[str]:
    """Entropy of each arm and stage on each benchmark."""
    rows = [row for row in section["rows"] if not row["pooled"]]
    columns = section["columns"]
    arms = list(dict.fromkeys(arm for arm, _ in columns))
    height = 1.0 + len(rows) * (0.22 + 0.07 * len(columns))
    description = "Mean entropy per token of each arm and stage on each benchmark, in nats"
    with Chart("Policy entropy", description, (5.2, height)) as chart:
        for place, row in enumerate(rows):
            for (arm, stage), value in zip(columns, row["values"], strict=True):
                if value is not None:
                    level = place + _offset(arms.index(arm), len(arms))
                    chart.mark(value, level, data.arms[arm].style, stage == "grpo")
        chart.name_rows(row["name"] for row in rows)
        chart.axes.set_xlim(left=0)
        chart.axes.set_xlabel("nats per token")
    return [chart.svg]


def _results(data: RunData, benchmark: str) -> dict[str, dict[str, dict[str, Any]]]:
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for name, arm in data.arms.items():
        results[name] = {}
        for stage in STAGES:
            row = arm.stages[stage].summary(benchmark) if stage in arm.stages else {}
            if row.get("pass@1") is not None:
                results[name][stage] = row
    return results


def _offset(position: int, count: int) -> float:
    """Where in its row the mark of one of `count` arms stands."""
    return 0.66 * ((position + 0.5) / count - 0.5)


def _accuracy_chart(
    title: str, description: str, rows: list[tuple[str, ArmStyle, dict[str, dict[str, Any]]]], width: float
) -> str:
    with Chart(title, f"{description} after each stage, in percent", (width, 1.0 + 0.36 * len(rows))) as chart:
        for position, (_, style, stages) in enumerate(rows):
            _dumbbell(chart, position, stages, style)
        chart.name_rows(name for name, *_ in rows)
        chart.axes.set(xlim=(-2, 102), xticks=range(0, 101, 20), xlabel="accuracy, % (95 % interval)")
    return chart.svg


def _dumbbell(chart: Chart, position: float, stages: dict[str, dict[str, Any]], style: ArmStyle) -> None:
    color = COLORS[style.color]
    if len(stages) == 2:
        ends = [100 * stages[stage]["pass@1"] for stage in STAGES]
        chart.axes.plot(ends, [position, position], color=color, linewidth=4, alpha=0.25, solid_capstyle="butt")
    for stage, row in stages.items():
        interval = row.get("pass@1_ci")
        # Intervals of both stages often overlap: one is drawn a little above the line, the other below
        level = position + (-0.13 if stage == "sft" else 0.13)
        if interval:
            chart.axes.plot([100 * end for end in interval], [level, level], color=color, linewidth=1.1)
        chart.mark(100 * row["pass@1"], level, style, stage == "grpo")
