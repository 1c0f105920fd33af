"""Rows to audit: saved rollouts of GRPO and of evaluations, trajectories, or a file of any of these."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from ...data import Reject, RejectsFile, iter_placed_rows
from ...data.columns import is_missing
from ...errors import UserError
from ...verifiers.rows import find_judging_fault


# TRL's tables of completions, evaluations' generations, trajectories
_FOUND_IN_FOLDERS = ("generations_*.jsonl", "completions_*.parquet", "trajectories.jsonl", "trajectories-*.jsonl")
# By what other names a column goes, the likeliest first
_NAMES = {
    "answer": ("answer", "gold", "solution", "accuracy/gold"),
    "completion": ("completion", "prediction"),
    "problem": ("problem", "question", "prompt"),
    "kind": ("kind", "accuracy/kind"),
}
_GIVEN = ("is_correct", "correct", "accuracy_reward")


def rollout_files(source: str) -> list[Path]:
    """The files to audit: `source` itself, or those of rollouts anywhere in a folder. Raises where there is none."""
    path = Path(source)
    if not path.exists():
        raise UserError(f"source: there is no file or folder {source}")
    if not path.is_dir():
        return [path]
    found = {file for pattern in _FOUND_IN_FOLDERS for file in path.rglob(pattern) if file.is_file()}
    # What `label` wrote comes before what it read: it says more
    files = sorted(found, key=lambda file: (file.name.startswith("trajectories-"), file))
    if not files:
        raise UserError(
            f"{source}: there are no rollouts in it ({', '.join(_FOUND_IN_FOLDERS)}); a GRPO run saves its own with "
            "log_completions: true"
        )
    return files


def read_rollouts(
    files: list[Path], columns: Mapping[str, str], limit: int | None, rejects: RejectsFile, kind: str
) -> list[dict[str, Any]]:
    """
    The rows, each with `problem` (empty where it is not known), `completion`, `answer`, and `given`, the label that it
    came with, if any. What cannot be judged goes to `rejects`. Trajectories that two of the files hold, as what
    `label` read and what it wrote, are there once.
    """
    rows = []
    held: Counter[str] = Counter()
    of_file: Counter[str] = Counter()
    current = None
    for place, row in islice(_placed(files, columns, rejects), limit):
        completion = row.get("completion")
        row["completion"] = "" if is_missing(completion) else _text(completion)
        row["problem"] = _text(row.get("problem") or "")
        fault = find_judging_fault(row, kind)
        if fault is not None:
            rejects(Reject(place.file, place.number, *fault, row, unit=place.unit))
            continue
        if place.file != current:
            held, of_file, current = held | of_file, Counter(), place.file
        if Path(place.file).name.startswith("trajectories"):
            key = row_key(row)
            of_file[key] += 1
            if of_file[key] <= held[key]:
                continue
        row["given"] = _given(row)
        rows.append(row)
    return rows


def row_key(row: Mapping[str, Any]) -> str:
    """What a hand label is kept by: a digest of the question, the completion and the gold answer."""
    content = [row["problem"], row["completion"], row["answer"], row.get("choices")]
    return hashlib.sha256(json.dumps(content, default=str).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _placed(files: list[Path], columns: Mapping[str, str], rejects: RejectsFile) -> Iterator[tuple[Any, dict]]:
    for file in files:
        first = next(iter(iter_placed_rows(str(file), limit=1, on_reject=lambda reject: None)), None)
        names = dict(columns)
        for wanted, known in _NAMES.items() if first else ():
            found = next((name for name in known if name in first[1]), None)
            if wanted not in names and found not in (None, wanted):
                names[wanted] = found
        yield from iter_placed_rows(str(file), columns=names, required=("answer",), on_reject=rejects)


def _text(value: Any) -> str:
    """A text, or a conversation: what its last message says, or all of them."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) or hasattr(value, "tolist"):
        return "\n\n".join(str(message.get("content") or "") for message in value if isinstance(message, dict))
    return str(value)


def _given(row: Mapping[str, Any]) -> bool | None:
    verdict = row.get("verdict")
    values = [row.get(name) for name in _GIVEN] + [verdict.get("correct") if isinstance(verdict, dict) else None]
    return next((bool(value) for value in values if isinstance(value, bool | int | float) and value == value), None)
