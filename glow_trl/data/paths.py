"""Names of data sets: local files, patterns of them, or repositories on the Hub."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError
from ..stages.paths import expand_path


FILE_SUFFIXES = (".jsonl", ".json", ".parquet")


def expand_names(names: str | Iterable[str]) -> list[str]:
    """
    Names of data sets with variables expanded, see [`expand_path`], and each pattern (`shards/*.jsonl`) replaced by
    the files that it matches, sorted.
    """
    expanded: list[str] = []
    for name in [names] if isinstance(names, str) else names:
        path = expand_path(name)
        if glob.has_magic(path) and not Path(path).exists():
            matches = sorted(match for match in glob.glob(path, recursive=True) if os.path.isfile(match))
            if not matches:
                raise UserError(f"{name}: no file matches")
            expanded += matches
        else:
            expanded.append(path)
    if not expanded:
        raise UserError("no data set is named")
    return expanded


def is_local(name: str) -> bool:
    """Whether a data set's name means a local file rather than a repository on the Hub."""
    return name.endswith(FILE_SUFFIXES) or name.startswith((".", "/", "~")) or Path(name).exists()
