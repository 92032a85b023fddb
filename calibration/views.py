"""Features of labelled cells as they are, turned and mirrored (the six-fold augmentation of Table 3)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..runtime.errors import ImageError
from ..runtime.images.decode import read_image
from ..runtime.images.quality import Quality
from ..runtime.images.reading import Source
from ..runtime.images.resize import Image
from ..runtime.inference.classifier import Classifier
from .evidence import quality_of

VIEWS = 6


@dataclass(frozen=True, eq=False)
class Views:
    """What a backend says of N cells.

    Attributes:
        turned: Features of V views of each, the first one as the edge sees it, float32, (N, V, D).
        qualities: Of each picture.
    """

    turned: npt.NDArray[np.float32]
    qualities: list[Quality]

    @property
    def features(self) -> npt.NDArray[np.float32]:
        """As the edge sees them, (N, D)."""
        return self.turned[:, 0]


def gather_views(files: Sequence[Path], classifier: Classifier, progress: Callable[[int, int], None]) -> Views:
    """Run labelled cells through backend and checks, each as it is, turned and mirrored.

    Args:
        files: Their images.
        classifier: The model, loaded.
        progress: Called with the number of cells done and of all.

    Raises:
        DataError: An image cannot be read, its colours may be wrong, or the backend gives not-a-number for it.
        BackendError: The backend failed.
    """
    turned, qualities = [], []
    found: list[npt.NDArray[np.float32]] = []
    for prediction in classifier.predict(_views_of(files)):
        quality = quality_of(prediction, classifier)
        if not found:
            qualities.append(quality)
        found.append(prediction.features)
        if len(found) == VIEWS:
            turned.append(np.stack(found))
            found.clear()
            progress(len(turned), len(files))
    return Views(np.stack(turned), qualities)


def _views_of(files: Sequence[Path]) -> Iterator[Source]:
    """Each file, and its pixels turned by 90°, 180° and 270°, and mirrored both ways; what cannot be read, once."""
    for file in files:
        yield file
        with suppress(ImageError):  # the file's own prediction says why
            yield from (np.ascontiguousarray(view) for view in _turned(read_image(file)[0]))


def _turned(image: Image) -> Iterator[Image]:
    yield from (np.rot90(image, turns) for turns in (1, 2, 3))
    yield from (image[:, ::-1], image[::-1])
