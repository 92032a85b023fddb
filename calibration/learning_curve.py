"""How often a head is right by the number of labelled cells: whether more labels would help."""

import numpy as np

from ..runtime.bundle.review import Gaussians
from .adapt import SEEDS, fit_own_head
from .adapted_head import HomeCells
from .cross_validation import Indices
from .own_cells import OwnCells
from .plots import CurvePoint

SIZES = (10, 20, 50, 100, 200, 500, 1000)


def learning_curve(own: OwnCells, home_usual: Gaussians, home: HomeCells) -> list[CurvePoint]:
    """Fit heads on fewer cells, at least two of each class, and test each on the fold that is left out.

    Args:
        own: Cells of the laboratory.
        home_usual: Of the cells that the bundle was calibrated on.
        home: Some of these cells.
    """
    shared = home.of(own.cells.classes)
    right: dict[int, list[float]] = {}
    for seed in range(SEEDS):
        random = np.random.default_rng(seed)
        for train, test in own.folds(seed):
            order = _two_of_each_first(random.permutation(train), own.cells.labels)
            for size in [*(size for size in SIZES if 2 * len(own.cells.classes) <= size < len(train)), len(train)]:
                head = fit_own_head(own, order[:size], home_usual, shared)
                called = own.views.answers(head, test)[0].argmax(1)
                right.setdefault(size, []).append(float((called == own.cells.labels[test]).mean()))
    whole = max(right)
    sizes = [*(size for size in sorted(right) if size in SIZES), whole]
    return [CurvePoint(n, float(np.mean(right[n])), min(right[n]), max(right[n])) for n in dict.fromkeys(sizes)]


def _two_of_each_first(order: Indices, labels: Indices) -> Indices:
    first = np.concatenate([order[labels[order] == label][:2] for label in np.unique(labels[order])])
    return np.concatenate([first, order[~np.isin(order, first)]])
