"""Student's t distribution, as far as confidence intervals need it."""

import math
from statistics import NormalDist


_TOLERANCE = 1e-10
# Above this many degrees of freedom the first correction to the normal quantile is right to seven digits.
_LARGE = 1000


def student_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t distribution, for `probability >= 0.5`."""
    if not 0.5 <= probability < 1 or degrees < 1:
        raise ValueError("student_quantile: expected 0.5 <= probability < 1 and at least one degree of freedom")
    if degrees > _LARGE:
        z = NormalDist().inv_cdf(probability)
        return z + (z**3 + z) / (4 * degrees)
    low, high = 0.0, 1.0
    while _student_cdf(high, degrees) < probability:
        high *= 2
    while high - low > _TOLERANCE * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_cdf(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def _student_cdf(t: float, degrees: int) -> float:
    """P(T <= t) for `t >= 0`: the closed finite series for whole degrees of freedom."""
    angle = math.atan2(t, math.sqrt(degrees))
    cos2, sin = math.cos(angle) ** 2, math.sin(angle)
    if degrees % 2:
        series, term = 0.0, math.cos(angle)
        for j in range(1, (degrees - 1) // 2 + 1):
            series += term
            term *= cos2 * (2 * j) / (2 * j + 1)
        return 0.5 + (angle + sin * series) / math.pi
    series, term = 0.0, 1.0
    for j in range(1, degrees // 2 + 1):
        series += term
        term *= cos2 * (2 * j - 1) / (2 * j)
    return 0.5 + sin * series / 2
