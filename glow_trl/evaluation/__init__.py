"""Benchmarks, statistics and policy entropy. Importing this package loads neither torch nor transformers."""

from ..benchmarks import BenchmarkConfig
from .compare import compare_runs
from .config import EvalConfig
from .entropy_stage import compare_entropy
from .runner import evaluate
from .statistics import Estimate, grouped_mean, majority_at_k, pass_at_k
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
