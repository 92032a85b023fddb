"""Reading, inference and thumbnails side by side, in bounded queues."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.review import Assessment, assess
from ..errors import ImageError, IncompleteError
from ..files import replace_file
from ..images import thumbnail as heatmap
from ..images.decode import Fingerprint, decode, fingerprint, large_ones_by_turns, read_file
from ..images.discover import readable_name
from ..images.quality import Quality, measure
from ..images.resize import Image, stretch
from ..inference.backend import Backend
from ..inference.predictions import Prediction, predictions
from ..ledger.records import THUMBNAILS, Cell, Status

Item = TypeVar("Item")
Answer = TypeVar("Answer")

WORKERS = 2
BATCHES_AHEAD = 3
NO_NUMBER = "the model gave not-a-number for it"
COMPUTED_AGAIN = "computed again on the CPU: the backend gave not-a-number"


@dataclass(frozen=True)
class Reading:
    """One image, read: what inference and thumbnail need of it, or why there is nothing.

    Attributes:
        path: Bytes, relative to the slide.
        fingerprint: Of the bytes that were read, or of what is there; None where nothing is.
        error: Why it cannot be classified; empty otherwise.
        incomplete: Whether it may be whole later.
        sha256: Digest of the bytes.
        width: Width in pixels.
        height: Height in pixels.
        image: At the size of the graph's input, RGB, uint8.
        small: At the size of a thumbnail, RGB, uint8.
        quality: What was measured of it, where the bundle is calibrated.
    """

    path: bytes
    fingerprint: Fingerprint | None
    error: str = ""
    incomplete: bool = False
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    image: Image | None = None
    small: Image | None = None
    quality: Quality | None = None

    @property
    def name(self) -> str:
        """Its path, safe to show."""
        return readable_name(self.path)


Answered = tuple[Reading, Cell | None]


def classify_files(
    root: bytes,
    paths: Iterable[bytes],
    directory: Path,
    bundle: Bundle,
    backend: Backend,
    number: Callable[[bytes], int],
    first_of: dict[str | None, str],
    patient: bool = False,
) -> Generator[list[Answered]]:
    """Read, classify and draw.

    Args:
        root: Folder of the images.
        paths: Images, relative to it; drawn from as they are needed, in the caller's thread.
        directory: Folder of the report, with `thumbnails/`.
        bundle: Model.
        backend: The model, loaded.
        number: Gives each image the number of its row; asked in order, and only for what makes a row.
        first_of: Path of the first image with each digest; added to.
        patient: Whether what is not whole makes no row, for it may be whole later.

    Yields:
        What was read and the row that it makes, if any, batch by batch, when their thumbnails are on the disk.

    Raises:
        BackendError: The backend failed.
        OSError: A thumbnail cannot be written.
    """

    def read(path: bytes) -> Reading:
        return _read(root, path, bundle)

    def draw(batch: list[Reading], predicted: dict[bytes, Prediction]) -> tuple[list[Answered], list[Future[None]]]:
        answers, thumbnails = [], []
        for reading in batch:
            if patient and reading.incomplete:
                answers.append((reading, None))
                continue
            prediction = predicted.get(reading.path)
            cell = _cell(reading, number(reading.path), prediction, bundle, first_of)
            answers.append((reading, cell))
            if prediction is not None and reading.small is not None:
                entry, file = bundle.classes[prediction.index], directory / str(cell.thumbnail)
                caption = f"{entry.title}  {prediction.confidence:.2f}"
                thumbnails.append(pool.submit(_draw, file, reading.small, prediction, caption, entry.color))
        return answers, thumbnails

    # The model computes while the batch before it is drawn, and the one before that is written down by the caller.
    cv2.setNumThreads(1)  # the workers are its threads
    pool, model = ThreadPoolExecutor(WORKERS), ThreadPoolExecutor(1)
    computing: deque[tuple[list[Reading], Future[dict[bytes, Prediction]]]] = deque()
    drawn: deque[tuple[list[Answered], list[Future[None]]]] = deque()
    try:
        readings = in_order(pool, read, paths, ahead=BATCHES_AHEAD * backend.batch_size)
        while batch := list(islice(readings, backend.batch_size)):
            computing.append((batch, model.submit(_predict, batch, bundle, backend)))
            if len(computing) > 1:
                before, predicted = computing.popleft()
                drawn.append(draw(before, predicted.result()))
            if len(drawn) > 1:
                yield _when_drawn(*drawn.popleft())
        for last, predicted in computing:
            drawn.append(draw(last, predicted.result()))
        for answers, thumbnails in drawn:
            yield _when_drawn(answers, thumbnails)
    finally:
        model.shutdown(cancel_futures=True)
        pool.shutdown(cancel_futures=True)


def _when_drawn(answers: list[Answered], thumbnails: list[Future[None]]) -> list[Answered]:
    for thumbnail in thumbnails:
        thumbnail.result()
    return answers


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


def _read(root: bytes, path: bytes, bundle: Bundle) -> Reading:
    file, sha256 = os.path.join(root, path), None
    found = fingerprint(file)
    try:
        raw = read_file(file)
        found, sha256 = raw.fingerprint, raw.sha256
        with large_ones_by_turns(raw.data):
            image = decode(raw.data, os.path.splitext(readable_name(path))[1])
            height, width = image.shape[:2]
            stretched, small = stretch(image, bundle.width, bundle.height), heatmap.shrink(image)
            del image
    except ImageError as error:
        return Reading(path, found, str(error), isinstance(error, IncompleteError), sha256)
    return Reading(
        path,
        found,
        sha256=sha256,
        width=width,
        height=height,
        image=stretched,
        small=small,
        quality=measure(stretched, width, height) if bundle.calibration else None,
    )


def _predict(batch: Sequence[Reading], bundle: Bundle, backend: Backend) -> dict[bytes, Prediction]:
    readable = [(reading.path, reading.image) for reading in batch if reading.image is not None]
    if not readable:
        return {}
    outputs = backend.infer(np.stack([image for _, image in readable]))
    return {
        path: prediction
        for (path, _), prediction in zip(readable, predictions(outputs, bundle.temperature), strict=True)
        if prediction is not None
    }


def _cell(
    reading: Reading, seq: int, prediction: Prediction | None, bundle: Bundle, first_of: dict[str | None, str]
) -> Cell:
    if prediction is None or reading.sha256 is None:
        return rejected(reading if reading.error else replace(reading, error=NO_NUMBER), seq)
    first = first_of.setdefault(reading.sha256, reading.name)
    assessment = _assess(reading, prediction, bundle)
    doubts = [COMPUTED_AGAIN] * prediction.again + (assessment.doubts if assessment else [])
    status: Status = "review" if doubts else "ok"
    reason = "; ".join(doubts)
    if first != reading.name:
        status, reason = "duplicate", f"same bytes as {first}"
    return Cell(
        seq,
        reading.name,
        status,
        reason,
        now(),
        label=bundle.classes[prediction.index].name,
        probabilities=tuple(prediction.probabilities.tolist()),
        thumbnail=f"{THUMBNAILS}/{seq:06d}.jpg",
        sha256=reading.sha256,
        width=reading.width,
        height=reading.height,
        maps=b"" if prediction.cams is None else heatmap.pack(prediction.cams),
        distance=assessment.distance if assessment else None,
        stain=assessment.stain if assessment else None,
    )


def _assess(reading: Reading, prediction: Prediction, bundle: Bundle) -> Assessment | None:
    if bundle.calibration is None or reading.quality is None:
        return None
    return assess(bundle.calibration, prediction.confidence, prediction.features, reading.quality)


def rejected(reading: Reading, seq: int) -> Cell:
    """Row of an image that has no label."""
    return Cell(seq, reading.name, "rejected", reading.error, now(), sha256=reading.sha256)


def _draw(file: Path, small: Image, prediction: Prediction, caption: str, color: str) -> None:
    replace_file(file, heatmap.thumbnail(small, prediction.cam, caption, color))


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
