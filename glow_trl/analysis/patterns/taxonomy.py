"""Taxonomies of patterns: YAML files that a user can edit."""

import hashlib
import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...stages.yaml_file import nearest, read_yaml


_ID = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_SHIPPED = {
    "reasoning": ("glow_trl.analysis.patterns", "reasoning.yaml"),
    "quickstart": ("glow_trl.quickstart", "taxonomy.yaml"),
}


@dataclass(frozen=True)
class Pattern:
    """One pattern.

    Args:
        id (`str`): what judges answer with; letters, digits, `_`, `-` and `.`.
        name (`str`): for people.
        definition (`str`): when it applies.
        example (`str`): what it looks like.
        group (`str`): the group that it stands in.
    """

    id: str
    name: str
    definition: str
    example: str
    group: str


@dataclass(frozen=True)
class Taxonomy:
    """Patterns in groups.

    Args:
        name (`str`): name of the taxonomy.
        description (`str`): where it comes from and what it is for.
        patterns (`tuple[Pattern, ...]`): the patterns, in the order of the file.
    """

    name: str
    description: str
    patterns: tuple[Pattern, ...]

    @property
    def ids(self) -> list[str]:
        return [pattern.id for pattern in self.patterns]

    @property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(pattern.group for pattern in self.patterns))

    @property
    def digest(self) -> str:
        """Changes with anything that a judge gets to see."""
        content = [[item.id, item.name, item.definition, item.example, item.group] for item in self.patterns]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def __getitem__(self, pattern_id: str) -> Pattern:
        return next(pattern for pattern in self.patterns if pattern.id == pattern_id)

    def text(self) -> str:
        """The patterns as a judge reads them."""
        lines = []
        for group in self.groups:
            lines.append(f"{group}:")
            for pattern in self.patterns:
                if pattern.group == group:
                    lines.append(f"- {pattern.id} ({pattern.name}): {pattern.definition}")
                    lines.append(f"  Example: {pattern.example}")
        return "\n".join(lines)


def load_taxonomy(name: str) -> Taxonomy:
    """
    Load a taxonomy.

    Args:
        name (`str`):
            `"reasoning"` (22 patterns of our own making; the names of the paper's are not known), `"quickstart"` (the
            habits of the quickstart's teacher), or the path of a YAML file:

            ```yaml
            name: mine
            description: optional
            groups:
              - name: Arithmetic
                patterns:
                  - {id: slip, name: Slip, definition: A sum is wrong., example: "2 + 2 = 5"}
            ```

    Raises:
        UserError: there is no such taxonomy, or the file is not one; says where.
    """
    if name in _SHIPPED:
        package, file = _SHIPPED[name]
        path = Path(str(resources.files(package).joinpath(file)))
    else:
        path = Path(name).expanduser()
        if not path.suffix and not path.exists():
            raise UserError(
                f"taxonomy: there is no {name!r}{nearest(name, set(_SHIPPED))}; there are {', '.join(_SHIPPED)}, or "
                "give the path of a YAML file"
            )
    content = read_yaml(path)
    _check_keys(content, {"name", "description", "groups"}, {"groups"}, str(path))
    groups = content["groups"]
    if not isinstance(groups, list) or not groups:
        raise UserError(f"{path}: `groups` must be a list of groups, each with a name and patterns")
    patterns: list[Pattern] = []
    for number, group in enumerate(groups, start=1):
        where = f"{path}, group {number}"
        _check_keys(group, {"name", "patterns"}, {"name", "patterns"}, where)
        if not isinstance(group["patterns"], list) or not group["patterns"]:
            raise UserError(f"{where}: `patterns` must be a list of patterns")
        for position, entry in enumerate(group["patterns"], start=1):
            patterns.append(_pattern(entry, str(group["name"]), f"{where}, pattern {position}"))
    seen: set[str] = set()
    for pattern in patterns:
        if pattern.id.lower() in seen:
            raise UserError(f"{path}: two patterns have the id {pattern.id!r}")
        seen.add(pattern.id.lower())
    return Taxonomy(str(content.get("name") or path.stem), str(content.get("description") or ""), tuple(patterns))


def _pattern(entry: Any, group: str, where: str) -> Pattern:
    keys = {"id", "name", "definition", "example"}
    _check_keys(entry, keys, keys, where)
    for key in keys:
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise UserError(f"{where}: `{key}` must be text, found {entry[key]!r}; put it in quotes")
    if not _ID.fullmatch(entry["id"]):
        raise UserError(f"{where}: the id {entry['id']!r} must be a letter, then letters, digits, '_', '-' or '.'")
    return Pattern(group=group, **{key: " ".join(entry[key].split()) for key in keys})


def _check_keys(entry: Any, known: set[str], required: set[str], where: str) -> None:
    if not isinstance(entry, dict):
        raise UserError(f"{where}: expected a mapping, found {type(entry).__name__}")
    for key in entry:
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}{nearest(str(key), known)}")
    for key in sorted(required):
        if entry.get(key) in (None, ""):
            raise UserError(f"{where}: `{key}` is missing")
