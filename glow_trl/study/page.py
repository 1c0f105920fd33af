"""The page of a study, one file of HTML, and its `study.json`."""

import textwrap
from pathlib import Path
from typing import Any

from ..report.arm_styles import ArmStyle
from ..report.page import page_environment
from ..report.scores import stars
from ..report.svg import COLORS, Chart
from ..stages.files import atomic_file, write_json
from ..stages.machine import describe_machine
from ..stages.record import jsonable
from ..stages.secrets import hide_known
from ..statistics.numbers import percent, points
from .declared import Declared
from .file import LOSSES, StudyFile
from .grid import Setting
from .results import study_results


PAGE, RESULTS = "study.html", "study.json"
VERDICTS = ("held", "did not hold", "undecided")
# Characters that fit under a chart
_LABEL_WIDTH = 64
_LABELS = {
    "loss_positive": "Loss of positives, by epoch",
    "loss_negative": "Loss of negatives, by epoch",
    "reward": "Reward, by step",
    "entropy": "Entropy, by step",
}


def write_page(study: StudyFile, grid: list[Setting], declared: Declared, folder: Path) -> dict[str, Any]:
    """Write `study.html` and `study.json` of what a study's runs have left; returns the content of the latter."""
    results = {
        "declared": {"sha256": declared.digest, "time": declared.time, "changes": declared.changes},
        "study": {
            key: value for key, value in jsonable(vars(study)).items() if key not in ("measures", "claims", "recipe")
        },
        **study_results(study, grid),
    }
    write_json(folder / RESULTS, results)
    environment, styles = page_environment("glow_trl.study")
    environment.filters |= {"figure": figure, "change": change, "stars": stars}
    arms = {arm: ArmStyle.at(place) for place, arm in enumerate(study.arms)}
    page = environment.get_template("study.html.jinja").render(
        styles=styles,
        name=folder.resolve().name,
        study=study,
        results=results,
        level=f"{100 * (1 - study.alpha):g} %",
        arms=study.arms,
        swatches={arm: style.swatch for arm, style in arms.items()},
        counts={verdict: sum(claim["verdict"] == verdict for claim in results["claims"]) for verdict in VERDICTS},
        mixed=mixed_settings(results),
        made=made_with(results),
        charts=[measure_charts(setting, arms) for setting in results["settings"]],
        curves=[[curve_chart(curve, arms) for curve in setting["curves"]] for setting in results["settings"]],
    )
    with atomic_file(folder / PAGE) as file:
        file.write(hide_known(page))
    return results


def mixed_settings(results: dict[str, Any]) -> list[str]:
    """The arms whose runs were not all told the same, in words."""
    return [
        f"{setting['name']}: the runs of {arm} differ in {', '.join(names)}, though not by this file"
        for setting in results["settings"]
        for arm, names in setting["stage_settings"]["mixed"].items()
    ]


def made_with(results: dict[str, Any]) -> str:
    """Machines, versions and revisions of the runs, in words."""
    made = results["made"]
    parts = [describe_machine(machine) for machine in made["machines"]] or ["a machine that is not recorded"]
    parts += [f"{package} {', '.join(found)}" for package, found in made["versions"].items()]
    return "; ".join([*parts, *(f"revision {revision}" for revision in made["git"])])


def figure(value: float | None, is_share: bool) -> str:
    """A figure for people: shares in percent, others with four digits."""
    if value is None:
        return "–"
    return (percent(value) if is_share else f"{value:.4g}").replace("-", "−")


def change(value: float | None, is_share: bool) -> str:
    """A difference for people, with its sign: of shares in percentage points."""
    if value is None:
        return "–"
    return points(value) if is_share else f"{value:+.3g}".replace("-", "−")


def measure_charts(setting: dict[str, Any], arms: dict[str, ArmStyle]) -> list[str]:
    """One chart for each primary measure: its mean in each of the arms with the interval, and the seeds as points."""
    charts = []
    for name, measure in setting["measures"].items():
        rows = {arm: row for arm, row in measure["arms"].items() if row is not None and arm in arms}
        if not measure["primary"] or not rows:
            continue
        scale = 100 if measure["is_share"] else 1
        with Chart(
            name, f"{measure['description']} of each arm, with intervals", (5.2, 1.0 + 0.34 * len(rows))
        ) as chart:
            for place, (arm, row) in enumerate(rows.items()):
                color = COLORS[arms[arm].color]
                if row["ci"]:
                    chart.axes.plot([scale * end for end in row["ci"]], [place, place], color=color, linewidth=1.4)
                seeds = [scale * value for value in row["by_seed"].values()]
                chart.axes.plot(seeds, [place + 0.25] * len(seeds), ".", color=color, alpha=0.6, markersize=4)
                chart.mark(scale * row["mean"], place, arms[arm], True)
            chart.name_rows(rows)
            label = measure["description"] + (", %" if measure["is_share"] else "")
            chart.axes.set_xlabel(textwrap.fill(label, _LABEL_WIDTH))
        charts.append(chart.svg)
    return charts


def curve_chart(curve: dict[str, Any], arms: dict[str, ArmStyle], legend: bool = False) -> str:
    """The curves of all arms: means over seeds, and the range of the seeds as a band."""
    title = _LABELS.get(curve["name"], curve["name"]) + f" ({curve['stage'].upper()})"
    with Chart(
        title, f"{curve['name']} of {curve['stage']} in each arm: mean and range over seeds", (4.6, 3.0)
    ) as chart:
        for arm, row in curve["arms"].items():
            color = COLORS[arms[arm].color]
            chart.axes.fill_between(row["x"], row["low"], row["high"], color=color, alpha=0.15, linewidth=0)
            chart.axes.plot(row["x"], row["mean"], color=color, linestyle=arms[arm].linestyle, label=arm)
        chart.axes.set_xlabel("epoch" if curve["name"] in LOSSES else "step")
        if legend:
            chart.add_legend()
    return chart.svg
