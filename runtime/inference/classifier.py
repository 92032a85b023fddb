"""From images to predictions: used by everything that classifies cells."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import cv2
import numpy as np

from ..bundle.bundle import SHIPPED, Bundle, load_bundle
from ..images.levels import FULL_RANGE, Levels
from ..images.reading import Reading, Source, read_cell
from .backend import Backend, Outputs
from .choose import open_backend
from .predictions import Prediction, interpret

Item = TypeVar("Item")
Answer = TypeVar("Answer")

WORKERS = 2
BATCHES_AHEAD = 3


class Classifier:
    """A loaded bundle.

        with Classifier() as classifier:
            for prediction in classifier.predict(["cell-1.jpg", "cell-2.jpg"]):
                print(prediction.label, prediction.confidence, prediction.status, prediction.reasons)

    Attributes:
        bundle: The bundle.
        backend: What runs the bundle's graph.
        levels: Values of 16 bits that are black and white.
    """

    def __init__(
        self,
        bundle: Bundle | Path | str | None = None,
        backend: Backend | str = "auto",
        levels: Levels = FULL_RANGE,
    ):
        """Load a bundle.

        Args:
            bundle: The bundle or its folder; the one that ships with cartcls where none is named.
            backend: What runs its graph, or the name of it: `auto`, `tensorrt`, `cuda` or `openvino`.
            levels: Values that are black and white in images of 16 bits per channel.

        Raises:
            BundleError: A file of the bundle is missing, altered or malformed.
            BackendError: The backend is unknown, not installed, or cannot load the graph.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else load_bundle(Path(bundle or SHIPPED))
        self.levels = levels
        self.backend = open_backend(self.bundle, backend) if isinstance(backend, str) else backend

    def __enter__(self) -> "Classifier":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def with_levels(self, levels: Levels) -> "Classifier":
        """The same bundle on the same backend, for files with other levels; only one of the two is closed."""
        return Classifier(self.bundle, self.backend, levels)

    def close(self) -> None:
        """Close the backend."""
        self.backend.close()

    def predict(self, images: Iterable[Source]) -> Iterator[Prediction]:
        """Classify images: paths of files with one cell each, or pixels, RGB, uint8, (H, W, 3).

        Yields:
            A prediction for each, in order, while others are being read; what cannot be read is `rejected`, with the
            reason.

        Raises:
            BackendError: The backend failed.
        """
        with closing(self.predict_batches(images)) as batches:
            for batch in batches:
                yield from batch

    def predict_batches(self, images: Iterable[Source]) -> Generator[list[Prediction]]:
        """The same, batch by batch; images are taken from the iterable as needed, in the caller's thread."""
        # The model computes while the caller works with the previous batch.
        cv2.setNumThreads(1)  # the workers run in parallel instead
        pool, model = ThreadPoolExecutor(WORKERS), ThreadPoolExecutor(1)
        computing: deque[tuple[list[tuple[Source, Reading]], Future[Outputs | None]]] = deque()
        try:
            readings = in_order(pool, lambda source: (source, self.read(source)), images, self._ahead)
            while batch := list(islice(readings, self.backend.batch_size)):
                computing.append((batch, model.submit(self._infer, [reading for _, reading in batch])))
                if len(computing) > 1:
                    yield self._interpreted(*computing.popleft())
            for last in computing:
                yield self._interpreted(*last)
        finally:
            model.shutdown(cancel_futures=True)
            pool.shutdown(cancel_futures=True)

    def read(self, source: Source) -> Reading:
        """Read one image as the model takes it."""
        return read_cell(source, self.bundle.width, self.bundle.height, self.bundle.adjustment, self.levels)

    @property
    def _ahead(self) -> int:
        return BATCHES_AHEAD * self.backend.batch_size

    def _infer(self, readings: Sequence[Reading]) -> Outputs | None:
        readable = [reading.image for reading in readings if reading.image is not None]
        return self.backend.infer(np.stack(readable)) if readable else None

    def _interpreted(
        self, batch: Sequence[tuple[Source, Reading]], outputs: Future[Outputs | None]
    ) -> list[Prediction]:
        sources, readings = zip(*batch, strict=True)
        return list(interpret(sources, readings, outputs.result(), self.bundle))


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[Item], Answer], items: Iterable[Item], ahead: int
) -> Iterator[Answer]:
    """Map over items in a pool's threads, in order, with at most `ahead` results waiting."""
    waiting: deque[Future[Answer]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
