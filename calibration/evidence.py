"""What a backend and the checks of the edge say of labelled cells."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..runtime.errors import DataError
from ..runtime.images.quality import Quality
from ..runtime.inference.classifier import Classifier
from ..runtime.inference.predictions import NO_NUMBER, Prediction
from ..runtime.reports.export_reviewed import EXPORT
from .classes import classes_of_folders


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
    class_of = classes_of_folders((path.split("/")[0] for path in paths), classifier.bundle)
    logits, features, qualities = [], [], []
    for prediction in classifier.predict(data_dir / path for path in paths):
        qualities.append(quality_of(prediction, classifier))
        logits.append(prediction.logits)
        features.append(prediction.features)
        progress(len(qualities), len(paths))
    labels = np.array([names.index(class_of[path.split("/")[0]]) for path in paths], np.intp)
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
        mend = "mend it, or take it out of the folder and of the split"
        raise DataError(f"{prediction.source} {reading.error or f'cannot be trusted: {reading.doubt}'}: {mend}")
    return reading.quality


def check_unbiased(data_dir: Path) -> None:
    """Refuse a data folder that holds only what was flagged: those cells are harder than the others.

    Raises:
        DataError: It does, or does not say.
    """
    file = data_dir / EXPORT
    if not file.exists():
        return
    try:
        reviewed = json.loads(file.read_text(encoding="utf-8"))["reviewed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} cannot be read ({error}): export the corrections again") from None
    if reviewed != "all":
        raise DataError(
            f"{data_dir} holds corrections of {reviewed} cells only: a threshold made on them would be biased. Look at"
            " every cell of some slides, export them, and calibrate on those"
        )
