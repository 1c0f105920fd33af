"""Tables of the results: accuracy by arm and stage, what changed, and how arms differ."""

from typing import Any

from .run_data import STAGES, RunData
from .scores import ScoreBook, correct, domain_groups, domain_means, stage_change


def results_table(data: RunData, book: ScoreBook) -> dict[str, Any]:
    """
    Accuracy of each arm and stage on each benchmark and on average over each domain, and the change by GRPO.

    Returns:
        `dict`: `groups`, for each domain its `label`, `benchmarks` (rows with `name`, and for each arm its `cells`,
        one a stage, and `change`) and `mean` (such a row for the average over its benchmarks); and `tests`, the number
        of changes that were tested.
    """
    changes = []
    groups = []
    for label, names in domain_groups(data).items():
        rows = []
        for name in names:
            cells = {}
            for arm_name, arm in data.arms.items():
                found = [_accuracy(arm.stages[stage].results, name) for stage in arm.stages]
                change = stage_change(book, arm_name, name) if len(arm.stages) == len(STAGES) else None
                changes.append(change)
                cells[arm_name] = {"cells": found, "change": change or _plain_change(found)}
            rows.append({"name": name, "arms": cells})
        mean = None
        if len(names) > 1:
            cells = {}
            for arm_name, arm in data.arms.items():
                means = [domain_means(arm, stage, {label: names}).get(label) for stage in arm.stages]
                found = [item and {"value": item.mean, "interval": [item.low, item.high]} for item in means]
                change = None
                if len(arm.stages) == len(STAGES):
                    change = book.compare_mean(names, (arm_name, STAGES[0]), (arm_name, STAGES[1]))
                changes.append(change)
                cells[arm_name] = {"cells": found, "change": change or _plain_change(found)}
            mean = {"name": f"mean of {len(names)}", "arms": cells}
        groups.append({"label": label, "benchmarks": rows, "mean": mean})
    return {"groups": groups, "tests": correct(changes)}


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
    for label, names in domain_groups(data).items():
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


def _accuracy(results: dict[str, Any] | None, benchmark: str) -> dict[str, Any] | None:
    row = ((results or {}).get("benchmarks") or {}).get(benchmark)
    if not row or row.get("pass@1") is None:
        return None
    return {"value": row["pass@1"], "interval": row.get("pass@1_ci")}


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
