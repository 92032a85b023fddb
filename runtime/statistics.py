"""Intervals for proportions."""

from math import exp, lgamma, log, log1p, sqrt

Z95 = 1.959963984540054
TAIL = 0.025  # outside a 95 % interval, on either side
TINY = 1e-300
EXACT = 1e-13


def wilson_interval(successes: int, total: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion (0 to 1 where nothing was counted)."""
    if total == 0:
        return 0.0, 1.0
    share, spread = successes / total, Z95 * Z95 / total
    center = (share + spread / 2) / (1 + spread)
    half = Z95 * sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(0.0, center - half), min(1.0, center + half)


def clopper_pearson_interval(successes: int, total: int) -> tuple[float, float]:
    """95 % Clopper–Pearson interval of a proportion: exact (0 to 1 where nothing was counted)."""
    failures = total - successes
    low = _beta_quantile(TAIL, successes, failures + 1) if successes else 0.0
    high = 1 - _beta_quantile(TAIL, failures, successes + 1) if failures else 1.0
    return low, high


def _beta_quantile(share: float, a: int, b: int) -> float:
    """Quantile of a beta distribution: Newton's method, kept between bounds that close in."""
    low, high, x = 0.0, 1.0, a / (a + b)
    log_beta = lgamma(a) + lgamma(b) - lgamma(a + b)
    while high - low > EXACT * x:
        excess = _beta_share(x, a, b) - share
        low, high = (low, x) if excess > 0 else (x, high)
        step = excess * exp(log_beta - (a - 1) * log(x) - (b - 1) * log1p(-x))
        if abs(step) <= EXACT * x:
            break
        x = x - step if low < x - step < high else (low + high) / 2
    return x


def _beta_share(x: float, a: int, b: int) -> float:
    """Share of a beta distribution below x: its continued fraction by Lentz's method (Numerical Recipes, 6.4)."""
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_share(1 - x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or TINY)
    fraction, m, change = d, 0, 0.0
    while abs(change - 1) > EXACT:
        m += 1
        change = 1.0
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + term * d or TINY)
            c = 1 + term / c or TINY
            change *= c * d
        fraction *= change
    return front * fraction
