"""What the arms were trained on, as the records of their SFT stages say, and the trajectories of the main arm."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..data import iter_placed_rows
from ..data.paths import FILE_SUFFIXES, is_local
from ..errors import UserError
from .inputs import short_path
from .run_data import ArmData, RunData, read_json, rows_of


_EXAMPLES = 4
# What the stages that make training data leave, the last of them first
_MADE = ("mix/train.jsonl", "label/trajectories.jsonl")


def arm_rows(data: RunData) -> list[dict[str, Any]]:
    """
    One row for each arm: its `name`, the `sources` that it was trained on, by name their fingerprints (`None` for a
    data set on the Hub), the `selection` of their trajectories, how many `samples` that were, how many of them were
    `trained` on in the last epoch, and what the arm `changes`, as text (`None` where the run does not say).
    """
    rows = []
    for arm in data.arms.values():
        run = _record(arm)
        rows.append(
            {
                "name": arm.name,
                "sources": {short_path(name): digest for name, digest in sources_of(run).items()},
                "selection": _config(run).get("trajectories", "all"),
                "samples": run.get("samples"),
                "trained": run.get("trained_samples"),
                "changes": arm.changes if arm.changes is None else _as_text(arm.changes),
            }
        )
    return rows


def training_trajectories(data: RunData) -> dict[str, Any] | None:
    """
    The trajectories that the main arm was trained on; while no arm has been trained, those that wait for it.

    Returns:
        `dict`, or `None` without any: their `total`, the `arm`, its `selection`, the names of the `files`, the `rows`
        with `label`, `reason`, `count` and `share`, the `examples`, and how many trajectories were `rejected` and
        labels were `disagreements` where they were made.
    """
    arm = data.main_arm
    run = {} if arm is None else _record(arm)
    if run:
        files = [path for name, digest in sources_of(run).items() if (path := data.inputs.find(name, digest))]
    else:
        files = [path for name in _MADE if (path := data.folder / name).is_file()][:1]
    labels = {True: "positive", False: "negative"}
    counts = Counter(
        (labels.get(row.get("is_correct"), "unlabelled"), str(row.get("reason") or "not given"))
        for row in rows_read(files, run)
    )
    if not counts:
        return None
    makers = {path.parent for path in files if path.is_relative_to(data.folder)}
    return {
        "total": counts.total(),
        "arm": arm.name if run else None,
        "selection": _config(run).get("trajectories", "all"),
        "files": [short_path(path) for path in files],
        "rows": [
            {"label": label, "reason": reason, "count": count, "share": count / counts.total()}
            for (label, reason), count in counts.most_common()
        ],
        "examples": _examples(rows_read(files, run)),
        "rejected": sum((read_json(folder / "run.json") or {}).get("rejected") or 0 for folder in makers),
        "disagreements": sum(1 for folder in makers for _ in rows_of(folder / "disagreements.jsonl")),
    }


def _as_text(changes: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Settings by their names, those of a stage with its name before theirs, as text."""
    text: dict[str, str] = {}
    for key, value in changes.items():
        if isinstance(value, dict):
            text |= _as_text(value, f"{prefix}{key}.")
        else:
            text[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text


def _record(arm: ArmData) -> dict[str, Any]:
    return arm.stages["sft"].run if "sft" in arm.stages else {}


def _config(run: dict[str, Any]) -> dict[str, Any]:
    return run.get("config") or {}


def sources_of(run: dict[str, Any]) -> dict[str, str | None]:
    """The local files that a stage read, with their fingerprints, and the data sets on the Hub."""
    names = _config(run).get("dataset_name") or []
    hub = [name for name in ([names] if isinstance(names, str) else names) if not is_local(name)]
    files = {path: digest for path, digest in (run.get("data") or {}).items() if path.endswith(FILE_SUFFIXES)}
    return files | dict.fromkeys(hub)


def rows_read(files: list[Path], run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The trajectories in the files as the stage took them."""
    config = _config(run)
    label = {"positive": True, "negative": False}.get(config.get("trajectories"))
    options = {"columns": config.get("columns"), "limit": config.get("limit"), "on_reject": lambda fault: None}
    try:
        for _, row in iter_placed_rows([str(path) for path in files], **options) if files else ():
            if label is None or row.get("is_correct") is label:
                yield row
    except UserError:
        """A file that is still being written, or damaged, is read as far as it goes."""


def _examples(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """A positive trajectory and negatives of different patterns or reasons."""
    positive: list[dict[str, Any]] = []
    negatives: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.get("is_correct") and not positive:
            positive = [row]
        elif row.get("is_correct") is False:
            negatives.setdefault(str(row.get("pattern") or row.get("reason")), row)
        if positive and len(negatives) >= _EXAMPLES - 1:
            break
    return positive + list(negatives.values())[: _EXAMPLES - len(positive)]
