"""A figure of several sites, for people."""

from collections.abc import Sequence
from math import sqrt
from statistics import mean, stdev


def spread(figures: Sequence[float], unit: str = "") -> str:
    """Their mean, and its 95 % interval where there are several."""
    if len(figures) < 2:
        return f"{figures[0]:.4f}{unit}"
    return f"{mean(figures):.4f} ± {1.96 * stdev(figures) / sqrt(len(figures)):.4f}{unit}"
