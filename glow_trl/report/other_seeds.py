"""The run beside the study of its recipe: whether it is typical of runs with other seeds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..stages.files import read_json
from ..stages.recipe_file import shipped
from .run_data import STAGES, ArmData, RunData


# In a recipe's folder: what a study of it has found, see docs/evidence/make_evidence.py
STUDY_FILE = "study.json"
FORMAT = 1
_MOST_NAMED = 8


def beside_study(data: RunData) -> dict[str, Any] | None:
    """
    A run's figures beside what a study of its recipe has found.

    Returns:
        `dict`, or `None` where the recipe has no study, or none of the run's arms: `study` (what the file says of it),
        `level`, `seed` if the study has the run's, and `arms`, each with `arm`, its number of `seeds`, and either
        `rows`, for each benchmark its `name`, `domain` and by stage `cells` of `value`, `study` and `verdict`
        (`above`, `below` or empty) and the numbers of `figures`, of those `outside` and of those `expected_outside`;
        or `differences`, the settings in which the study differs: it says nothing about this run then.
    """
    study = find_study(data)
    told = data.run.get("stage_settings")
    if study is None or not isinstance(told, dict):
        return None
    arms = []
    for name, arm in data.arms.items():
        others = [setting for setting in study["settings"] if name in setting["stage_settings"]["arms"]]
        if name not in told or not others:
            continue
        ours = flattened(told[name])
        # A study may have several models
        found = min(((differences(ours, setting, name), setting) for setting in others), key=lambda x: len(x[0]))
        its = _named(found[0]) if found[0] else _beside(arm, found[1], study["study"]["alpha"])
        arms.append({"arm": name} | its)
    if not arms:
        return None
    seeds = study["study"]["seeds"]
    return {
        "study": study,
        "level": f"{100 * (1 - study['study']['alpha']):g} %",
        "seed": data.run.get("seed") if data.run.get("seed") in seeds else None,
        "arms": arms,
    }


def find_study(data: RunData) -> dict[str, Any] | None:
    """The study in the folder of the recipe that a run was started from, or else in the one that is shipped."""
    named = (data.run.get("config") or {}).get("recipe")
    places = [Path(str(named))] if named else []
    for folder in (*places, shipped() / "recipes" / data.recipe):
        found = read_json(folder / STUDY_FILE)
        if found is not None and found.get("format") == FORMAT:
            return found
    return None


def flattened(told: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Settings of stages by `STAGE.KEY`."""
    return {f"{stage}.{key}": value for stage, settings in told.items() for key, value in settings.items()}


def differences(ours: Mapping[str, Any], setting: Mapping[str, Any], arm: str) -> dict[str, tuple[Any, Any]]:
    """By setting, of those that decide a run's results, what the study had, and what another run has."""
    told = setting["stage_settings"]
    theirs = told["common"] | told["arms"][arm]
    names = dict.fromkeys([*theirs, *ours])
    return {name: (theirs.get(name), ours.get(name)) for name in names if theirs.get(name) != ours.get(name)}


def _named(differences: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    said = [(name, _said(theirs), _said(ours)) for name, (theirs, ours) in differences.items()]
    return {"differences": said[:_MOST_NAMED], "further": len(said[_MOST_NAMED:])}


def _said(value: Any) -> str:
    return "not set" if value is None else f"{value!s:.60}"


def _beside(arm: ArmData, setting: Mapping[str, Any], alpha: float) -> dict[str, Any]:
    rows: dict[str, dict[str, Any]] = {}
    figures = outside = 0
    seeds: set[int] = set()
    for entry in setting["benchmarks"]:
        found = entry["arms"].get(arm.name)
        if found is None:
            continue
        seeds |= set(found["seeds"])
        stage = arm.stages.get(entry["stage"])
        value = None if stage is None else stage.summary(entry["name"]).get("pass@1")
        verdict = ""
        if value is not None and found["one_more_run"] is not None:
            low, high = found["one_more_run"]
            # As far as the kept figures are exact
            verdict = "below" if value < low - 1e-5 else "above" if value > high + 1e-5 else ""
            figures, outside = figures + 1, outside + bool(verdict)
        row = rows.setdefault(entry["name"], {"name": entry["name"], "domain": entry["domain"], "cells": {}})
        row["cells"][entry["stage"]] = {"value": value, "study": found, "verdict": verdict}
    stages = [stage for stage in STAGES if any(stage in row["cells"] for row in rows.values())]
    counts = {"seeds": len(seeds), "figures": figures, "outside": outside, "expected_outside": alpha * figures}
    return counts | {"stages": stages, "rows": list(rows.values())}
