"""Benchmarks, statistics and policy entropy. Importing this package loads neither torch nor transformers."""

from ..benchmarks import BenchmarkConfig
from ..statistics.estimates import Estimate, grouped_mean, majority_at_k, pass_at_k
from .compare import compare_runs
from .config import EvalConfig
from .entropy import compare_entropy
from .runner import evaluate
from .voting import answer_groups


__all__ = [
    "BenchmarkConfig",
    "Estimate",
    "EvalConfig",
    "answer_groups",
    "compare_entropy",
    "compare_runs",
    "evaluate",
    "grouped_mean",
    "majority_at_k",
    "pass_at_k",
]
