"""Features of another laboratory, made like those of the training cells without a label.

Stain, microscope and camera shift and stretch the pooled features. One scale and one shift for each feature undo that:
those that give a laboratory's cells the mean and the spread that the training cells have in the same mix of classes.
The mix is not estimated from the cells, since a model that errs confirms its own errors: it is that of a usual
differential count. So it takes cells of many slides, and one slide is never standardised by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..runtime.bundle.review import Gaussians
from ..runtime.errors import DataError

Floats = npt.NDArray[np.floating]

USUAL_MIX = {
    "neutrophil": 0.575,
    "lymphocyte": 0.28,
    "monocyte": 0.07,
    "eosinophil": 0.04,
    "basophil": 0.01,
    "ig": 0.01,
    "platelet": 0.01,
    "erythroblast": 0.005,
}
"""Shares of the classes among all cells of many slides, by name; `natural.NATURAL` is of a slide's leukocytes alone."""

FEWEST = 100  # cells
NEAR = 0.05  # strangeness below which cells are like the training cells, and nothing is to be made
STEADY = 0.05  # of the mean variance, added to each: features that hardly vary are not stretched
MOST = 4.0  # largest scale, and its inverse the smallest


@dataclass(frozen=True, eq=False)
class Standardisation:
    """What makes features f of a laboratory like those of the training cells: `scale`·f + `shift`, both (D,)."""

    scale: Floats
    shift: Floats


def standardise_laboratory(
    features: Floats, probabilities: Floats, home: Gaussians, names: Sequence[str]
) -> Standardisation:
    """Standardise a laboratory's cells, where they need it.

    Args:
        features: Of unlabelled cells of many slides, (N, D).
        probabilities: Of the classes, by the bundle as it is, (N, K).
        home: Of the training cells.
        names: Of the classes.

    Raises:
        DataError: There are too few cells, or they are like the training cells already.
    """
    if len(features) < FEWEST:
        raise DataError(f"{len(features)} cells: at least {FEWEST} are needed, of many slides")
    if strangeness(features, probabilities, home) < NEAR:
        raise DataError("these cells are like those that the bundle was trained on: use the bundle as it is")
    return standardise(features, home, usual_mix(names))


def usual_mix(names: Sequence[str], mix: Mapping[str, float] = USUAL_MIX) -> Floats:
    """Shares (K,) of these classes; those that `mix` does not know have as little as its rarest."""
    shares = np.array([mix.get(name, min(mix.values())) for name in names])
    return shares / shares.sum()


def strangeness(features: Floats, probabilities: Floats, home: Gaussians) -> float:
    """How far the mean of cells lies from what their labels lead to expect: 0 at home, also on a slide of one class.

    The square of the distance in standard deviations within a class, its mean over the features, less what chance
    gives.

    Args:
        features: (N, D).
        probabilities: Of the classes, (N, K).
        home: Of the training cells.
    """
    variance = home.variances
    squares = (features - probabilities @ home.means).mean(0) ** 2 / (variance + STEADY * variance.mean())
    return float(squares.mean()) - 1 / len(features)


def standardise(features: Floats, home: Gaussians, mix: Floats) -> Standardisation:
    """Standardise features.

    Args:
        features: Of unlabelled cells of many slides of one laboratory, (N, D).
        home: Of the training cells.
        mix: Assumed shares of the classes among the cells, (K,).
    """
    mean = mix @ home.means
    variance = home.variances + mix @ home.means**2 - mean**2
    least = STEADY * variance.mean()
    scale = np.sqrt((variance + least) / (features.var(0) + least)).clip(1 / MOST, MOST)
    return Standardisation(scale, mean - features.mean(0) * scale)
