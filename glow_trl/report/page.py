"""The report page: one file of HTML that needs nothing else."""

import json
from importlib import resources
from typing import Any

from ..statistics.numbers import duration, interval, number, p_value, percent, points, span
from . import charts
from .comparison import arms_table, results_table
from .dynamics import arm_map, column_tables, map_facts, weight_table, weighting_of
from .entropy import entropy_section
from .examples import evaluation_examples, training_examples, trajectory_counts
from .patterns import loss_sections, pattern_sections
from .run_data import STAGES, ArmData, RunData
from .scores import LEVELS, ScoreBook


_TEMPLATES = "templates"


def render_page(data: RunData, summary: dict[str, Any]) -> str:
    """The report of a run as HTML.

    Args:
        data ([`RunData`]): what the run left.
        summary (`dict`): the content of `summary.json`.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("glow_trl.report", _TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (percent, interval, number, duration, points, p_value)
    environment.filters |= {function.__name__: function for function in filters}
    markup = jinja2.utils.markupsafe.Markup
    # Lets a name of words joined by underscores break after them
    environment.filters["breakable"] = lambda name: markup.escape(name).replace("_", markup("_<wbr>"))
    environment.globals["span"] = span
    environment.globals["Markup"] = jinja2.utils.markupsafe.Markup
    styles = resources.files("glow_trl.report").joinpath(_TEMPLATES, "report.css").read_text(encoding="utf-8")
    return environment.get_template("report.html.jinja").render(styles=styles, **page_content(data, summary))


def page_content(data: RunData, summary: dict[str, Any]) -> dict[str, Any]:
    """Everything that the template shows, by section."""
    book = ScoreBook(data)
    differences = arms_table(data, book)
    entropy = entropy_section(data, book)
    annotations = pattern_sections(data)
    for section in annotations:
        section["charts"] = charts.pattern_chart(section)
    return {
        "recipe": data.recipe,
        "summary": summary,
        "arms": list(data.arms),
        "stages": STAGES,
        "benchmarks": data.benchmarks,
        "headline": headline(summary, data.benchmarks),
        "k_values": _k_values(summary),
        "results": results_table(data, book) if data.benchmarks else None,
        "levels": [{"mark": mark, "level": level} for level, mark in reversed(LEVELS)],
        "accuracy_charts": charts.accuracy_charts(data),
        "pass_charts": charts.curve_charts(data),
        "majority_charts": charts.curve_charts(data, "majority"),
        "differences": differences,
        "difference_charts": charts.difference_charts(differences) if differences else [],
        "entropy": entropy,
        "entropy_charts": charts.entropy_chart(entropy) if entropy else [],
        **_training(data),
        "losses": loss_sections(data),
        "grpo_charts": charts.grpo_charts(data),
        "trajectories": trajectory_counts(data),
        "training_examples": training_examples(data),
        "annotations": annotations,
        "examples": evaluation_examples(data),
        "stage_rows": _stage_rows(data),
        "facts": _facts(data),
        "configurations": _configurations(data),
    }


def _training(data: RunData) -> dict[str, Any]:
    """What SFT did to the samples, in detail for the arm that was weighted by gain, or the first with a ledger."""
    with_ledger = [arm for arm in data.arms.values() if arm.ledger is not None]
    weighted = [arm for arm in with_ledger if weighting_of(arm) is not None]
    arm = next(iter(weighted or with_ledger), data.main_arm)
    weighting = None if arm is None else weighting_of(arm)
    weight_rows = weight_table(arm, weighting) if weighting is not None else []
    content = {
        "loss_charts": charts.loss_charts(data),
        "gain_charts": charts.gain_charts(arm) if arm is not None else [],
        "weight_charts": charts.weight_charts(arm, weighting) if weight_rows else [],
        "bound_charts": charts.bound_charts(arm, weight_rows),
        "weight_rows": weight_rows,
        "weighting": weighting,
        "detailed_arm": arm.name if arm is not None else None,
        "columns": [],
        "map": None,
    }
    cartography = None if arm is None else arm_map(arm)
    if cartography is not None:
        content["columns"] = column_tables(arm.ledger, weighting, cartography)
        content["map"] = map_facts(arm.ledger, cartography) | {"arms": _maps(with_ledger)}
    return content


def _maps(arms: list[ArmData]) -> list[dict[str, Any]]:
    """The chart of each arm's data map, with what it shows."""
    maps = []
    for arm in arms:
        cartography = arm_map(arm)
        drawn = None if cartography is None else charts.map_chart(arm, cartography)
        if drawn is not None:
            svg, shown, samples = drawn
            known, never = int(cartography.known.sum()), int(cartography.never_improved.sum())
            maps.append(
                {"arm": arm.name, "svg": svg, "shown": shown, "samples": samples, "known": known, "never": never}
            )
    return maps


def headline(summary: dict[str, Any], benchmarks: dict[str, str]) -> dict[str, Any]:
    """The main arm's mean accuracy per domain after each stage, and the change that GRPO made."""
    arm = next(iter(summary["arms"]), None)
    tiles = []
    for domain, label in (("in", "In-domain"), ("out", "Out-of-domain")):
        names = [name for name, value in benchmarks.items() if value == domain]
        means = {}
        for stage in STAGES:
            rows = summary["arms"].get(arm, {}).get(stage, {}).get("benchmarks", {})
            values = [rows[name]["pass@1"] for name in names if "pass@1" in rows.get(name, {})]
            if values and len(values) == len(names):
                means[stage] = sum(values) / len(values)
        if means:
            change = means["grpo"] - means["sft"] if len(means) == 2 else None
            tiles.append({"label": label, "means": means, "change": change, "count": len(names)})
    return {"arm": arm, "tiles": tiles, "seconds": total_seconds(summary)}


def total_seconds(summary: dict[str, Any]) -> float | None:
    """Training and evaluation time of all stages; `None` if none was recorded."""
    recorded = [
        content[key]
        for stages in summary["arms"].values()
        for content in stages.values()
        for key in ("seconds", "evaluation_seconds")
        if content[key] is not None
    ]
    return sum(recorded) if recorded else None


def _k_values(summary: dict[str, Any]) -> list[int]:
    return sorted(
        {
            k
            for stages in summary["arms"].values()
            for content in stages.values()
            for row in content["benchmarks"].values()
            for k in charts.points_by_k(row)
            if k > 1
        }
    )


def _stage_rows(data: RunData) -> list[dict[str, Any]]:
    rows = []
    if data.label_run:
        rows.append({"name": "label", **_run_facts(data.label_run)})
    for name, arm in data.arms.items():
        for stage_name, stage in arm.stages.items():
            if stage.run:
                rows.append({"name": f"{name} / {stage_name}", **_run_facts(stage.run)})
            if stage.results is not None or stage.evaluation_run:
                seconds = (stage.results or {}).get("seconds")
                facts = _run_facts(stage.evaluation_run)
                rows.append({"name": f"{name} / {stage_name} evaluation", **facts, "seconds": seconds})
    return rows


def _run_facts(run: dict[str, Any]) -> dict[str, Any]:
    return {"status": run.get("status", ""), "seconds": run.get("seconds"), "started": run.get("started", "")}


def _facts(data: RunData) -> list[tuple[str, str]]:
    runs = _runs(data)
    facts = [("folder", data.folder.resolve().name)]
    for key, label in (("git", "git revision"), ("seed", "seed")):
        values = sorted({_short(key, run[key]) for _, run in runs if run.get(key) is not None})
        if values:
            facts.append((label, ", ".join(values)))
    versions: dict[str, set[str]] = {}
    for _, run in runs:
        for package, version in (run.get("versions") or {}).items():
            versions.setdefault(package, set()).add(str(version))
    facts += [(package, ", ".join(sorted(found))) for package, found in versions.items()]
    return facts


def _short(key: str, value: Any) -> str:
    if key != "git":
        return str(value)
    revision, dash, state = str(value).partition("-")
    return revision[:12] + dash + state


def _configurations(data: RunData) -> list[tuple[str, str]]:
    return [
        (name, json.dumps(run["config"], indent=2, ensure_ascii=False))
        for name, run in _runs(data)
        if run.get("config")
    ]


def _runs(data: RunData) -> list[tuple[str, dict[str, Any]]]:
    runs = [("run", data.run), ("label", data.label_run)]
    for name, arm in data.arms.items():
        for stage_name, stage in arm.stages.items():
            runs += [
                (f"{name} / {stage_name}", stage.run),
                (f"{name} / {stage_name} evaluation", stage.evaluation_run),
            ]
    return [(name, run) for name, run in runs if run]
