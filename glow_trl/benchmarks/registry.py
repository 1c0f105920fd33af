"""Benchmarks by name or by file, and what an entry of `benchmarks` in `eval.yaml` means."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..stages.yaml_file import nearest, read_yaml
from .config import BenchmarkConfig
from .formats import FORMAT_KEYS, RowFormat


_SHIPPED = Path(__file__).parent / "shipped"
_MAX_DEPTH = 8


@lru_cache(maxsize=1)
def benchmark_names() -> list[str]:
    """Names of the benchmarks that ship with the package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def get_benchmark(name_or_path: str, **replace: Any) -> BenchmarkConfig:
    """A benchmark that ships with the package, or one of your own.

    Args:
        name_or_path (`str`):
            One of [`benchmark_names`], or the path of a YAML file with the arguments of [`BenchmarkConfig`]. A file
            may start from another benchmark: `base: gsm8k`.
        **replace:
            Arguments to use in place of the file's. With `path` the benchmark is pointed at other data: a copy of the
            original with its columns, or rows with `problem`, `answer` and, if they have any, `choices`. Give
            `columns` and the like along with it if they look otherwise.

    Returns:
        [`BenchmarkConfig`]

    Raises:
        UserError: there is no such benchmark (the nearest is named), or a key or value is wrong.

    Example:
    ```python
    >>> from glow_trl.benchmarks import get_benchmark, load_questions

    >>> questions = load_questions(get_benchmark("gsm8k", path="my_questions.jsonl", limit=100))
    ```
    """
    settings, formats = _settings(name_or_path, replace, _MAX_DEPTH)
    return BenchmarkConfig.parse(settings, f"benchmark '{settings['name']}'", formats)


def parse_entry(entry: Any, where: str) -> BenchmarkConfig:
    """The benchmark that an entry of a configuration file means.

    Args:
        entry (`str` or `dict`):
            A name or path for [`get_benchmark`]; or a mapping of [`BenchmarkConfig`]'s arguments. Its key `base`, or
            its `name` if that is a shipped benchmark's, says where what it leaves open comes from.
        where (`str`): where the entry stands, for messages.

    Raises:
        UserError: the entry is malformed.
    """
    if isinstance(entry, BenchmarkConfig):
        return entry
    if isinstance(entry, str):
        return _located(entry, {}, where)
    if not isinstance(entry, Mapping):
        raise UserError(
            f"{where}: expected the name of a benchmark or a mapping with `name` and `path`, found {entry!r}"
        )
    settings = dict(entry)
    name = settings.get("name")
    base = settings.pop("base", None)
    if isinstance(name, str):
        where = f"{where.partition(',')[0]}, '{name}'"
    if base is None and isinstance(name, str) and name in benchmark_names():
        base = name
    if base is None:
        if isinstance(name, str) and "path" not in settings:
            close = nearest(name, set(benchmark_names()))
            raise UserError(f"{where}: path is missing, and no benchmark of this name ships with the package{close}")
        return BenchmarkConfig.parse(settings, where)
    if not isinstance(base, str):
        raise UserError(f"{where}: base must be the name or the path of a benchmark, found {base!r}")
    return _located(base, settings, where)


def _located(base: str, settings: dict[str, Any], where: str) -> BenchmarkConfig:
    known, formats = _settings(base, settings, _MAX_DEPTH, where)
    return BenchmarkConfig.parse(known, where, formats)


def _settings(
    name_or_path: str, replace: Mapping[str, Any], depth: int, where: str | None = None
) -> tuple[dict[str, Any], tuple[RowFormat, ...]]:
    """Arguments of a benchmark with those that replace the file's, and the shapes that its rows may have."""
    path = _find(name_or_path, where)
    settings = read_yaml(path)
    formats: tuple[RowFormat, ...] = ()
    settings.setdefault("name", path.stem)
    base = settings.pop("base", None)
    if base is not None:
        if depth == 0 or not isinstance(base, str):
            raise UserError(f"{path}: base {base!r} leads to no benchmark")
        settings, formats = _settings(base, settings, depth - 1, str(path))
    if replace.get("path") is not None:
        known = BenchmarkConfig.parse(settings, str(path), formats)
        local = known.local_copy
        settings = {key: value for key, value in settings.items() if key not in (*FORMAT_KEYS, "local", "note")}
        formats = ()
        if not any(key in replace for key in FORMAT_KEYS):
            formats = (*known.formats, known.row_format, *([] if local is None else [local[1]]), RowFormat())
    return settings | dict(replace), formats


def _find(name_or_path: str, where: str | None) -> Path:
    prefix = "" if where is None else f"{where}: "
    if name_or_path in benchmark_names():
        return _SHIPPED / f"{name_or_path}.yaml"
    path = Path(name_or_path).expanduser()
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"{prefix}{path}: there is no such file")
        return path
    close = nearest(name_or_path, set(benchmark_names()))
    known = "" if close else f"; there are {', '.join(benchmark_names())}, or the path of a YAML file"
    raise UserError(f"{prefix}there is no benchmark {name_or_path!r}{close}{known}")
