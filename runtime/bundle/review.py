"""Which cells a person must review, by the calibration of a bundle.

`cartcls calibrate` computes it on labelled cells; it is stored beside the graph, not in it, and applied here in numpy.
"""

import zipfile
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

import numpy as np
import numpy.typing as npt

from ..errors import BundleError
from ..images.quality import FLAWS, Quality
from .calibration import DISTANCE, NOT_CALIBRATED, STAIN, CalibrationRecord, Limits

CALIBRATION = "calibration.npz"
MOST_DIGITS = 6

Vectors = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Normal distributions that share one covariance.

    Attributes:
        means: One for each class or cluster, (K, D).
        whitening: Makes the covariance the identity, (D, R). Where R < D, it is for the directions of most variance:
            orthogonal columns, each divided by its standard deviation.
        outside: Inverse of the variance in every other direction; 0 where there is none.
    """

    means: Vectors
    whitening: Vectors
    outside: float = 0.0

    def distances(self, vectors: Vectors) -> npt.NDArray[np.float64]:
        """Mahalanobis distance of vectors (N, D) to the nearest mean, (N,)."""
        # not `@`: the threads of BLAS wait for cores that the network uses, which costs a quarter of the speed
        whitened = np.einsum("nd,dr->nr", vectors, self.whitening)
        inside = (whitened[:, None] - self._centers) ** 2  # (N, K, R)
        squares = inside.sum(2)
        if self.outside:
            all_directions = np.stack([((vectors - mean) ** 2).sum(1) for mean in self.means], 1)
            squares = squares + self.outside * (all_directions - np.einsum("nkr,r->nk", inside, self._variances)).clip(
                0
            )
        return np.sqrt(squares.min(1)).astype(np.float64)

    @property
    def variances(self) -> npt.NDArray[np.float64]:
        """Variance of each dimension within a class or cluster, (D,)."""
        whitening = self.whitening.astype(np.float64)
        if not self.outside:  # the whitening W of the covariance C: W·Wᵀ = C⁻¹
            return np.diag(np.linalg.inv(whitening @ whitening.T)).copy()
        inverse = (whitening**2).sum(0)
        directions = whitening / np.sqrt(inverse)
        return 1 / self.outside + directions**2 @ (1 / inverse - 1 / self.outside)

    @cached_property
    def _centers(self) -> Vectors:
        return self.means @ self.whitening

    @cached_property
    def _variances(self) -> Vectors:
        return 1 / (self.whitening**2).sum(0)


@dataclass(frozen=True, eq=False)
class Calibration:
    """What decides whether a cell is `ok` or for review.

    Attributes:
        threshold: Cells with a smaller confidence are for review.
        limits: Lowest and highest accepted value by measure: those of `quality.FLAWS`, `DISTANCE` in feature space and
            `STAIN` in colours; None for no limit.
        features: The classes in feature space.
        stains: Kinds of stain among the training cells.
        reached: Whether the guarantee holds; where it does not, no cell is `ok`.
    """

    threshold: float
    limits: Limits
    features: Gaussians
    stains: Gaussians
    reached: bool = True


@dataclass(frozen=True)
class Assessment:
    """The review reasons of one cell, and its distances.

    Attributes:
        reasons: Why a person must look at it, the most important first; empty if it is `ok`.
        distance: Distance of its features from those of the nearest class.
        stain: Distance of its colours from those of the nearest kind of stain.
    """

    reasons: list[str]
    distance: float
    stain: float


def assess(
    calibration: Calibration, confidence: float, features: npt.NDArray[np.float32], quality: Quality
) -> Assessment:
    """Find the review reasons of one cell.

    Args:
        calibration: Of the bundle.
        confidence: Probability of the label, after temperature.
        features: Of the cell, (D,).
        quality: Of its image.
    """
    distance = float(calibration.features.distances(features[None])[0])
    stain = float(calibration.stains.distances(quality.stain[None])[0])
    reasons = [] if calibration.reached else [NOT_CALIBRATED]
    if not confidence >= calibration.threshold:
        reasons.append(f"low confidence ({_compared(confidence, calibration.threshold, '<')})")
    reasons += _flaw("distance", ("", "unlike the training cells"), distance, calibration.limits[DISTANCE])
    reasons += _flaw("distance", ("", "stain unlike the training cells"), stain, calibration.limits[STAIN])
    for name, titles in FLAWS.items():
        reasons += _flaw(name, titles, quality.measures[name], calibration.limits[name])
    return Assessment(reasons, distance, stain)


def read_calibration(record: CalibrationRecord, arrays: bytes, model_sha256: str, classes: int) -> Calibration:
    """Read what `cartcls calibrate` wrote.

    Args:
        record: `calibration` of `bundle.json`.
        arrays: `calibration.npz`, verified.
        model_sha256: Digest of the bundle's graph.
        classes: Number of its classes.

    Raises:
        BundleError: It is malformed, or of another model.
    """
    try:
        with np.load(BytesIO(arrays), allow_pickle=False) as found:
            made_for = str(found["model_sha256"])
            outside = float(found["feature_outside"]) if "feature_outside" in found else 0.0
            features = Gaussians(found["feature_means"], found["feature_whitening"], outside)
            stains = Gaussians(found["stain_means"], found["stain_whitening"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{CALIBRATION} is cut off or malformed ({error}): calibrate the bundle again") from None
    if made_for != model_sha256:
        raise BundleError(f"{CALIBRATION} was made with the features of another model: calibrate the bundle again")
    if len(features.means) != classes:
        raise BundleError(f"{CALIBRATION} has {len(features.means)} of {classes} classes: calibrate the bundle again")
    for name, gaussians in (("features", features), ("stains", stains)):
        means, whitening = gaussians.means, gaussians.whitening
        if means.ndim != 2 or whitening.ndim != 2 or len(whitening) != means.shape[1]:
            raise BundleError(f"{CALIBRATION}: the sizes of the {name} differ: calibrate the bundle again")
        if not (np.isfinite(means).all() and np.isfinite(whitening).all() and np.isfinite(gaussians.outside)):
            raise BundleError(f"{CALIBRATION}: the {name} hold not-a-number: calibrate the bundle again")
    return Calibration(record.threshold, record.limits, features, stains, record.promise.reached)


def _flaw(name: str, titles: tuple[str, str], value: float, limits: tuple[float | None, float | None]) -> list[str]:
    low, high = limits
    if titles[0] and low is not None and not value >= low:
        return [f"{titles[0]} ({name} {_compared(value, low, '<')})"]
    if titles[1] and high is not None and not value <= high:
        return [f"{titles[1]} ({name} {_compared(value, high, '>')})"]
    return []


def _compared(value: float, limit: float, sign: str) -> str:
    """Two numbers, with as many digits as it takes to see that they differ."""
    digits = next((n for n in range(2, MOST_DIGITS) if f"{value:.{n}f}" != f"{limit:.{n}f}"), MOST_DIGITS)
    return f"{value:.{digits}f} {sign} {limit:.{digits}f}"
