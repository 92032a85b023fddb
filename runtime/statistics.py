"""Intervals for proportions."""

from math import sqrt

Z95 = 1.959963984540054


def wilson_interval(successes: int, total: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion (0 to 1 where nothing was counted)."""
    if total == 0:
        return 0.0, 1.0
    share, spread = successes / total, Z95 * Z95 / total
    center = (share + spread / 2) / (1 + spread)
    half = Z95 * sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(0.0, center - half), min(1.0, center + half)
