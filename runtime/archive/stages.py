"""What runs on the machines of a cluster: listing, reading and decoding as tasks, the model as a pool of actors.

What passes between them is one column of bytes, pickled: crops at the size of the graph's input, then rows.
"""

import hashlib
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow
from ray._private.worker import global_worker

from ..bundle.bundle import load_bundle
from ..errors import BundleError, CartclsError, SlideError
from ..images.adjust import Adjustment
from ..images.discover import needs_encoding, readable_name
from ..images.reading import Reading
from ..inference.classifier import Classifier, in_order
from ..inference.predictions import Prediction
from ..ledger.records import Cell
from ..slides.pipeline import make_cell
from .places import File, Slide, folder_of

COLUMN = "pickled"
CHUNK = 32  # crops that pass at once: whole batches of every backend, so that they are those of `batch`
THREADS, AHEAD = 2, 8  # of one task that reads
REMOTE_THREADS = 16  # a store answers late
TASK = 64 * CHUNK  # files of a slide that one task reads; each lists the slide again
MAX_TRIES = 5  # of a task whose process or machine ended: what does so each time costs its slide, and no other
MODEL_TRIES = 50  # of a chunk for the model: Ray also counts when it found no process, as after the loss of a machine
ENDED = "its process ended {tries} times: `cartcls batch` finds the file that does so"


@dataclass(frozen=True)
class Job:
    """What is the same for all slides.

    Attributes:
        bundle: Folder of the bundle, on every machine.
        sha256: Its digest.
        backend: Name of the backend.
        version: Of cartcls.
        features: Whether rows have features.
        width: Width of the graph's input in pixels.
        height: Height likewise.
        adjustment: How pictures are changed for the model.
    """

    bundle: Path
    sha256: str
    backend: str
    version: str
    features: bool
    width: int
    height: int
    adjustment: Adjustment | None


@dataclass(frozen=True)
class Listing:
    """A slide's files.

    Attributes:
        images: How many.
        digest: Of names, sizes and times.
    """

    images: int
    digest: str


@dataclass(frozen=True)
class Task:
    """Files of a slide that are to be classified.

    Attributes:
        number: Number of the slide in this run.
        slide: The slide.
        listing: As it was listed first.
        first: Place of the first file, from 0.
    """

    number: int
    slide: Slide
    listing: Listing
    first: int = 0


@dataclass(frozen=True)
class _Chunk:
    """Some files of a slide, read."""

    task: int
    first: int
    files: Sequence[File]
    readings: Sequence[Reading]
    error: CartclsError | None = None


@dataclass(frozen=True)
class Answer:
    """Rows of some files of a slide.

    Attributes:
        task: Number of the slide in this run.
        cells: Rows, numbered in path order; none is marked as a duplicate yet.
        features: Of each row, float32, (D,), None without a label; None where they are not asked for.
        unsettled: How many files could not be read, or are not as they were listed.
        made_by: Backend, precision and device.
        error: Why there are none.
        of_all: Whether that error is one of every slide.
    """

    task: int
    cells: Sequence[Cell] = ()
    features: Sequence[npt.NDArray[np.float32] | None] | None = None
    unsettled: int = 0
    made_by: tuple[str, str, str] = ("", "", "")
    error: CartclsError | None = None
    of_all: bool = False


def packed(item: object) -> pyarrow.Table:
    """A table with one row, which holds an object."""
    return pyarrow.table({COLUMN: pyarrow.array([pickle.dumps(item, 5)], pyarrow.large_binary())})


def unpacked(table: pyarrow.Table) -> Iterator[object]:
    """The objects in the rows of a table."""
    for row in table[COLUMN]:
        yield pickle.loads(row.as_buffer())


def list_slides(slides: Sequence[Slide]) -> list[Listing | SlideError]:
    """List slides; of those that cannot be listed, say why."""
    with ThreadPoolExecutor(REMOTE_THREADS if any(slide.uri for slide in slides) else 1) as pool:
        return list(pool.map(_list, slides))


def read_slides(table: pyarrow.Table, job: Job) -> Iterator[pyarrow.Table]:
    """Read and decode the files of slides, chunk by chunk."""
    cv2.setNumThreads(1)
    for task in unpacked(table):
        assert isinstance(task, Task)
        try:
            _check_tries(MAX_TRIES)
            yield from map(packed, _read(task, job))
        except CartclsError as error:
            yield packed(_Chunk(task.number, 0, (), (), error))


class Model:
    """A loaded bundle: an actor. What keeps it from working is in its answers."""

    def __init__(self, job: Job):
        self._job = job
        self._classifier: Classifier | None = None
        self._error: CartclsError | None = None
        try:
            self._classifier = _open(job)
        except CartclsError as error:
            self._error = error

    def __call__(self, table: pyarrow.Table) -> Iterator[pyarrow.Table]:
        """Classify chunks of crops."""
        for chunk in unpacked(table):
            assert isinstance(chunk, _Chunk)
            yield packed(self._answer(chunk))

    def _answer(self, chunk: _Chunk) -> Answer:
        if chunk.error or self._classifier is None:
            return Answer(chunk.task, error=chunk.error or self._error, of_all=not chunk.error)
        try:
            _check_tries(MODEL_TRIES)
        except SlideError as error:
            return Answer(chunk.task, error=error)
        read = [(file.name, reading, None, None) for file, reading in zip(chunk.files, chunk.readings, strict=True)]
        try:
            predictions = [found for batch in self._classifier.predict_read(read) for found in batch]
        except CartclsError as error:
            return Answer(chunk.task, error=error, of_all=True)
        backend = self._classifier.backend
        return Answer(
            chunk.task,
            [
                _row(found, file.name, seq)
                for seq, (found, file) in enumerate(zip(predictions, chunk.files, strict=True), chunk.first + 1)
            ],
            [found.features if found.label else None for found in predictions] if self._job.features else None,
            sum(map(_is_unsettled, chunk.files, chunk.readings)),
            (backend.name, backend.precision, backend.device),
        )


def _list(slide: Slide) -> Listing | SlideError:
    try:
        return _listing(folder_of(slide).files())
    except SlideError as error:
        return error


def _listing(files: Sequence[File]) -> Listing:
    digest = hashlib.sha256()
    for file in files:
        digest.update(b"%b\0%d %d\n" % file)
    return Listing(len(files), digest.hexdigest())


def _read(task: Task, job: Job) -> Iterator[_Chunk]:
    folder = folder_of(task.slide)
    files = folder.files()
    if _listing(files) != task.listing:
        raise SlideError(f"{task.slide.source} changed since it was listed")

    part = files[task.first : task.first + TASK]

    def read(file: File) -> Reading:
        return replace(folder.read(file, job.width, job.height, job.adjustment), small=None)

    pool = ThreadPoolExecutor(REMOTE_THREADS if task.slide.uri else THREADS)
    try:
        waiting = in_order(pool, read, part, 2 * REMOTE_THREADS if task.slide.uri else AHEAD)
        for first in range(0, len(part), CHUNK):
            chunk = part[first : first + CHUNK]
            readings = [next(waiting) for _ in chunk]
            if task.slide.uri and all(map(_is_unread, chunk, readings)):  # each next one would be waited for as long
                raise SlideError(f"{task.slide.source}: {readable_name(chunk[0].name)} {readings[0].error}")
            yield _Chunk(task.number, task.first + first, chunk, readings)
    finally:
        pool.shutdown(cancel_futures=True)


def _check_tries(most: int) -> None:
    """Give up what ended its process each time."""
    tries = global_worker.core_worker.get_current_task_attempt_number()  # pyright: ignore[reportAttributeAccessIssue]
    if tries >= most:
        raise SlideError(ENDED.format(tries=tries))


def _open(job: Job) -> Classifier:
    if version("cartcls") != job.version:
        raise BundleError(f"a machine has cartcls {version('cartcls')}, not {job.version}: install the same on each")
    bundle = load_bundle(job.bundle)
    if bundle.sha256 != job.sha256:
        raise BundleError(f"{job.bundle} is another bundle on one of the machines: put the same on each")
    return Classifier(bundle, job.backend)


def _row(prediction: Prediction, name: bytes, seq: int) -> Cell:
    plain = replace(prediction, cams=None)
    return replace(make_cell(plain, seq, readable_name(name), None, needs_encoding(name)), thumbnail=None)


def _is_unsettled(file: File, reading: Reading) -> bool:
    """Whether a file may be another one, or readable, next time; damaged bytes stay damaged."""
    return _is_unread(file, reading) or not file.is_as(reading.fingerprint)


def _is_unread(file: File, reading: Reading) -> bool:
    """Whether there is a file whose bytes could not be read."""
    return reading.incomplete and reading.sha256 is None and file.size != 0
