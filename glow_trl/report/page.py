"""The report page: one file of HTML that needs nothing else."""

import json
import re
from importlib import resources
from typing import Any

from ..statistics.numbers import duration, interval, number, p_value, percent, points, span
from .arm_styles import color_properties
from .charts import patterns as pattern_charts
from .charts import results as result_charts
from .charts import training as training_charts
from .comparison import arms_table, results_table
from .dynamics import arm_map, column_tables, map_facts, weight_table, weighting_of
from .entropy import entropy_section
from .examples import evaluation_examples
from .patterns import loss_sections, pattern_sections
from .run_data import STAGES, ArmData, RunData
from .scores import LEVELS, ScoreBook
from .summary import k_values
from .training_data import arm_rows, training_trajectories


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
    # Lets a name of words joined by underscores or dots break after them
    environment.filters["breakable"] = lambda name: markup(re.sub(r"([_.])", r"\1<wbr>", str(markup.escape(name))))
    environment.globals |= {"span": span, "Markup": markup}
    css = resources.files("glow_trl.report").joinpath(_TEMPLATES, "report.css").read_text(encoding="utf-8")
    styles = color_properties() + css
    return environment.get_template("report.html.jinja").render(styles=styles, **page_content(data, summary))


def page_content(data: RunData, summary: dict[str, Any]) -> dict[str, Any]:
    """Everything that the template shows, by section."""
    book = ScoreBook(data)
    differences = arms_table(data, book)
    entropy = entropy_section(data, book)
    annotations = pattern_sections(data)
    ks = k_values(summary)
    for section in annotations:
        section["charts"] = pattern_charts.pattern_chart(section)
    return {
        "recipe": data.recipe,
        "summary": summary,
        "arms": list(data.arms),
        "swatches": {name: arm.style.swatch for name, arm in data.arms.items()},
        "arm_rows": arm_rows(data),
        "stages": STAGES,
        "benchmarks": data.benchmarks,
        "headline": headline(summary, data.benchmarks),
        "k_columns": [f"pass@{k}" for k in ks] + [f"majority@{k}" for k in ks[-1:]],
        "results": results_table(data, book) if data.benchmarks else None,
        "levels": [{"mark": mark, "level": level} for level, mark in reversed(LEVELS)],
        "accuracy_charts": result_charts.accuracy_charts(data),
        "pass_charts": result_charts.curve_charts(data),
        "majority_charts": result_charts.curve_charts(data, "majority"),
        "differences": differences,
        "difference_charts": result_charts.difference_charts(data, differences) if differences else [],
        "entropy": entropy,
        "entropy_charts": result_charts.entropy_chart(data, entropy) if entropy else [],
        **_training(data),
        "losses": loss_sections(data),
        "grpo_charts": training_charts.grpo_charts(data),
        "trajectories": training_trajectories(data),
        "annotations": annotations,
        "examples": evaluation_examples(data),
        "stage_runs": _runs(data)[1 if data.run else 0 :],
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
        "loss_charts": training_charts.loss_charts(data),
        "gain_charts": training_charts.gain_charts(arm) if arm is not None else [],
        "weight_charts": training_charts.weight_charts(arm, weighting) if weight_rows else [],
        "bound_charts": training_charts.bound_charts(arm, weight_rows),
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
        if cartography is not None and (drawn := training_charts.map_chart(arm, cartography)) is not None:
            known, never = int(cartography.known.sum()), int(cartography.never_improved.sum())
            maps.append(drawn | {"known": known, "never": never})
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
    """What was set for each stage; older records hold nothing else under `config`."""
    settings = [(name, run.get("given", run.get("config"))) for name, run in _runs(data)]
    return [(name, json.dumps(given, indent=2, ensure_ascii=False)) for name, given in settings if given]


def _runs(data: RunData) -> list[tuple[str, dict[str, Any]]]:
    runs = [("run", data.run), *data.single_runs.items()]
    for name, arm in data.arms.items():
        for stage_name, stage in arm.stages.items():
            runs += [
                (f"{name} / {stage_name}", stage.run),
                (f"{name} / {stage_name} evaluation", stage.evaluation_run),
            ]
    return [(name, run) for name, run in runs if run]
