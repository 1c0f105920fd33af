"""What `glow-trl ready` found of the checkpoint that stage 2 starts from, and whether its groups will teach enough."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...data import read_jsonl
from ...errors import UserError
from ...stages.files import read_json
from ...statistics.numbers import percent
from .measures import INFORMATIVE, Start, measures_of


READY_FILE = "ready.json"
QUESTIONS_FILE = "questions.jsonl"
# Of the group size of stage 2, those that it is compared with
_LARGER = (2, 4)


def read_pick(folder: str | Path) -> str:
    """
    The start that `ready` picked in its folder. Raises `UserError` where it picked none, or had nothing to pick it by.
    """
    results = _results(Path(folder))
    if not results["ranking"]:
        raise UserError(f"{folder}: {results['advice']}")
    pick, keys = results["pick"], results["rank_keys"]
    if not keys or results["starts"][pick].get(keys[0]) is None:
        raise UserError(
            f"{folder}: {results['rank_by']} is not known of any start, so none can be picked by it: ask more "
            "questions (num_questions), draw more samples (num_samples), or choose another measure"
        )
    return pick


def chosen_start(folder: str | Path, checkpoint: str, group_size: int) -> dict[str, Any]:
    """
    What is known of a start of stage 2.

    Args:
        folder (`str` or `Path`): what `glow-trl ready` wrote.
        checkpoint (`str`): the start, one of those that it measured.
        group_size (`int`): samples of a group in stage 2.

    Returns:
        `dict`: `readiness` (the folder) and `checkpoint`; its `place` among so many `ranked` by `rank_by`, and the
        `confidence` of the first place; `group_size`, and for this size `informative_groups` with its interval, as in
        `ready.json`; `larger_groups`, by size the share that is expected with larger groups (`None` if not known), and
        whether it supposes that rates follow a beta distribution; `questions`, of which so large a share is
        `never_solved` or `always_solved` in its samples; and `better_start`, the other start with the largest share of
        informative groups, if that is larger, with this `share`.

    Raises:
        UserError: there are no results, or the checkpoint is not among them.
    """
    folder = Path(folder)
    results = _results(folder)
    places = {Path(name).resolve(): name for name in results["starts"]}
    name = checkpoint if checkpoint in results["starts"] else places.get(Path(checkpoint).resolve())
    if name is None:
        raise UserError(
            f"readiness: {folder} has not measured {checkpoint}, which stage 2 starts from; it has "
            f"{', '.join(results['starts'])}"
        )
    starts = _starts(folder, list(results["starts"]))
    by_size = {size: _informative(starts, size) for size in (group_size, *(group_size * more for more in _LARGER))}
    shares, _ = by_size.pop(group_size)
    able = [other for other in shares if not results["starts"][other]["problems"]]
    best = max(able, key=lambda other: shares[other].mean, default=None)
    facts: dict[str, Any] = {
        "readiness": str(folder),
        "checkpoint": checkpoint,
        "rank_by": results["rank_by"],
        "place": results["ranking"].index(name) + 1 if name in results["ranking"] else None,
        "ranked": len(results["ranking"]),
        "confidence": results.get("confidence"),
        "group_size": group_size,
        **(shares[name].as_entry(INFORMATIVE) if name in shares else {INFORMATIVE: None}),
        "larger_groups": {
            # A fitted share may come out above 1
            str(size): {
                "share": min(found[name].mean, 1.0) if name in found else None,
                "supposes_beta": method == "beta",
            }
            for size, (found, method) in by_size.items()
        },
    }
    start = next(start for start in starts if start.name == name)
    judged = start.judged > 0
    count = max(1, int(judged.sum()))
    facts |= {
        "questions": int(judged.sum()),
        "samples": int(np.median(start.judged[judged])) if judged.any() else 0,
        "never_solved": float((start.correct[judged] == 0).sum() / count),
        "always_solved": float((start.correct == start.judged)[judged].sum() / count),
    }
    if name in shares and best is not None and shares[best].mean > shares[name].mean:
        facts["better_start"] = {"checkpoint": best, "share": shares[best].mean}
    return facts


def too_few_informative(facts: Mapping[str, Any], least: float | None) -> str | None:
    """
    Why too few groups of a start would teach anything, and what would help; `None` if that cannot be said. By chance
    alone a share is not called too small: the upper end of its interval must lie below `least`.
    """
    share, ends = facts[INFORMATIVE], facts.get(f"{INFORMATIVE}_ci")
    if least is None or share is None or not ends or ends[1] >= least:
        return None
    interval = f"{percent(share)} % (95 %: {percent(ends[0])} to {percent(ends[1])} %)"
    text = (
        f"too few groups would be informative: of the groups of {facts['group_size']} of {facts['checkpoint']} "
        f"{interval} are expected to have right and wrong samples, on {facts['questions']:,} questions, which is "
        f"below min_informative_share: {least:g}. What would help: "
    )
    larger = [
        f"{size} ({'about ' if found['supposes_beta'] else ''}{percent(found['share'])} %)"
        for size, found in facts["larger_groups"].items()
        if (found["share"] or 0.0) > share
    ]
    never, always = facts["never_solved"], facts["always_solved"]
    solved = (
        f"of these {percent(never)} % were solved in none of {facts['samples']} samples, {percent(always)} % in all"
    )
    helpful = [f"num_generations: {' or '.join(larger)}"] if larger else []
    helpful.append(f"{'easier' if never >= always else 'harder'} questions ({solved})")
    if better := facts.get("better_start"):
        helpful.append(f"another start, {better['checkpoint']} ({percent(better['share'])} %)")
    elif facts["ranked"] > 1:
        helpful.append(f"a start other than the {facts['ranked']} that were measured, of which none has more")
    else:
        helpful.append("another epoch (select_start: ready measures them all)")
    return text + "; ".join(helpful)


def _results(folder: Path) -> dict[str, Any]:
    results = read_json(folder / READY_FILE)
    if not isinstance(results, dict) or "starts" not in results or not (folder / QUESTIONS_FILE).is_file():
        raise UserError(f"readiness: {folder} has no {READY_FILE}; give a folder that `glow-trl ready` wrote")
    return results


def _starts(folder: Path, names: list[str]) -> list[Start]:
    """The counts of the starts on the questions that rank."""
    rows = [row["judged_correct"] for _, row in read_jsonl(folder / QUESTIONS_FILE) if not row["held_out"]]
    found = []
    for name in names:
        judged, correct = np.array([row[name] for row in rows], dtype=int).reshape(-1, 2).T
        unknown = np.zeros(judged.size)
        found.append(Start(name, judged, correct, judged, unknown, unknown, unknown))
    return found


def _informative(starts: list[Start], group_size: int) -> tuple[dict[str, Any], str | None]:
    """The expected share of informative groups of each start, as `ready` has it, and how it was found."""
    measures, facts = measures_of(starts, group_size=group_size)
    measure = next((measure for measure in measures if measure.name == INFORMATIVE), None)
    estimates = {} if measure is None else {start.name: measure.estimate(start.name) for start in starts}
    return {name: estimate for name, estimate in estimates.items() if estimate is not None}, facts["informative_by"]
