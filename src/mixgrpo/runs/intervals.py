"""95% confidence intervals."""

import math
import statistics
from collections.abc import Sequence

_Z = 1.96  # quantile of the normal distribution


def normal_half_width(values: Sequence[float]) -> float:
    """Of the mean of many values, in the normal approximation; 0 for a single value."""
    return _Z * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def t_half_width(values: Sequence[float]) -> float | None:
    """Of the mean of a few values, by Student's t; None for a single value."""
    if len(values) < 2:
        return None
    from scipy import stats

    return float(stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values)))


def wilson(successes: int, count: int) -> tuple[float, float]:
    """Wilson's interval of a proportion."""
    centre = (successes + _Z**2 / 2) / (count + _Z**2)
    half_width = _Z / (count + _Z**2) * math.sqrt(successes * (count - successes) / count + _Z**2 / 4)
    return centre - half_width, centre + half_width
