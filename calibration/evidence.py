"""What a backend and the checks of the edge say of labelled cells."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..runtime.bundle.bundle import Bundle
from ..runtime.errors import DataError, ImageError
from ..runtime.images.decode import read_image
from ..runtime.images.quality import Quality, measure
from ..runtime.images.resize import Image, stretch
from ..runtime.inference.backend import Backend
from ..runtime.slides.pipeline import BATCHES_AHEAD, WORKERS, in_order

EXPORT_NOTE = "cartcls-export.json"


@dataclass(frozen=True)
class Evidence:
    """N labelled cells of one part.

    Attributes:
        paths: Relative to the data folder.
        labels: True class indices, (N,).
        logits: float32, (N, K).
        features: float32, (N, D).
        qualities: Of each picture.
    """

    paths: list[str]
    labels: npt.NDArray[np.intp]
    logits: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]
    qualities: list[Quality]

    @property
    def stains(self) -> npt.NDArray[np.float64]:
        """Colours of each cell, (N, 9)."""
        return np.array([quality.stain for quality in self.qualities])

    def measure(self, name: str) -> npt.NDArray[np.float64]:
        """One measure of each cell, (N,)."""
        return np.array([quality.measures[name] for quality in self.qualities])


def gather(
    data_dir: Path,
    paths: Sequence[str],
    bundle: Bundle,
    backend: Backend,
    progress: Callable[[int, int], None],
    change: Callable[[Image], Image] = lambda image: image,
) -> Evidence:
    """Run labelled cells through backend and checks, as the edge does.

    Args:
        data_dir: Folder with one folder per class.
        paths: Images, relative to it; the first folder is the true class.
        bundle: Model.
        backend: The model, loaded.
        progress: Called with the number of images done and of all.
        change: Applied to each image at the input size, before anything looks at it.

    Raises:
        DataError: An image cannot be read, or the backend gives not-a-number for it.
        BackendError: The backend failed.
    """

    def read(path: str) -> tuple[Image, Quality]:
        try:
            image, _ = read_image(data_dir / path)
        except ImageError as error:
            raise DataError(
                f"{data_dir / path} {error}: mend it, or take it out of the folder and of the split"
            ) from None
        height, width = image.shape[:2]
        image = change(stretch(image, bundle.width, bundle.height))
        return image, measure(image, width, height)

    names = [entry.name for entry in bundle.classes]
    logits, features, qualities = [], [], []
    with ThreadPoolExecutor(WORKERS) as pool:
        readings = in_order(pool, read, paths, ahead=BATCHES_AHEAD * backend.batch_size)
        while batch := list(islice(readings, backend.batch_size)):
            outputs = backend.infer(np.stack([image for image, _ in batch]))
            logits.append(outputs.logits)
            features.append(outputs.features)
            qualities += [quality for _, quality in batch]
            progress(len(qualities), len(paths))
    evidence = Evidence(
        list(paths),
        np.array([names.index(path.split("/")[0]) for path in paths], np.intp),
        np.concatenate(logits),
        np.concatenate(features),
        qualities,
    )
    wrong = ~(np.isfinite(evidence.logits).all(1) & np.isfinite(evidence.features).all(1))
    if wrong.any():
        raise DataError(f"{backend.name} gives not-a-number for {paths[int(wrong.argmax())]}: use another --backend")
    return evidence


def check_unbiased(data_dir: Path) -> None:
    """Refuse a data folder that holds only what was flagged: those cells are harder than the others.

    Raises:
        DataError: It does, or does not say.
    """
    file = data_dir / EXPORT_NOTE
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
