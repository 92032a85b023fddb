"""Statistics of two ways to count the same slides: κ, two-sample limits, Bland–Altman and Passing–Bablok.

Each is checked against published worked examples: `tests/calibration/test_method_comparison.py` names them.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from ..runtime.statistics import TAIL, Z95

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

RESAMPLES = 2000
SEED = 25  # fixed, so that the same comparison gives the same page
FEWEST_SLIDES, LOWEST_MEDIAN = 40, 5.0  # of a Passing–Bablok regression; the median is a percentage
ROUNDING = 1e-9  # differences of percentages below it are those of floating point


@dataclass(frozen=True)
class Kappa:
    """Cohen's κ.

    Attributes:
        value: From −1 to 1; None where one class is all there is, since nothing can be told of chance then.
        interval: 95 %, bootstrapped by slide; None of a single slide.
        slides: Number of slides.
    """

    value: float | None
    interval: tuple[float, float] | None
    slides: int


@dataclass(frozen=True)
class BlandAltman:
    """Differences of pairs of measurements: Bland and Altman, Lancet 1986; 327: 307–310.

    Attributes:
        count: Number of pairs.
        bias: Mean difference, with its 95 % interval.
        deviation: Standard deviation of the differences.
        limits: Limits of agreement: bias ± 1.96 standard deviations.
        low_interval: 95 % interval of the lower limit, by the standard error √(3·s²/n) of that paper.
        high_interval: Likewise of the upper one.
    """

    count: int
    bias: float
    bias_interval: tuple[float, float]
    deviation: float
    limits: tuple[float, float]
    low_interval: tuple[float, float]
    high_interval: tuple[float, float]


@dataclass(frozen=True)
class PassingBablok:
    """A line y = intercept + slope · x: Passing and Bablok, J Clin Chem Clin Biochem 1983; 21: 709–720.

    The methods agree where the interval of the slope holds 1 and that of the intercept holds 0.
    """

    slope: float
    slope_interval: tuple[float, float]
    intercept: float
    intercept_interval: tuple[float, float]


def kappa_of(confusion: npt.ArrayLike) -> float | None:
    """Cohen's κ of counts (K, K); None where it is not defined, because all cells have one label in both."""
    counts = np.asarray(confusion)
    if np.count_nonzero(counts.sum(0) + counts.sum(1)) < 2:
        return None
    rows, columns = np.indices(counts.shape)
    return float(cohen_kappa_score(rows.ravel(), columns.ravel(), sample_weight=counts.ravel()))


def kappa_by_slide(confusions: npt.ArrayLike) -> Kappa:
    """Cohen's κ of all cells, and an interval by the slides that they are on: cells of one slide are alike.

    Args:
        confusions: Counts of each of S slides, (S, K, K).
    """
    tables = np.asarray(confusions)
    value, count = kappa_of(tables.sum(0)), len(tables)
    if value is None or count < 2:
        return Kappa(value, None, count)

    chosen = np.random.default_rng(SEED).integers(count, size=(RESAMPLES, count))
    drawn = [found for slides in chosen if (found := kappa_of(tables[slides].sum(0))) is not None]
    low, high = np.quantile(drawn, (TAIL, 1 - TAIL))
    return Kappa(value, (float(low), float(high)), count)


def two_sample_limits(reference: int, reference_cells: int, cells: int) -> tuple[int, int]:
    """Two-sample limits of a count: what 95 % of counts of the same blood are within.

    Rümke's limits for a second count, as CLSI H20 compares a test method with a reference: neither end is unlikely
    (2.5 %) given both counts together, by the hypergeometric distribution of Fisher's exact test. Where the second
    count is of very many cells, they are Rümke's well-known limits of the first one (Clopper–Pearson).

    Args:
        reference: Cells of a class in the reference.
        reference_cells: All of its cells.
        cells: All cells of the other count.

    Returns:
        Fewest and most cells of the class in the other count.
    """
    counts = np.arange(cells + 1)
    both, every = counts + reference, cells + reference_cells
    at_most = stats.hypergeom.cdf(counts, every, both, cells)
    at_least = stats.hypergeom.sf(counts - 1, every, both, cells)
    within = counts[(at_most > TAIL) & (at_least > TAIL)]
    return int(within[0]), int(within[-1])


def bland_altman(values: npt.ArrayLike, reference: npt.ArrayLike) -> BlandAltman | None:
    """Limits of agreement of pairs (N,); None of a single pair."""
    differences = np.asarray(values, np.float64) - np.asarray(reference, np.float64)
    count = len(differences)
    if count < 2:
        return None
    bias, deviation = float(differences.mean()), float(differences.std(ddof=1))
    low, high = bias - Z95 * deviation, bias + Z95 * deviation
    t = float(stats.t.ppf(1 - TAIL, count - 1))
    of_mean, of_limit = t * deviation / sqrt(count), t * deviation * sqrt(3 / count)
    return BlandAltman(
        count,
        bias,
        (bias - of_mean, bias + of_mean),
        deviation,
        (low, high),
        (low - of_limit, low + of_limit),
        (high - of_limit, high + of_limit),
    )


def why_no_line(reference: npt.ArrayLike) -> str:
    """Why a Passing–Bablok regression of these percentages of the reference means nothing; empty where it does."""
    percents = np.asarray(reference, np.float64)
    if len(percents) < FEWEST_SLIDES:
        return f"fewer than {FEWEST_SLIDES} slides"
    if np.median(percents) < LOWEST_MEDIAN:
        return f"median below {LOWEST_MEDIAN:.0f} %"
    return ""


def passing_bablok(x: npt.ArrayLike, y: npt.ArrayLike) -> PassingBablok | None:
    """Passing–Bablok regression of y on x, (N,); None where the pairs do not tell a line and its interval."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    slopes = _slopes(x, y)
    count, shift, pairs = len(slopes), int((slopes < -1).sum()), len(x)
    spread = Z95 * sqrt(pairs * (pairs - 1) * (2 * pairs + 5) / 18)
    first = round((count - spread) / 2)
    ends = first + shift, count - first + 1 + shift
    if first < 1 or ends[1] > count:
        return None
    middle = slopes[(count - 1) // 2 + shift], slopes[count // 2 + shift]
    slope, low, high = float(sum(middle) / 2), float(slopes[ends[0] - 1]), float(slopes[ends[1] - 1])
    if not np.isfinite([slope, low, high]).all():
        return None
    return PassingBablok(
        slope,
        (low, high),
        float(np.median(y - slope * x)),
        (float(np.median(y - high * x)), float(np.median(y - low * x))),
    )


def _slopes(x: Floats, y: Floats) -> Floats:
    """Slopes of all pairs of points, in order; a vertical one is infinite, and equal points and −1 are left out."""
    one, other = np.triu_indices(len(x), 1)
    across, up = x[one] - x[other], y[one] - y[other]
    across[np.abs(across) < ROUNDING] = 0
    up[np.abs(up) < ROUNDING] = 0
    differ = (across != 0) | (up != 0)
    with np.errstate(divide="ignore"):
        slopes = up[differ] / across[differ]
    return np.sort(slopes[np.abs(slopes + 1) > ROUNDING])
