"""A bundle's head and calibration from one laboratory's labelled cells, judged by heads that have not seen them.

Cross-validation gives each cell an answer by a head that was fitted without it. These answers say how often the new
head is right, set the temperature and the review threshold, and so does the distance to the class means of the others.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..runtime.bundle.review import Calibration, Gaussians
from ..runtime.inference.predictions import softmax
from .adapted_head import HomeCells, fit_adapted_head
from .calibrate import usual_calibration
from .cross_validation import Indices
from .evidence import Evidence
from .head import Head
from .judged import Judged, judge
from .limits import stain_gaussians
from .own_cells import OwnCells
from .risk import Promise, promise
from .temperature import best_temperature

SEEDS = 3  # of the folds
SHARPNESS = 3.0  # logits per unit of the regression, so that the temperature is near 1
THRESHOLDS = (0.99, 0.98, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.0)


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Answers on cells that a head has not seen.

    Attributes:
        logits: Of the T tested cells, float32, by seed of the folds, (S, T, K).
        features: Of each, as these logits are made of them, for the first seed, float32, (T, D).
        fold_of: Fold of each, counted from 0, (S, T).
        usual: Class means without a fold of the first seed, and the cells of that fold, of the T.
    """

    logits: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]
    fold_of: Indices
    usual: list[tuple[Gaussians, Indices]]

    def probabilities(self, temperature: float) -> npt.NDArray[np.float64]:
        """Probabilities of the classes, (S, T, K)."""
        return np.stack([softmax(logits, temperature) for logits in self.logits])


@dataclass(frozen=True, eq=False)
class Adapted:
    """A head, and what is known of it.

    Attributes:
        head: Fitted on all cells.
        out_of_fold: Answers without each cell of those that may be tested.
        temperature: For its logits.
        calibration: With the threshold.
        promise: How the threshold was found.
        before: These cells, by the answers without them of the first seed, and by all checks but the confidence.
        judged: The same, by all checks.
    """

    head: Head
    out_of_fold: OutOfFold
    temperature: float
    calibration: Calibration
    promise: Promise
    before: Judged
    judged: Judged


def adapt(own: OwnCells, home_usual: Gaussians, home: HomeCells, max_error: float) -> Adapted:
    """Fit a head, and judge it by cross-validation.

    Args:
        own: Cells of the laboratory.
        home_usual: Of the cells that the bundle was calibrated on; its covariance is the laboratory's too, since a few
            cells do not show that of so many features.
        home: Some of these cells.
        max_error: Share of wrong cells that is asked for.

    Raises:
        DataError: The groups do not allow cross-validation.
    """
    shared = home.of(own.cells.classes)
    found = out_of_fold(own, home_usual, shared)
    all_cells, evidence = np.arange(len(own.cells.labels)), own.evidence(found.logits[0], found.features)
    head = fit_own_head(own, all_cells, home_usual, shared)
    temperature = best_temperature(found.logits.reshape(-1, len(own.cells.classes)), np.tile(evidence.labels, SEEDS))
    usual = _usual(evidence, found, _around_means(own, all_cells, home_usual))
    before = _judge(usual, evidence, found, temperature)
    passing = before.passes
    chosen = promise(before.confidences[passing], before.correct[passing], THRESHOLDS, max_error)
    calibration = replace(usual, threshold=chosen.chosen.threshold, reached=chosen.reached)
    judged = _judge(calibration, evidence, found, temperature)
    return Adapted(head, found, temperature, calibration, chosen, before, judged)


def out_of_fold(own: OwnCells, home_usual: Gaussians, home: HomeCells) -> OutOfFold:
    """Answer each cell that may be tested by heads that were fitted without its fold."""
    logits = np.zeros((SEEDS, len(own.cells.labels), len(own.cells.classes)), np.float32)
    fold_of, usual, tested = np.zeros(logits.shape[:2], np.intp), [], own.tested_at
    features = own.views.features.copy()
    for seed in range(SEEDS):
        for number, (train, test) in enumerate(own.folds(seed)):
            fold_of[seed, test] = number
            head = fit_own_head(own, train, home_usual, home)
            logits[seed, test], seen = own.views.answers(head, test)
            if seed == 0:
                features[test] = seen
                usual.append((_around_means(own, train, home_usual), np.searchsorted(tested, test)))
    return OutOfFold(logits[:, tested], features[tested], fold_of[:, tested], usual)


def fit_own_head(own: OwnCells, chosen: Indices, home_usual: Gaussians, home: HomeCells) -> Head:
    """A head fitted on some of the cells, with logits of the usual size."""
    head = fit_adapted_head(own.views.turned[chosen], own.cells.labels[chosen], home_usual, home)
    return Head(head.weight * SHARPNESS, head.bias * SHARPNESS)


def _around_means(own: OwnCells, chosen: Indices, home_usual: Gaussians) -> Gaussians:
    """The means of the laboratory's classes, with the covariance of home."""
    features, labels = own.views.features[chosen], own.cells.labels[chosen]
    means = np.stack([features[labels == label].mean(0) for label in range(len(own.cells.classes))])
    return Gaussians(means, home_usual.whitening, home_usual.outside)


def _usual(evidence: Evidence, found: OutOfFold, features: Gaussians) -> Calibration:
    """All but the threshold; distances of features are to the means of the other folds."""
    distances = np.concatenate([usual.distances(evidence.features[test]) for usual, test in found.usual])
    return usual_calibration(features, distances, stain_gaussians(evidence.stains), evidence)


def _judge(calibration: Calibration, evidence: Evidence, found: OutOfFold, temperature: float) -> Judged:
    """Judge each cell by the class means without it."""
    all_cells = judge(calibration, evidence, temperature)
    for usual, test in found.usual:
        fold = judge(replace(calibration, features=usual), evidence.of(test), temperature)
        for place, assessment in zip(test, fold.found, strict=True):
            all_cells.found[place] = assessment
    return all_cells
