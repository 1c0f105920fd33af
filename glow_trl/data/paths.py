"""Names of data sets: local files, patterns of them, or repositories on the Hub."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import MissingDataError, UserError
from ..stages.paths import expand_path, variables


# Folder of copies of data sets on the Hub
DATA_FOLDER = "${GLOW_TRL_DATA:-../shared/data}"
FILE_SUFFIXES = (".jsonl", ".json", ".parquet")


def no_such_file(name: str) -> MissingDataError:
    """The error for a data set's name that stands for no file, with the environment variables that it looks for."""
    told = (
        f"{variable} {'is ' + os.environ[variable] if os.environ.get(variable) else 'is not set'}"
        for variable in variables(name)
    )
    where = "".join(f"; the environment variable {part}: set it to the folder that has the data" for part in told)
    return MissingDataError(f"{expand_path(name)}: there is no such file{where}")


def find_copy(name: str) -> str | None:
    """
    Path of a copy in the folder that the environment variable `GLOW_TRL_DATA` names (`../shared/data` without it), if
    it is there.
    """
    path = os.path.join(expand_path(DATA_FOLDER), name)
    return path if os.path.isfile(path) else None


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
        elif path != name and is_local(path) and not Path(path).exists():
            raise no_such_file(name)
        else:
            expanded.append(path)
    if not expanded:
        raise UserError("no data set is named")
    return expanded


def is_local(name: str) -> bool:
    """Whether a data set's name means a local file rather than a repository on the Hub."""
    return name.endswith(FILE_SUFFIXES) or name.startswith((".", "/", "~")) or Path(name).exists()
