"""A head for a laboratory's own classes, fitted on few labelled cells (the paper, section 3.4).

Ridge regression of class indicators on all features of the graph, those of RCMNet's inner stages too: with 100 labels
they gain one to two points. Stain and camera shift all features of a laboratory, so its own mean is subtracted: that of
the class means, whatever the mix of its cells. Where its classes are the bundle's, some cells of home count beside
them, less.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import Ridge

from ..runtime.bundle.bundle import Bundle
from ..runtime.bundle.review import Gaussians
from ..runtime.errors import BundleError
from .head import Head
from .picture_measures import PictureMeasures

HOME_CELLS = "home.npz"
HOME_PER_CLASS = 40
PENALTY = 0.1  # for features whose square is 1 on average, and cells whose mean weight is 1
HOME_WEIGHT = 0.3  # of a cell of home; one of the laboratory has 1 on average
STEADY = 0.05  # of the mean variance, added to each: features that hardly vary count less

Floats = npt.NDArray[np.floating]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class HomeCells:
    """Cells that a bundle was trained on: features (N, D), and class indices (N,) of the classes `names`.

    `measures` are those of their pictures; None where an older version wrote them.
    """

    features: Floats
    labels: Indices
    names: Sequence[str]
    measures: PictureMeasures | None = None

    def of(self, names: Sequence[str]) -> "HomeCells":
        """Those of these classes, with indices of these."""
        shared = [name for name in names if name in self.names]
        places = {self.names.index(name): names.index(name) for name in shared}
        chosen = np.isin(self.labels, [*places])
        measures = self.measures and PictureMeasures(*(values[chosen] for values in self.measures))
        labels = np.array([places[int(i)] for i in self.labels[chosen]], np.intp)
        return HomeCells(self.features[chosen], labels, names, measures)


def kept_cells(labels: Indices) -> Indices:
    """Which cells `home.npz` keeps: the first ones of each class."""
    return np.concatenate([np.flatnonzero(labels == label)[:HOME_PER_CLASS] for label in np.unique(labels)])


def home_cells_file(features: Floats, labels: Indices, measures: PictureMeasures | None = None) -> bytes:
    """`home.npz` of the kept cells, their features as compressed half precision (2 MB for 8 classes).

    Args:
        features: Of all cells, (N, D).
        labels: Their class indices, (N,).
        measures: Of the pictures of the kept cells, as the model takes them; None where they are not at hand.
    """
    chosen = kept_cells(labels)
    file, further = BytesIO(), measures._asdict() if measures else {}
    np.savez_compressed(file, features=features[chosen].astype(np.float16), labels=labels[chosen], **further)
    return file.getvalue()


def read_home_cells(bundle: Bundle) -> HomeCells:
    """Read `home.npz` of a bundle.

    Raises:
        BundleError: There is none, or it is malformed, or it has other features than the calibration.
    """
    if HOME_CELLS not in bundle.manifest.files:
        raise BundleError(f"{bundle.directory} has no {HOME_CELLS}: calibrate it again with this version")
    try:
        with np.load(BytesIO(bundle.file(HOME_CELLS).read()), allow_pickle=False) as arrays:
            names = [entry.name for entry in bundle.classes]
            features, labels = arrays["features"].astype(np.float32), arrays["labels"].astype(np.intp)
            measured = all(name in arrays for name in PictureMeasures._fields)
            measures = PictureMeasures(*(arrays[name] for name in PictureMeasures._fields)) if measured else None
            found = HomeCells(features, labels, names, measures)
            _check(found, bundle)
            return found
    except (ValueError, KeyError, EOFError, BadZipFile) as error:
        file = bundle.directory / HOME_CELLS
        raise BundleError(f"{file} is malformed ({error}): calibrate the bundle again") from None


def _check(home: HomeCells, bundle: Bundle) -> None:
    """Make sure that the cells go with the bundle; else ValueError."""
    if home.features.ndim != 2 or home.labels.shape != home.features.shape[:1]:
        raise ValueError(f"features {home.features.shape}, labels {home.labels.shape}")
    if not np.isin(home.labels, np.arange(len(home.names))).all():
        raise ValueError("a label that is none of the bundle's classes")
    width = home.features.shape[1] if bundle.calibration is None else bundle.calibration.features.means.shape[1]
    if home.features.shape[1] != width:
        raise ValueError(f"{home.features.shape[1]} features of each cell, and the calibration has {width}")


def fit_adapted_head(features: Floats, labels: Indices, usual: Gaussians, home: HomeCells) -> Head:
    """Fit a head for K classes, each of which counts alike.

    Args:
        features: Of V views of each of the laboratory's cells, (N, V, D).
        labels: Their class indices, 0 to K − 1; each class has a cell, (N,).
        usual: Of home, for the spread of each feature.
        home: Cells of home of these classes; also none.
    """
    count = int(labels.max()) + 1
    variance = usual.variances
    spread = np.sqrt(variance + STEADY * variance.mean())
    views = features.shape[1]
    features, labels = features.reshape(-1, features.shape[2]), np.repeat(labels, views)
    middle = _mean_of_means(features, labels)
    rows, targets, weights = [(features - middle) / spread], [labels], [_alike(labels) / views]
    if len(home.labels):
        rows.append((home.features - _mean_of_means(home.features, home.labels)) / spread)
        targets.append(home.labels)
        weights.append(np.full(len(home.labels), HOME_WEIGHT))
    fitted = Ridge(PENALTY * features.shape[1]).fit(
        np.concatenate(rows), np.eye(count)[np.concatenate(targets)], np.concatenate(weights)
    )
    head = Head(fitted.coef_, fitted.intercept_).after(1 / spread, -middle / spread)
    return _with_evidence_for_both(head) if count == 2 else head


def _with_evidence_for_both(head: Head) -> Head:
    """The same head of two classes, with a heat map for either.

    Regression makes the weights of one the negative of the other's, and as features are positive, one of the maps is
    below zero everywhere. The same weights added to both change no probability: with those that make the smaller of
    each pair zero, each class shows the places of the features that speak for it.
    """
    return Head(head.weight - head.weight.min(0), head.bias)


def _mean_of_means(features: Floats, labels: Indices) -> Floats:
    return np.mean([features[labels == label].mean(0) for label in np.unique(labels)], 0)


def _alike(labels: Indices) -> Floats:
    """Weights with which each class counts alike, 1 on average."""
    counts = np.bincount(labels)
    return len(labels) / (np.count_nonzero(counts) * counts[labels])
