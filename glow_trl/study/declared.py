"""What a study has declared before its first run, and what was changed since."""

import hashlib
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..stages.files import atomic_file, read_json, write_json
from ..stages.record import jsonable
from .file import Claim, Measure, StudyFile, read_study


FILE, FACTS = "declared.yaml", "declared.json"


@dataclass(frozen=True)
class Declared:
    """
    The study's file at its first start.

    Args:
        digest (`str`): SHA-256 of the file.
        time (`str`): when it was declared.
        changes (`list[str]`): what the file says otherwise now, in words.
    """

    digest: str
    time: str
    changes: list[str]


def declare(path: Path, output_dir: Path) -> Declared:
    """Keep a study's file, if the study has none yet, and compare it with the one that it has."""
    content = path.read_bytes()
    facts = read_json(output_dir / FACTS)
    if facts is None or not (output_dir / FILE).is_file():
        # The facts come last: without them nothing was begun
        with atomic_file(output_dir / FILE, "wb") as file:
            file.write(content)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        facts = {"file": path.name, "sha256": _digest(content), "time": now}
        write_json(output_dir / FACTS, facts)
    changes = []
    if _digest((output_dir / FILE).read_bytes()) != facts["sha256"]:
        changes.append(f"{FILE} is not what was declared: its digest differs")
    if _digest(content) != facts["sha256"]:
        changes += changed(read_study(output_dir / FILE), read_study(path)) or [
            "the file's text, such as a comment, and nothing that it says"
        ]
    return Declared(str(facts["sha256"]), str(facts["time"]), changes)


def changed(before: StudyFile, after: StudyFile) -> list[str]:
    """What a study says otherwise than before, in words."""
    words = []
    for name in (item.name for item in fields(StudyFile) if item.name not in ("recipe", "measures", "claims")):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            words.append(f"{name}: {_said(old)} → {_said(new)}")
    pairs: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("measure", before.measures, after.measures),
        ("claim", {claim.name: claim for claim in before.claims}, {claim.name: claim for claim in after.claims}),
    ]
    for kind, old_items, new_items in pairs:
        for name in dict.fromkeys([*old_items, *new_items]):
            old, new = old_items.get(name), new_items.get(name)
            if old is None or new is None:
                words.append(f"{kind} {name!r} was {'added' if old is None else 'taken away'}")
            else:
                words += [f"{kind} {name!r}: {text}" for text in _differences(old, new)]
    return words


def _differences(old: Measure | Claim, new: Measure | Claim) -> list[str]:
    values = [(item.name, getattr(old, item.name), getattr(new, item.name)) for item in fields(old)]
    return [f"{name}: {_said(one)} → {_said(two)}" for name, one, two in values if one != two]


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, {}, "") else str(jsonable(value))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
