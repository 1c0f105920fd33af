"""Test sets as small YAML files: which there are, and their questions. Loads neither torch nor datasets."""

from .config import BenchmarkConfig
from .load import load_questions
from .registry import benchmark_names, get_benchmark, parse_entry


__all__ = ["BenchmarkConfig", "benchmark_names", "get_benchmark", "load_questions", "parse_entry"]
