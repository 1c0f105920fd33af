"""Benchmarks, statistics and policy entropy. Importing this package loads neither torch nor transformers."""

import importlib


# Each with its module, imported with the name: the commands' modules run with `python -m` too
_NAMES = {
    "BenchmarkConfig": "..benchmarks",
    "Estimate": "..statistics.estimates",
    "EvalConfig": ".config",
    "answer_groups": ".voting",
    "compare_entropy": ".entropy",
    "compare_runs": ".compare",
    "evaluate": ".runner",
    "grouped_mean": "..statistics.estimates",
    "majority_at_k": "..statistics.estimates",
    "pass_at_k": "..statistics.estimates",
}

__all__ = list(_NAMES)


def __getattr__(name: str):
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
