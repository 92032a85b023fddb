"""How many of the cells that pass may be wrong: a bound that holds with 95 % confidence, and the threshold for it.

Angelopoulos et al., "Learn then Test" (2021): thresholds are tried in an order that was fixed beforehand, from strict
to loose, each with an exact binomial bound, until the first that fails. No correction for trying many is needed then.

The share of wrong cells is tested among those that pass. As a share of all cells, those that are wrong and pass are
fewer, so what holds for the one holds for the other. Tested as a share of all, they would be the more the more cells
are flagged for other reasons.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..runtime.bundle.calibration import Step

CONFIDENCE = 0.95
ERRORS_TO_ALLOW = 2  # how many wrong cells the strictest threshold should stand without failing
STEP = 0.005  # of the share of `select` that passes
FIRST = (0.5, 0.9)  # least and most of `select` that passes at the strictest threshold, where there are cells enough
SPARE = 0.04  # more of `select` than the strictest threshold needs: as many may not pass on `calibrate`
FALLBACK = 0.95  # share that passes at the only threshold tried, where there are too few cells for the bound asked for
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Promise:
    """The review threshold, and what it guarantees.

    Attributes:
        asked: Share of wrong cells that was asked for.
        steps: Thresholds tried, from strict to loose; the last one failed, unless all passed.
        chosen: The one that holds.
        needed: Fewest cells that pass with which the bound asked for would be reached at `chosen`, if the share of
            wrong ones stays; where that is above what was asked for, if no more are wrong. None where it is reached.
    """

    asked: float
    steps: list[Step]
    chosen: Step
    needed: int | None

    @property
    def reached(self) -> bool:
        """Whether the bound asked for holds."""
        return self.chosen.bound <= self.asked


def clopper_pearson_upper(wrong: int, count: int) -> float:
    """Upper 95 % bound of the share of which `wrong` of `count` were drawn."""
    return float(stats.beta.ppf(CONFIDENCE, wrong + 1, count - wrong)) if wrong < count else 1.0


def cells_to_stand(errors: int, max_error: float) -> int:
    """Fewest cells of which so many may be wrong, and the bound is still at most `max_error`."""
    return errors + 1 + int(stats.nbinom.ppf(CONFIDENCE, errors + 1, max_error))


def cells_needed(share: float, max_error: float, at_least: int = 1) -> int | None:
    """Fewest cells with which the bound is at most `max_error`, if that share of them is wrong; None if none do."""

    def enough(count: int) -> bool:
        return clopper_pearson_upper(round(share * count), count) <= max_error

    if share >= max_error:
        return None
    low, high = at_least, max(at_least, 2)
    while not enough(high):
        low, high = high, 2 * high
    return low + bisect_left(range(low, high), True, key=enough)


def threshold_sequence(select_confidences: Floats, count: int, max_error: float) -> list[float]:
    """Thresholds to try on `count` cells, from strict to loose: fixed by `select` alone.

    The strictest lets so many pass that the bound stands `ERRORS_TO_ALLOW` wrong cells among them, because with fewer
    cells it would fail whatever they are; where that were nearly all of them, it allows for fewer errors.

    Args:
        select_confidences: Of the cells of `select`.
        count: Number of cells of `calibrate`.
        max_error: Share of wrong cells that is asked for.
    """
    shares = np.array([FALLBACK])
    for errors in range(ERRORS_TO_ALLOW, -1, -1):
        needed = cells_to_stand(errors, max_error)
        strictest = max(needed / count + SPARE, FIRST[0])
        if needed <= count and (strictest <= FIRST[1] or errors == 0):
            shares = np.arange(min(strictest, 1.0), 1.0 + STEP / 2, STEP)
            break
    thresholds = np.quantile(select_confidences, np.maximum(1 - shares, 0), method="lower")
    return [*dict.fromkeys(thresholds.tolist())] + ([0.0] if len(shares) > 1 else [])


def promise(confidences: Floats, correct: Bools, thresholds: Sequence[float], max_error: float) -> Promise:
    """Try thresholds in their order, and stop at the first whose bound is above what was asked for.

    Args:
        confidences: Of those cells of `calibrate` that nothing else speaks against.
        correct: Whether their labels are right.
        thresholds: From strict to loose, chosen without these cells.
        max_error: Share of wrong cells that is asked for.
    """
    steps: list[Step] = []
    for threshold in thresholds:
        passes = confidences >= threshold
        passing, wrong = int(passes.sum()), int((passes & ~correct).sum())
        steps.append(Step(threshold, passing, wrong, clopper_pearson_upper(wrong, passing)))
        if steps[-1].bound > max_error:
            break
    chosen = steps[-2] if len(steps) > 1 and steps[-1].bound > max_error else steps[-1]
    needed = None
    if chosen.bound > max_error:
        passing = max(chosen.passing, 1)
        share = chosen.wrong / passing
        needed = cells_needed(share, max_error, passing) or cells_to_stand(chosen.wrong, max_error)
    return Promise(max_error, steps, chosen, needed)


def risk_coverage(confidences: Floats, correct: Bools) -> tuple[Floats, Floats]:
    """Share of cells that pass, and share of those that is wrong, for every threshold from the strictest on."""
    order = np.argsort(-confidences, kind="stable")
    number = np.arange(1, len(order) + 1)
    return number / len(order), np.cumsum(~correct[order]) / number
