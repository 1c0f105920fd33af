"""What is not as it should be in a run: stages that are unfinished or collapsed, results that are stale."""

from typing import Any

from .inputs import ANALYSES
from .run_data import RunData


# The worst first
MARKS = ("collapsed", "failed", "unfinished", "stale", "not of this run")


def state_of(record: dict[str, Any]) -> str:
    """What became of a stage by its `run.json`: `"complete"`, `"collapsed"` or `"unfinished"`; else `"unknown"`."""
    if record.get("status") == "running":
        return "collapsed" if record.get("collapsed") else "unfinished"
    return str(record.get("status") or "unknown")


def find_troubles(data: RunData) -> list[dict[str, str]]:
    """`stage`, `mark` (one of [`MARKS`]) and the reason (`why`) of each stage and analysis with a trouble, and of each
    arm that failed without a collapse; the run itself is unfinished where none of these is to blame for it."""
    troubles = []
    for name, folder, record in data.records():
        state = state_of(record)
        if state == "collapsed":
            troubles.append({"stage": name, "mark": state, "why": str(record.get("collapsed", "why is not recorded"))})
        elif state == "unfinished" and folder != data.folder:
            troubles.append({"stage": name, "mark": state, "why": "it was interrupted, or is still running"})
        if folder == data.folder:
            continue
        standing = data.inputs.standing(folder)
        if standing.changed or (standing.mark and record.get("stage") in ANALYSES):
            troubles.append({"stage": name, "mark": standing.mark, "why": standing.why})
    collapsed = {item["stage"].partition(" / ")[0] for item in troubles if item["mark"] == "collapsed"}
    for arm, why in (data.run.get("failed") or {}).items():
        if arm not in collapsed:
            troubles.append({"stage": arm, "mark": "failed", "why": str(why)})
    explained = any(item["mark"] in ("unfinished", "collapsed", "failed") for item in troubles)
    if state_of(data.run) == "unfinished" and not explained:
        troubles.append({"stage": "run", "mark": "unfinished", "why": "not all of its stages are done"})
    return sorted(troubles, key=lambda item: MARKS.index(item["mark"]))
