"""What a backend and the checks of the edge say of labelled cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..runtime.errors import DataError
from ..runtime.images.quality import Quality
from ..runtime.inference.classifier import Classifier
from ..runtime.inference.predictions import NO_NUMBER, Prediction
from .classes import classes_of_folders
from .split import class_of


@dataclass(frozen=True)
class Evidence:
    """N labelled cells of one part.

    Attributes:
        labels: True class indices, (N,).
        logits: float32, (N, K).
        features: float32, (N, D).
        qualities: Of each picture.
    """

    labels: npt.NDArray[np.intp]
    logits: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]
    qualities: list[Quality]

    @property
    def stains(self) -> npt.NDArray[np.float64]:
        """Colours of each cell, (N, 9)."""
        return np.array([quality.stain for quality in self.qualities])

    def of(self, chosen: npt.NDArray[np.intp]) -> "Evidence":
        """Of some of the cells."""
        qualities = [self.qualities[place] for place in chosen]
        return Evidence(self.labels[chosen], self.logits[chosen], self.features[chosen], qualities)

    def measure(self, name: str) -> npt.NDArray[np.float64]:
        """One measure of each cell, (N,)."""
        return np.array([quality.measures[name] for quality in self.qualities])


def gather(
    data_dir: Path, paths: Sequence[str], classifier: Classifier, progress: Callable[[int, int], None]
) -> Evidence:
    """Run labelled cells through backend and checks, as the edge does.

    Args:
        data_dir: Folder with one folder per class.
        paths: Images, relative to it; the first folder is the true class, by its name or title.
        classifier: The model, loaded.
        progress: Called with the number of images done and of all.

    Raises:
        DataError: An image cannot be read, its colours may be wrong, or the backend gives not-a-number for it.
        BackendError: The backend failed.
    """
    names = [entry.name for entry in classifier.bundle.classes]
    name_of = classes_of_folders(map(class_of, paths), classifier.bundle)
    logits, features, qualities = [], [], []
    for prediction in classifier.predict(data_dir / path for path in paths):
        qualities.append(quality_of(prediction, classifier))
        logits.append(prediction.logits)
        features.append(prediction.features)
        progress(len(qualities), len(paths))
    labels = np.array([names.index(name_of[class_of(path)]) for path in paths], np.intp)
    return Evidence(labels, np.stack(logits), np.stack(features), qualities)


def quality_of(prediction: Prediction, classifier: Classifier) -> Quality:
    """Quality of a labelled picture, which must have been read and classified.

    Raises:
        DataError: It cannot be read, its colours may be wrong, or the backend gives not-a-number for it.
    """
    reading = prediction.reading
    if reading.error == NO_NUMBER or not np.isfinite(prediction.features).all():
        name = classifier.backend.name
        raise DataError(f"{name} gives not-a-number for {prediction.source}: use another --backend")
    if reading.quality is None or reading.doubt:
        mend = "mend it, or take it out of the folder (and of the split, if there is one)"
        raise DataError(f"{prediction.source} {reading.error or f'cannot be trusted: {reading.doubt}'}: {mend}")
    return reading.quality
