"""Features of labelled cells as they are, turned and mirrored (the six-fold augmentation of Table 3)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..runtime.bundle.bundle import MODEL
from ..runtime.compiled_store import graph_store
from ..runtime.errors import ImageError
from ..runtime.images.decode import read_image
from ..runtime.images.quality import Quality
from ..runtime.images.reading import Source
from ..runtime.images.resize import Image
from ..runtime.inference.classifier import Classifier
from ..runtime.inference.openvino_backend import F32, OpenVINOBackend, recomputes, unsure
from .evidence import quality_of
from .head import Head

VIEWS = 6


@dataclass(frozen=True, eq=False)
class Views:
    """What a backend says of N cells.

    Attributes:
        turned: Features of V views of each, the first one as the edge sees it, float32, (N, V, D).
        qualities: Of each picture.
        exact: Features of each in float32, where the backend computes unsure cells again so; else those of the first
            view, float32, (N, D).
    """

    turned: npt.NDArray[np.float32]
    qualities: list[Quality]
    exact: npt.NDArray[np.float32]

    @property
    def features(self) -> npt.NDArray[np.float32]:
        """As the edge sees them, (N, D)."""
        return self.turned[:, 0]

    def of(self, chosen: npt.NDArray[np.intp]) -> "Views":
        """Of some of the cells."""
        return Views(self.turned[chosen], [self.qualities[place] for place in chosen], self.exact[chosen])

    def answers(
        self, head: Head, chosen: npt.NDArray[np.intp]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Logits and features of some cells as the edge gives them with a head: anew in float32 where it is unsure.

        Args:
            head: Of K classes.
            chosen: Places of M cells, (M,).

        Returns:
            Logits, (M, K), and features, (M, D).
        """
        features = self.features[chosen]
        again = unsure(head.logits(features).astype(np.float32))
        features = np.where(again[:, None], self.exact[chosen], features)
        return head.logits(features).astype(np.float32), features


def gather_views(files: Sequence[Path], classifier: Classifier, progress: Callable[[int, int], None]) -> Views:
    """Run labelled cells through backend and checks, each as it is, turned and mirrored.

    Args:
        files: Their images.
        classifier: The model, loaded. Where its backend computes unsure cells again in float32, so is each cell once:
            which ones another head is unsure of is not known yet.
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
    views = np.stack(turned)
    return Views(views, qualities, _exact(files, classifier) if recomputes(classifier.backend) else views[:, 0])


def _exact(files: Sequence[Path], classifier: Classifier) -> npt.NDArray[np.float32]:
    backend = OpenVINOBackend(classifier.bundle.file(MODEL), F32, store=graph_store())
    with Classifier(classifier.bundle, backend, classifier.levels) as again:
        return np.stack([prediction.features for prediction in again.predict(files)])


def _views_of(files: Sequence[Path]) -> Iterator[Source]:
    """Each file, and its pixels turned by 90°, 180° and 270°, and mirrored both ways; what cannot be read, once."""
    for file in files:
        yield file
        with suppress(ImageError):  # the file's own prediction says why
            yield from (np.ascontiguousarray(view) for view in _turned(read_image(file)[0]))


def _turned(image: Image) -> Iterator[Image]:
    yield from (np.rot90(image, turns) for turns in (1, 2, 3))
    yield from (image[:, ::-1], image[::-1])
