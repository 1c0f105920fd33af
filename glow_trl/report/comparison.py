"""Tables of the results: accuracy by arm and stage, what changed, and how arms differ."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ..evaluation.metrics import mean_over_benchmarks
from .run_data import STAGES, RunData
from .scores import Column, Comparison, ScoreBook, correct, domain_groups


def results_table(data: RunData, book: ScoreBook) -> dict[str, Any]:
    """
    Accuracy of each arm and stage on each benchmark and on average over each domain, and the change by GRPO.

    Returns:
        `dict`: `groups`, for each domain its `label`, `benchmarks` (rows with `name`, `version`, and for each arm its
        `cells`, one a stage, the same `by_stage`, and `change`) and `means` (such rows for averages over benchmarks);
        and `tests`, the number of changes that were tested.
    """
    changes: list[Comparison | None] = []

    def row(
        name: str, benchmarks: list[str], compare: Callable[[Column, Column], Comparison | None], version: str = ""
    ) -> dict[str, Any]:
        arms = {}
        for arm_name, arm in data.arms.items():
            summaries = ([stage.summary(benchmark) for benchmark in benchmarks] for stage in arm.stages.values())
            cells = [_accuracy(rows) for rows in summaries]
            columns = [(arm_name, stage) for stage in STAGES if stage in arm.stages]
            change = compare(*columns) if len(columns) == len(STAGES) else None
            changes.append(change)
            by_stage = dict(zip(arm.stages, cells, strict=True))
            arms[arm_name] = {"cells": cells, "by_stage": by_stage, "change": change or _plain_change(cells)}
        return {"name": name, "version": version, "arms": arms}

    def mean(name: str, benchmarks: list[str]) -> dict[str, Any]:
        return row(f"{name}mean of {len(benchmarks)}", benchmarks, partial(book.compare_mean, benchmarks))

    domains, own_groups = domain_groups(data)
    groups = []
    for label, names in domains.items():
        rows = [row(name, [name], partial(book.compare, name), _version(data, name)) for name in names]
        groups.append({"label": label, "benchmarks": rows, "means": [mean("", names)] if len(names) > 1 else []})
    if own_groups:
        means = [mean(f"{group}, ", names) for group, names in own_groups.items()]
        groups.append({"label": "Groups of the recipe", "benchmarks": [], "means": means})
    return {"groups": groups, "tests": correct(changes)}


def _version(data: RunData, benchmark: str) -> str:
    """The version of a benchmark, or those that the evaluations had."""
    rows = [stage.summary(benchmark) for arm in data.arms.values() for stage in arm.stages.values()]
    return ", ".join(sorted({str(row["version"]) for row in rows if row.get("version") is not None}))


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


def _accuracy(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Mean accuracy over benchmarks with its interval; `None` unless all were evaluated."""
    if not all(row.get("pass@1") is not None for row in rows):
        return None
    found = rows[0] if len(rows) == 1 else mean_over_benchmarks(rows, "pass@1")
    return {"value": found["pass@1"], "interval": found.get("pass@1_ci")}


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
