"""How many of the cells that pass may be wrong: a bound that holds with 95 % confidence, and the threshold for it.

Angelopoulos et al., "Learn then Test" (2021): thresholds are tried in an order that was fixed beforehand, from strict
to loose, each with an exact binomial bound, until the first that fails. No correction for trying many is needed then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, lgamma, log, log1p

import numpy as np
import numpy.typing as npt

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
    """The review threshold, and what it promises.

    Attributes:
        asked: Share of wrong cells that was asked for.
        steps: Thresholds tried, from strict to loose; the last one failed, unless all passed.
        chosen: The one that holds.
        needed: Number of cells like these, passing or not, with which the bound asked for would be reached at `chosen`;
            None where it is reached, or no number would do.
    """

    asked: float
    steps: list[Step]
    chosen: Step
    needed: int | None

    @property
    def reached(self) -> bool:
        """Whether the bound asked for holds."""
        return self.chosen.bound <= self.asked

    @property
    def error(self) -> float:
        """The share of wrong cells that is promised."""
        return self.asked if self.reached else self.chosen.bound


def clopper_pearson_upper(wrong: int, count: int, confidence: float = CONFIDENCE) -> float:
    """Upper bound of a proportion: the largest p under which as few as `wrong` of `count` are not too unlikely."""
    if wrong >= count:
        return 1.0
    low, high = wrong / count, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _binomial_cdf(wrong, count, middle) > 1 - confidence else (low, middle)
    return high


def cells_needed(share: float, max_error: float, at_least: int = 1) -> int | None:
    """Fewest cells with which the bound is at most `max_error`, if that share of them is wrong; None if none do."""
    if share >= max_error:
        return None
    low, high = at_least, max(at_least, 2)
    while clopper_pearson_upper(round(share * high), high) > max_error:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        if clopper_pearson_upper(round(share * middle), middle) <= max_error:
            high = middle
        else:
            low = middle + 1
    return high


def threshold_sequence(select_confidences: Floats, count: int, max_error: float) -> list[float]:
    """Thresholds to try on `count` cells, from strict to loose: fixed by `select` alone.

    The strictest lets so many pass that the bound stands `ERRORS_TO_ALLOW` wrong cells among them, because with fewer
    cells it would fail whatever they are; where that were nearly all of them, it allows for fewer errors.

    Args:
        select_confidences: Of the cells of `select`.
        count: Number of cells of `calibrate`.
        max_error: Share of wrong cells that is asked for.
    """
    for errors in range(ERRORS_TO_ALLOW, -1, -1):
        if clopper_pearson_upper(errors, count) <= max_error:
            needed = next(n for n in range(1, count + 1) if clopper_pearson_upper(errors, n) <= max_error)
            strictest = max(needed / count + SPARE, FIRST[0])
            if strictest <= FIRST[1] or errors == 0:
                shares = np.arange(min(strictest, 1.0), 1.0 + STEP / 2, STEP)
                break
    else:
        shares = np.array([FALLBACK])
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
        enough = cells_needed(chosen.wrong / passing, max_error, passing)
        needed = None if enough is None else ceil(enough * len(confidences) / passing)
    return Promise(max_error, steps, chosen, needed)


def risk_coverage(confidences: Floats, correct: Bools) -> tuple[Floats, Floats]:
    """Share of cells that pass, and share of those that is wrong, for every threshold from the strictest on."""
    order = np.argsort(-confidences, kind="stable")
    number = np.arange(1, len(order) + 1)
    return number / len(order), np.cumsum(~correct[order]) / number


def _binomial_cdf(most: int, count: int, share: float) -> float:
    """Probability of at most `most` of `count`."""
    if share <= 0 or share >= 1:
        return float(share <= 0)
    terms = (
        lgamma(count + 1) - lgamma(i + 1) - lgamma(count - i + 1) + i * log(share) + (count - i) * log1p(-share)
        for i in range(most + 1)
    )
    return sum(map(exp, terms))
