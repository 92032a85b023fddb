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
from ..errors import BundleError
from ..fields.reading import Crops, FieldReading, FieldSearch, Part, View, read_field, read_part
from ..images.levels import FULL_RANGE, Levels
from ..images.reading import Reading, Source, read_cell
from .backend import Backend, Outputs
from .choose import open_backend
from .predictions import Prediction, interpret

Read = tuple[Source, Reading, Part | None, View | None]
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
        fields: How cells are searched in files that are whole fields; None where each file is one cell.
    """

    def __init__(
        self,
        bundle: Bundle | Path | str | None = None,
        backend: Backend | str = "auto",
        levels: Levels = FULL_RANGE,
        fields: FieldSearch | None = None,
    ):
        """Load a bundle.

        Args:
            bundle: The bundle or its folder; the one that ships with cartcls where none is named.
            backend: What runs its graph, or the name of it: `auto`, `tensorrt`, `cuda` or `openvino`.
            levels: Values that are black and white in images of 16 bits per channel.
            fields: How cells are searched in files that are whole fields; None where each file is one cell.

        Raises:
            BundleError: A file of the bundle is missing, altered or malformed; or it does not say how large a red cell
                is in its training cells, which fields need.
            BackendError: The backend is unknown, not installed, or cannot load the graph.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else load_bundle(Path(bundle or SHIPPED))
        self.levels, self.fields = levels, fields
        self._crops = crops_of(self.bundle) if fields else None
        self.backend = open_backend(self.bundle, backend) if isinstance(backend, str) else backend

    def __enter__(self) -> "Classifier":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def for_files(self, levels: Levels, fields: FieldSearch | None) -> "Classifier":
        """The same bundle on the same backend, for other files; only one of the two is closed."""
        return Classifier(self.bundle, self.backend, levels, fields)

    def close(self) -> None:
        """Close the backend."""
        self.backend.close()

    def predict(self, images: Iterable[Source]) -> Iterator[Prediction]:
        """Classify images: paths of files, or pixels, RGB, uint8, (H, W, 3).

        Yields:
            A prediction for each cell, in order, while others are being read; what cannot be read is `rejected`, with
            the reason. Of a field with no cell, there is one that says so.

        Raises:
            BackendError: The backend failed.
        """
        with closing(self.predict_batches(images)) as batches:
            for batch in batches:
                yield from batch

    def predict_batches(self, images: Iterable[Source]) -> Generator[list[Prediction]]:
        """The same, batch by batch; images are taken from the iterable as needed, in the caller's thread."""
        cv2.setNumThreads(1)  # the workers run in parallel instead
        pool = ThreadPoolExecutor(WORKERS)
        try:
            with closing(self.predict_read(self._read_all(pool, images))) as batches:
                yield from batches
        finally:
            pool.shutdown(cancel_futures=True)

    def predict_read(self, readings: Iterable[Read]) -> Generator[list[Prediction]]:
        """The same of images that were read, wherever that was."""
        # The model computes while the caller works with the previous batch.
        batches_at_once = self.backend.batches_at_once
        model = ThreadPoolExecutor(batches_at_once)
        computing: deque[tuple[list[Read], Future[Outputs | None]]] = deque()
        try:
            left = iter(readings)
            while batch := list(islice(left, self.backend.batch_size)):
                computing.append((batch, model.submit(self._infer, [reading for _, reading, _, _ in batch])))
                if len(computing) > batches_at_once:
                    yield self._interpreted(*computing.popleft())
            for last in computing:
                yield self._interpreted(*last)
        finally:
            model.shutdown(cancel_futures=True)

    def read(self, source: Source) -> Reading:
        """Read one file with one cell, as the model takes it."""
        return read_cell(source, self.bundle.width, self.bundle.height, self.bundle.adjustment, self.levels)

    @property
    def _ahead(self) -> int:
        return BATCHES_AHEAD * self.backend.batch_size

    def _read_all(self, pool: ThreadPoolExecutor, images: Iterable[Source]) -> Iterator[Read]:
        """Read files, in order; each cell of a field is read by itself, so that few of its crops are held at once."""
        if self.fields is None:
            return in_order(pool, lambda source: (source, self.read(source), None, None), images, self._ahead)
        found = in_order(pool, self._find, images, WORKERS)
        parts = ((source, field, number) for source, field in found for number in field.numbers)
        return in_order(pool, lambda part: self._cut(*part), parts, self._ahead)

    def _find(self, source: Source) -> tuple[Source, FieldReading]:
        return source, read_field(source, self.fields or FieldSearch(), self.levels)

    def _cut(self, source: Source, field: FieldReading, number: int) -> Read:
        size = self.bundle.width, self.bundle.height
        crops = self._crops or crops_of(self.bundle)
        reading, part = read_part(field, number, crops, *size, self.bundle.adjustment)
        return source, reading, part, field.view

    def _infer(self, readings: Sequence[Reading]) -> Outputs | None:
        readable = [reading.image for reading in readings if reading.image is not None]
        return self.backend.infer(np.stack(readable)) if readable else None

    def _interpreted(self, batch: Sequence[Read], outputs: Future[Outputs | None]) -> list[Prediction]:
        sources, readings, parts, views = zip(*batch, strict=True)
        places = list(zip(parts, views, strict=True))
        return list(interpret(sources, readings, outputs.result(), self.bundle, places))


def crops_of(bundle: Bundle) -> Crops:
    """The training cells of a bundle.

    Raises:
        BundleError: It does not say how large a red cell is in them.
    """
    home = bundle.home_scale
    if home is None:
        raise BundleError(
            f"{bundle.name} does not say how large a red cell is in its training cells, so no field can be cut to their"
            " scale: calibrate or adapt it on crops that show red cells"
        )
    return Crops(home.red_cell_px, home.crop_width, home.crop_height)


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
