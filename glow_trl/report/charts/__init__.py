"""The charts of the report. Each function returns inline SVGs, and fewer or none where data is missing."""

from .patterns import pattern_chart
from .results import accuracy_charts, curve_charts, difference_charts, entropy_chart, points_by_k
from .training import bound_charts, gain_charts, grpo_charts, loss_charts, map_chart, weight_charts


__all__ = [
    "accuracy_charts",
    "bound_charts",
    "curve_charts",
    "difference_charts",
    "entropy_chart",
    "gain_charts",
    "grpo_charts",
    "loss_charts",
    "map_chart",
    "pattern_chart",
    "points_by_k",
    "weight_charts",
]
