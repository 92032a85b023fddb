"""From the cells of the training side to what is usual: distances in feature space and in colours, and limits."""

import cv2
import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.linalg import eigh, svd
from sklearn.covariance import shrunk_covariance

from ..runtime.bundle.calibration import DISTANCE, STAIN
from ..runtime.bundle.drift import TYPICAL
from ..runtime.bundle.review import Gaussians
from .risk import CONFIDENCE

TAIL = 0.005  # share of `select` beyond which a value is rare, on either side
MARGIN = 1.5  # how far beyond that a picture's limit lies, from the middle: a rare one need not be flawed
STAINS = 4  # kinds of stain that are told apart
FEWEST_FOR_TYPICAL = 29  # with fewer, even the largest distance is below the typical one too often: 0.9^29 < 0.05
WIDE = 512  # dimensions above which only the directions of most variance are told apart
DIRECTIONS = 256  # as many as that: a file of 3 MB for the features of three members, with all of them one of 38
VECTORS_PER_DIRECTION = 10

SLACK = {
    DISTANCE: 1.0,
    STAIN: 1.0,
    "size": 0.25,
    "shape": 0.1,
    "cell": 5.0,
    "border": 0.25,
    "sharpness": 0.15,
    "brightness": 15.0,
    "noise": 1.0,
    "blocks": 0.1,
}
"""Least distance of a limit from the middle: smaller ones no person would call a flaw, however alike the cells are."""

Floats = npt.NDArray[np.float64]


def gaussians(vectors: Floats, groups: npt.NDArray[np.intp]) -> Gaussians:
    """Normal distributions of groups (classes, clusters) with one covariance.

    It is shrunk towards a multiple of the identity, the more the fewer vectors there are for its size. Above `WIDE`
    dimensions it has one variance in all but a few directions.

    Args:
        vectors: (N, D).
        groups: Group of each, 0 to K − 1, (N,); each has a member.
    """
    count = int(groups.max()) + 1
    means = np.array([vectors[groups == group].mean(0) for group in range(count)])
    residuals = vectors - means[groups]
    size = vectors.shape[1]
    if size > WIDE:
        return _wide(means, residuals)
    covariance = residuals.T @ residuals / max(len(vectors) - count, 1) + 1e-12 * np.eye(size)
    shrunk = shrunk_covariance(covariance, size / (size + len(vectors)))
    whitening = np.linalg.cholesky(np.linalg.inv(shrunk))
    return Gaussians(means.astype(np.float32), whitening.astype(np.float32))


def _wide(means: Floats, residuals: Floats) -> Gaussians:
    """Probabilistic principal components of residuals (N, D)."""
    count, size = residuals.shape
    kept = min(DIRECTIONS, max(count // VECTORS_PER_DIRECTION, 1))
    scaled = residuals / np.sqrt(max(count - len(means), 1))
    if count < size:  # far faster then than the eigenvectors of the covariance
        _, deviations, rows = svd(scaled, full_matrices=False)
        variances, directions = deviations[:kept] ** 2, rows[:kept].T
    else:
        variances, directions = eigh(scaled.T @ scaled, subset_by_index=(size - kept, size - 1))
    rest = ((scaled**2).sum() - variances.sum()) / (size - kept) + 1e-12
    whitening = directions / np.sqrt(np.maximum(variances, rest))
    return Gaussians(means.astype(np.float32), whitening.astype(np.float32), 1 / float(rest))


def stain_gaussians(stains: Floats) -> Gaussians:
    """Kinds of stain among cells: clusters of their colours (k-means), each as a normal distribution."""
    kinds = min(STAINS, len(stains) // 10) or 1
    scaled = (stains - stains.mean(0)) / np.maximum(stains.std(0), 1e-6)
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 1e-4)
    _, groups, _ = cv2.kmeans(scaled.astype(np.float32), kinds, np.array([]), stop, 5, cv2.KMEANS_PP_CENTERS)
    return gaussians(stains, np.unique(groups.ravel(), return_inverse=True)[1])


def limits(name: str, values: Floats) -> tuple[float, float]:
    """Lowest and highest value of a measure that is usual, from the cells of `select`."""
    low, middle, high = np.quantile(values, [TAIL, 0.5, 1 - TAIL])
    margin = 1.0 if name == DISTANCE else MARGIN
    below, above = (max(margin * float(gap), SLACK[name]) for gap in (middle - low, high - middle))
    return float(middle) - below, float(middle) + above


def typical(distances: Floats, labels: npt.NDArray[np.intp], names: list[str]) -> dict[str, float]:
    """Distance that at least 9 of 10 cells of home with a label do not exceed, with 95 % confidence for each label.

    It is a nonparametric upper tolerance limit (Wilks 1941). The 0.9 quantile of the few cells of a class would be
    exceeded by more than 0.1 of the cells of home as often as not, and drift would alarm on slides of home.

    Args:
        distances: Of cells that no weights and no mean or covariance were made of, (N,).
        labels: The label that each was given, (N,).
        names: Of the classes. One that has few cells takes the limit of all.
    """
    own = {name: distances[labels == i] for i, name in enumerate(names)}
    return {
        name: _tolerance_limit(found if len(found) >= FEWEST_FOR_TYPICAL else distances) for name, found in own.items()
    }


def _tolerance_limit(distances: Floats) -> float:
    """The first of the sorted distances that is at least the 0.9 quantile of their distribution, with confidence."""
    below = int(stats.binom.ppf(CONFIDENCE, len(distances), TYPICAL))
    return float(np.sort(distances)[min(below, len(distances) - 1)])
