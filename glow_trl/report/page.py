"""The report page: one file of HTML that needs nothing else."""

import json
import re
from importlib import resources
from typing import Any

from ..stages.machine import UNKNOWN, describe_machine
from ..statistics.numbers import duration, interval, number, p_value, percent, points, span
from .arm_styles import color_properties
from .changes import BETTER, NEITHER, WORSE, against_others, chief_changes, counts, level
from .charts import patterns as pattern_charts
from .charts import results as result_charts
from .charts import training as training_charts
from .comparison import arms_table, results_table
from .dynamics import arm_map, column_tables, map_facts, weight_table, weighting_of, weightings_table
from .entropy import entropy_section
from .examples import evaluation_examples
from .losses import loss_sections
from .other_seeds import beside_study
from .patterns import pattern_sections
from .readiness import ready_sections
from .run_data import STAGES, ArmData, RunData
from .scores import LEVELS, ScoreBook
from .summary import k_values
from .training_data import arm_rows, training_trajectories
from .troubles import state_of


_TEMPLATES = "templates"


def render_page(data: RunData, summary: dict[str, Any], book: ScoreBook) -> str:
    """The report of a run as HTML.

    Args:
        data ([`RunData`]): what the run left.
        summary (`dict`): the content of `summary.json`.
        book ([`ScoreBook`]): its evaluations.
    """
    environment, styles = page_environment()
    return environment.get_template("report.html.jinja").render(styles=styles, **page_content(data, summary, book))


def page_environment(*packages: str) -> tuple[Any, str]:
    """What pages are rendered with: jinja's environment, which finds the templates of these packages, too, and the
    styles of the page."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(package, _TEMPLATES) for package in ("glow_trl.report", *packages)]
        ),
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
    environment.globals |= {"span": span, "Markup": markup, "level": level}
    css = resources.files("glow_trl.report").joinpath(_TEMPLATES, "report.css").read_text(encoding="utf-8")
    return environment, color_properties() + css


def page_content(data: RunData, summary: dict[str, Any], book: ScoreBook) -> dict[str, Any]:
    """Everything that the template shows, by section."""
    results = results_table(data, book) if data.benchmarks else None
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
        "troubles": {
            mark: [item for item in summary["troubles"] if item["mark"] == mark]
            for mark in dict.fromkeys(item["mark"] for item in summary["troubles"])
        },
        "swatches": {name: arm.style.swatch for name, arm in data.arms.items()},
        "arm_rows": arm_rows(data),
        "stages": STAGES,
        "benchmarks": data.benchmarks,
        "headline": headline(data, summary, book, results),
        "k_columns": [f"pass@{k}" for k in ks] + [f"majority@{k}" for k in ks[-1:] if k > 2],
        "results": results,
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
        "ready": ready_sections(data),
        "grpo_charts": training_charts.grpo_charts(data),
        "trajectories": training_trajectories(data),
        "annotations": annotations,
        "examples": evaluation_examples(data, book),
        "stage_runs": [
            {"name": name, "run": run, "state": state_of(run), "standing": data.inputs.standing(folder)}
            for name, folder, run in data.records()
            if folder != data.folder
        ],
        "facts": _facts(data),
        "beside": _beside(data),
        "configurations": _configurations(data),
    }


def _beside(data: RunData) -> dict[str, Any] | None:
    """What [`beside_study`] says, with a chart for each arm and stage."""
    found = beside_study(data)
    for item in [] if found is None else found["arms"]:
        if "rows" in item:
            item["charts"] = result_charts.seed_charts(data, item)
    return found


def _training(data: RunData) -> dict[str, Any]:
    """What SFT did to the samples, in detail for the first arm that was weighted, or the first with a ledger."""
    with_ledger = [arm for arm in data.arms.values() if arm.ledger is not None]
    weighted = [arm for arm in with_ledger if (weighting := weighting_of(arm)) is not None and weighting.tells_apart]
    arm = next(iter(weighted or with_ledger), data.main_arm)
    content = {
        "loss_charts": training_charts.loss_charts(data),
        "gain_charts": training_charts.gain_charts(arm) if arm is not None else [],
        "weightings": weightings_table(with_ledger),
        "weights": _weights(arm) if weighted else None,
        "other_weights": [_weights(other, brief=True) for other in weighted[1:]],
        "detailed_arm": arm.name if arm is not None else None,
        "columns": [],
        "map": None,
    }
    cartography = None if arm is None else arm_map(arm)
    if cartography is not None:
        content["columns"] = column_tables(arm.ledger, weighting_of(arm) if weighted else None, cartography)
        content["map"] = map_facts(arm.ledger, cartography) | {"arms": _maps(with_ledger)}
    return content


def _weights(arm: ArmData, brief: bool = False) -> dict[str, Any]:
    """The weights of an arm: `charts` and `rows` by epoch; in `brief` the charts of the last epoch alone."""
    weighting = weighting_of(arm)
    rows = weight_table(arm, weighting)
    charts = (
        [training_charts.weight_charts(arm, weighting), training_charts.token_charts(arm, weighting)] if rows else []
    )
    charts = [kind[-1:] if brief else kind for kind in charts]
    return {
        "arm": arm.name,
        "weighting": weighting,
        "charts": [chart for kind in charts for chart in kind],
        "share_charts": [] if brief else training_charts.bound_charts(arm, rows),
        "rows": rows,
    }


def _maps(arms: list[ArmData]) -> list[dict[str, Any]]:
    """The chart of each arm's data map, with what it shows."""
    maps = []
    for arm in arms:
        cartography = arm_map(arm)
        if cartography is not None and (drawn := training_charts.map_chart(arm, cartography)) is not None:
            known, never = int(cartography.known.sum()), int(cartography.never_improved.sum())
            maps.append(drawn | {"known": known, "never": never})
    return maps


def headline(
    data: RunData, summary: dict[str, Any], book: ScoreBook, results: dict[str, Any] | None
) -> dict[str, Any]:
    """What the first screen says of the main arm: `tiles` of its accuracy in and out of domain, the `chief` changes by
    GRPO for better, for worse and neither, and `counts`; those of the `others`, and the main arm `against` them."""
    arm = data.main_arm
    changes = {name: items for name, items in summary["changes"].items() if items}
    own = changes.get(arm.name, []) if arm is not None else []
    against = {item["arm"]: item for item in against_others(data, book)}
    others = {
        name: {"counts": counts(changes[name]) if name in changes else None, "against": against.get(name)}
        for name in list(data.arms)[1:]
    }
    tiles = []
    for group in (results or {"groups": []})["groups"][:2]:
        row = (group["means"] or group["benchmarks"] or [None])[0]
        if row is not None and arm is not None and any(row["arms"][arm.name]["cells"]):
            cells = zip(arm.stages, row["arms"][arm.name]["cells"], strict=True)
            tiles.append(
                {
                    "label": group["label"],
                    "count": len(group["benchmarks"]),
                    "cells": [(stage, cell) for stage, cell in cells if cell],
                    "change": row["arms"][arm.name]["change"],
                }
            )
    return {
        "arm": None if arm is None else arm.name,
        "tiles": tiles,
        "seconds": total_seconds(summary),
        "changes": own,
        "chief": {verdict: chief_changes(own, verdict) for verdict in (BETTER, WORSE, NEITHER)},
        "counts": counts(own),
        "others": {name: item for name, item in others.items() if any(item.values())},
    }


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
    runs = [run for _, _, run in data.records()]
    facts = [("recipe", data.recipe), ("folder", data.folder.resolve().name), ("status", _status(data))]
    machines = {describe_machine(run.get("machine")) for run in runs if run.get("stage") != "run"}
    facts.append(("machine", "; ".join(sorted(machines - {UNKNOWN})) or UNKNOWN))
    facts.append(("parameters", _parameters(data)))
    for key, label in (("git", "git revision"), ("seed", "seed")):
        values = sorted({_short(key, run[key]) for run in runs if run.get(key) is not None})
        if values:
            facts.append((label, ", ".join(values)))
    versions: dict[str, set[str]] = {}
    for run in runs:
        for package, version in (run.get("versions") or {}).items():
            versions.setdefault(package, set()).add(str(version))
    facts += [(package, ", ".join(sorted(found))) for package, found in versions.items()]
    return facts


def _status(data: RunData) -> str:
    """That of the run; of stages run by hand, what they have in common."""
    states = {state_of(run) for _, folder, run in data.records() if folder != data.folder}
    if worst := [state for state in ("collapsed", "unfinished") if state in states]:
        return worst[0]
    return state_of(data.run) if data.run else "complete" if states == {"complete"} else UNKNOWN


def _parameters(data: RunData) -> str:
    """Of the models that were trained, and how many of them were, where that is not all."""
    found = set()
    for arm in data.arms.values():
        for stage in arm.stages.values():
            if total := stage.run.get("parameters"):
                trained = stage.run.get("trainable_parameters", total)
                found.add(f"{total:,}" + (f" ({trained:,} of them trained)" if trained != total else ""))
    return "; ".join(sorted(found)) or UNKNOWN


def _short(key: str, value: Any) -> str:
    if key != "git":
        return str(value)
    revision, dash, state = str(value).partition("-")
    return revision[:12] + dash + state


def _configurations(data: RunData) -> list[tuple[str, str]]:
    """What was set for each stage; older records hold nothing else under `config`."""
    settings = [(name, run.get("given", run.get("config"))) for name, _, run in data.records()]
    return [(name, json.dumps(given, indent=2, ensure_ascii=False)) for name, given in settings if given]
