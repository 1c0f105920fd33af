"""Names of data sets: local files, patterns of them, or repositories on the Hub."""

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import MissingDataError, UserError


FILE_SUFFIXES = (".jsonl", ".json", ".parquet")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}|\$(\w+)")


def expand_path(path: str) -> str:
    """Expand `~`, `$NAME`, `${NAME}` and `${NAME:-default}` as a shell would; other unset variables are an error."""

    def value(match: re.Match) -> str:
        name, default = match[1] or match[3], match[2]
        if os.environ.get(name):
            return os.environ[name]
        if default is None:
            raise UserError(f"{path}: the environment variable {name} is not set")
        return default

    return os.path.expanduser(_VARIABLE.sub(value, path))


def no_such_file(name: str) -> MissingDataError:
    """The error for a data set's name that stands for no file, with the environment variables that it looks for."""
    variables = [match[1] or match[3] for match in _VARIABLE.finditer(name)]
    told = (
        f"{variable} {'is ' + os.environ[variable] if os.environ.get(variable) else 'is not set'}"
        for variable in variables
    )
    where = "".join(f"; the environment variable {part}: set it to the folder that has the data" for part in told)
    return MissingDataError(f"{expand_path(name)}: there is no such file{where}")


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
