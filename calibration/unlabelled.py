"""Cells of a laboratory without a label, as its bundle sees them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..runtime.errors import DataError
from ..runtime.images.discover import find_images
from ..runtime.inference.classifier import Classifier
from .exports import check_full_range

MOST = 500  # cells: more do not change mean and spread by much


@dataclass(frozen=True, eq=False)
class UnlabelledCells:
    """N cells.

    Attributes:
        files: Their images.
        features: float32, (N, D).
        probabilities: Of the classes, (N, K).
    """

    files: list[Path]
    features: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float64]


def find_cells(directory: Path) -> list[Path]:
    """Images below a folder; of more than `MOST`, as many, from all over it.

    Raises:
        DataError: There is no such folder, or no image in it; or it is an export of slides with declared levels, and
            has pictures of 16 bits.
    """
    if not directory.is_dir():
        raise DataError(f"{directory} is no folder: name one with images of cells of many slides")
    files = [directory / os.fsdecode(path) for path in find_images(directory, None)]
    if not files:
        raise DataError(f"{directory} holds no image: name a folder with images of cells of many slides")
    check_full_range(directory, files)
    places = np.linspace(0, len(files) - 1, min(len(files), MOST))
    return [files[int(place)] for place in places]


def gather_unlabelled(
    files: list[Path], classifier: Classifier, progress: Callable[[int, int], None], notify: Callable[[str], None]
) -> UnlabelledCells:
    """Classify cells; those that cannot be read are left out.

    Args:
        files: Their images.
        classifier: The model, loaded.
        progress: Called with the number of images done and of all.
        notify: Called with a message for each that cannot be read.

    Raises:
        DataError: None can be read.
        BackendError: The backend failed.
    """
    read = []
    for done, (file, prediction) in enumerate(zip(files, classifier.predict(files), strict=True), 1):
        if prediction.label is None or not np.isfinite(prediction.features).all():
            notify(f"{file} is left out: {prediction.reading.error or 'it has no features'}")
        else:
            read.append((file, prediction))
        progress(done, len(files))
    if not read:
        raise DataError("none of the images can be read")
    return UnlabelledCells(
        [file for file, _ in read],
        np.stack([prediction.features for _, prediction in read]),
        np.stack([prediction.probabilities for _, prediction in read]),
    )
