"""The report page: one file of HTML that needs nothing else."""

import json
from importlib import resources
from typing import Any

from . import charts
from .dynamics import weight_table, weighting_of
from .examples import evaluation_examples, training_examples, trajectory_counts
from .numbers import duration, interval, number, percent
from .run_data import STAGES, RunData


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
    environment.filters |= {"percent": percent, "interval": interval, "number": number, "duration": duration}
    environment.globals["Markup"] = jinja2.utils.markupsafe.Markup
    styles = resources.files("glow_trl.report").joinpath(_TEMPLATES, "report.css").read_text(encoding="utf-8")
    return environment.get_template("report.html.jinja").render(styles=styles, **page_content(data, summary))


def page_content(data: RunData, summary: dict[str, Any]) -> dict[str, Any]:
    """Everything that the template shows, by section."""
    arm = data.main_arm
    weighted = [(item, setting) for item in data.arms.values() if (setting := weighting_of(item)) is not None]
    weighted_arm, weighting = weighted[0] if weighted else (arm, None)
    gains = charts.gain_charts(weighted_arm) if weighted_arm is not None else []
    weight_rows = weight_table(weighted_arm, weighting) if weighting is not None else []
    return {
        "recipe": data.recipe,
        "summary": summary,
        "arms": list(data.arms),
        "stages": STAGES,
        "benchmarks": data.benchmarks,
        "headline": headline(summary, data.benchmarks),
        "k_values": _k_values(summary),
        "accuracy_charts": charts.accuracy_charts(data),
        "pass_charts": charts.pass_at_k_charts(data),
        "loss_charts": charts.loss_charts(data),
        "gain_charts": gains,
        "weight_charts": charts.weight_charts(weighted_arm, weighting) if weight_rows else [],
        "weight_rows": weight_rows,
        "weighting": weighting,
        "weighted_arm": weighted_arm.name if weighted_arm is not None else None,
        "grpo_charts": charts.grpo_charts(data),
        "trajectories": trajectory_counts(data),
        "training_examples": training_examples(data),
        "examples": evaluation_examples(data),
        "stage_rows": _stage_rows(data),
        "facts": _facts(data),
        "configurations": _configurations(data),
    }


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
            for k in charts.pass_points(row)
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
