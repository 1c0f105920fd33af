"""Tables of the results: accuracy by arm and stage, what changed, and how arms differ."""

from typing import Any

from .run_data import STAGES, RunData
from .scores import Comparison, ScoreBook, correct, domain_groups, domain_means, stage_change


def results_table(data: RunData, book: ScoreBook) -> dict[str, Any]:
    """
    Accuracy of each arm and stage on each benchmark and on average over each domain, and the change by GRPO.

    Returns:
        `dict`: `groups`, for each domain its `label`, `benchmarks` (rows with `name`, `version`, and for each arm its
        `cells`, one a stage, and `change`) and `means` (such rows for averages over benchmarks); and `tests`, the
        number of changes that were tested.
    """
    changes: list[Comparison | None] = []
    domains, own_groups = domain_groups(data)
    groups = []
    for label, names in domains.items():
        rows = [_row(data, book, name, changes) for name in names]
        means = [_mean_row(data, book, f"mean of {len(names)}", names, changes)] if len(names) > 1 else []
        groups.append({"label": label, "benchmarks": rows, "means": means})
    if own_groups:
        means = [
            _mean_row(data, book, f"{group}, mean of {len(names)}", names, changes)
            for group, names in own_groups.items()
        ]
        groups.append({"label": "Groups of the recipe", "benchmarks": [], "means": means})
    return {"groups": groups, "tests": correct(changes)}


def _row(data: RunData, book: ScoreBook, benchmark: str, changes: list[Comparison | None]) -> dict[str, Any]:
    arms = {}
    for arm_name, arm in data.arms.items():
        cells = [_accuracy(stage.summary(benchmark)) for stage in arm.stages.values()]
        change = stage_change(book, arm_name, benchmark) if len(arm.stages) == len(STAGES) else None
        changes.append(change)
        arms[arm_name] = {"cells": cells, "change": change or _plain_change(cells)}
    return {"name": benchmark, "version": _version(data, benchmark), "arms": arms}


def _version(data: RunData, benchmark: str) -> str:
    """The version of a benchmark, or those that the evaluations had."""
    rows = [row for arm in data.arms.values() for stage in arm.stages.values() if (row := stage.summary(benchmark))]
    return ", ".join(sorted({str(row["version"]) for row in rows if row.get("version") is not None}))


def _mean_row(
    data: RunData, book: ScoreBook, name: str, benchmarks: list[str], changes: list[Comparison | None]
) -> dict[str, Any]:
    arms = {}
    for arm_name, arm in data.arms.items():
        means = [domain_means(arm, stage, {name: benchmarks}).get(name) for stage in arm.stages]
        cells = [item and {"value": item.mean, "interval": [item.low, item.high]} for item in means]
        change = None
        if len(arm.stages) == len(STAGES):
            change = book.compare_mean(benchmarks, (arm_name, STAGES[0]), (arm_name, STAGES[1]))
        changes.append(change)
        arms[arm_name] = {"cells": cells, "change": change or _plain_change(cells)}
    return {"name": name, "version": "", "arms": arms}


def arms_table(data: RunData, book: ScoreBook) -> dict[str, Any] | None:
    """
    Every other arm against the first one, after each stage, by a paired test over questions.

    Returns:
        `dict`, or `None` with one arm: `reference`, `columns` of `(stage, arm)`, `rows` with `name`, `is_mean` and
        `cells` (a [`Comparison`] or `None` for each column), and the number of `tests`.
    """
    reference = data.main_arm
    if reference is None or len(data.arms) < 2 or not data.benchmarks:
        return None
    columns = [
        (stage, name)
        for stage in STAGES
        for name, arm in data.arms.items()
        if name != reference.name and stage in arm.stages and stage in reference.stages
    ]
    rows = []
    domains, own_groups = domain_groups(data)
    for label, names in [*domains.items(), *own_groups.items()]:
        if label in domains:
            for name in names:
                cells = [book.compare(name, (reference.name, stage), (arm, stage)) for stage, arm in columns]
                rows.append({"name": name, "is_mean": False, "cells": cells})
        if len(names) > 1:
            cells = [book.compare_mean(names, (reference.name, stage), (arm, stage)) for stage, arm in columns]
            rows.append({"name": f"{label}, mean of {len(names)}", "is_mean": True, "cells": cells})
    if not any(cell for row in rows for cell in row["cells"]):
        return None
    tests = correct(cell for row in rows for cell in row["cells"])
    return {"reference": reference.name, "columns": columns, "rows": rows, "tests": tests}


def _accuracy(row: dict[str, Any]) -> dict[str, Any] | None:
    return None if row.get("pass@1") is None else {"value": row["pass@1"], "interval": row.get("pass@1_ci")}


def _plain_change(cells: list[dict[str, Any] | None]) -> dict[str, Any] | None:
    """The change without a test, where the generations are not there."""
    if len(cells) < 2 or not all(cells):
        return None
    return {
        "difference": cells[1]["value"] - cells[0]["value"],
        "mark": "",
        "low": None,
        "high": None,
        "corrected": None,
    }
