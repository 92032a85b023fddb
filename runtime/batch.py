"""From folders of crops to reports: reading, inference and thumbnails side by side, in bounded queues.

What becomes of each image goes through the ledger, so that a run that ends anywhere goes on where it was.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from . import heatmap
from .backend import Backend
from .bundle import Bundle
from .classify import Prediction, predictions
from .decode import Fingerprint, decode, fingerprint, read_file
from .discover import find_images, readable_name, short_digest, slide_name
from .errors import ImageError, OutputError
from .files import replace_file
from .ledger import MAX_ATTEMPTS, Known, Ledger, Result, Slide
from .preprocess import Image, stretch
from .report import CSV, THUMBNAILS, Cell, Run, Status, csv_header, csv_line, write_summary
from .table import project

Item = TypeVar("Item")
Answer = TypeVar("Answer")

WORKERS = 2
BATCHES_AHEAD = 3
DISCOVERIES = 500
QUARANTINED = f"ended the program {MAX_ATTEMPTS} times, and was not opened again"


@dataclass(frozen=True)
class Reading:
    """One image, read: what inference and thumbnail need of it, or why there is nothing."""

    path: bytes
    fingerprint: Fingerprint | None
    error: str = ""
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    image: Image | None = None
    small: Image | None = None

    @property
    def name(self) -> str:
        """Its path, safe to show."""
        return readable_name(self.path)


def classify_slide(
    slide_dir: Path,
    out: Path,
    bundle: Bundle,
    backend: Backend,
    ledger: Ledger,
    progress: Callable[[int, int], None],
) -> tuple[Path, dict[str, Any]]:
    """Classify what is new of a slide, or was rejected before, and bring its report up to date.

    Whatever ends it, all that was classified until then is in the report, and the next run goes on from there.

    Args:
        slide_dir: Folder of the slide.
        out: Folder of all reports.
        bundle: Model.
        backend: The model, loaded.
        ledger: Ledger of `out`.
        progress: Called with the number of images that have a row, and of all images.

    Returns:
        Folder of the report and its summary.

    Raises:
        OutputError: The slide cannot be searched, or the report not be written.
        BackendError: The backend failed.
    """
    check_slide(slide_dir, out)
    slide = _slide(slide_dir, out, ledger)
    directory = out / slide.name
    try:
        work = _Work(
            slide, os.fsencode(slide_dir), directory, describe_run(slide_dir, bundle, backend), backend, ledger
        )
        images = work.discover(find_images(slide_dir, out))
        try:
            work.classify(images, progress)
        finally:
            summary = work.finish()
    except OSError as error:
        raise OutputError(f"{directory} cannot be written: {error.strerror or error}") from None
    return directory, summary


def check_slide(slide_dir: Path, out: Path) -> None:
    """Make sure that a slide is a folder, and not the one that reports go to.

    Raises:
        OutputError: It is not.
    """
    if not slide_dir.is_dir():
        raise OutputError(f"{slide_dir} is not a folder: name a folder of images, one for each slide")
    if slide_dir.resolve() == out.resolve():
        raise OutputError(f"{slide_dir} is also the folder for the reports: choose another --out")


def describe_run(slide_dir: Path, bundle: Bundle, backend: Backend) -> Run:
    """Note what is the same for all cells of a run that begins now."""
    return Run(
        slide=slide_name(slide_dir),
        source=readable_name(os.fsencode(slide_dir.resolve())),
        bundle=bundle,
        backend=backend.name,
        precision=backend.precision,
        device=backend.device,
        version=version("cartcls"),
        started_at=_now(),
    )


class _Work:
    """One slide under way."""

    def __init__(self, slide: Slide, root: bytes, directory: Path, run: Run, backend: Backend, ledger: Ledger):
        self.slide, self.root, self.directory = slide, root, directory
        self.run, self.backend, self.ledger = run, backend, ledger
        self.header = csv_header(run.bundle)
        (directory / THUMBNAILS).mkdir(parents=True, exist_ok=True)
        project(ledger, slide, self.header, directory / CSV)

    def discover(self, paths: Iterable[bytes]) -> list[Known]:
        """Note what is in the folder; return, in order, what is to be classified."""
        found = list(paths)
        for first in range(0, len(found), DISCOVERIES):
            self.ledger.discover(self.slide, found[first : first + DISCOVERIES])
        known = self.ledger.images(self.slide)
        there = set(found)
        self.ledger.forget(image.id for image in known.values() if image.seq is None and image.path not in there)
        again = [known[path] for path in found if self._is_to_be_done_again(known[path])]
        self.ledger.supersede(image.id for image in again)
        known = self.ledger.images(self.slide)
        return [known[path] for path in found if known[path].state == "seen"]

    def classify(self, images: Sequence[Known], progress: Callable[[int, int], None]) -> None:
        """Classify images and write down what became of them, batch by batch."""
        by_path = {image.path: image for image in images}
        count = sum(1 for image in self.ledger.images(self.slide).values() if image.state != "vanished")
        done = count - len(images)
        next_seq = self.ledger.next_seq(self.slide)

        def number(path: bytes) -> int:
            nonlocal next_seq
            if (seq := by_path[path].seq) is None:
                seq, next_seq = next_seq, next_seq + 1
            return seq

        first_of = {cell.sha256: cell.path for cell in self.ledger.cells(self.slide) if cell.status == "ok"}
        under_way: set[int] = set()

        def write_down(answers: list[tuple[Reading, Cell]]) -> None:
            nonlocal done
            results = [self._result(by_path[reading.path], reading, cell) for reading, cell in answers]
            self.ledger.report(self.slide, results)
            project(self.ledger, self.slide, self.header, self.directory / CSV)
            under_way.difference_update(result.image for result in results)
            done += len(results)
            progress(done, count)

        killers = [image for image in images if image.attempts >= MAX_ATTEMPTS]
        # What was under way when a process was killed may have killed it: those first, one by one.
        suspects = [image for image in images if 0 < image.attempts < MAX_ATTEMPTS]
        for image in killers:
            reading = Reading(image.path, fingerprint(self._file(image.path)), QUARANTINED)
            write_down([(reading, _rejected(reading, number(image.path)))])
        try:
            for group in [*([image] for image in suspects), [image for image in images if not image.attempts]]:
                paths = self._begun(group, under_way)
                batches = _classify(self.root, paths, self.directory, self.run.bundle, self.backend, number, first_of)
                with closing(batches):
                    for answers in batches:
                        write_down(answers)
        finally:
            self.ledger.postpone(under_way)  # this end was not their doing

    def finish(self) -> dict[str, Any]:
        """Write summary and page."""
        waiting = sum(image.state in ("seen", "queued", "retry") for image in self.ledger.images(self.slide).values())
        return write_summary(self.directory, self.run, list(self.ledger.cells(self.slide)), waiting)

    def _is_to_be_done_again(self, image: Known) -> bool:
        if image.state == "rejected":
            return True
        return image.state == "reported" and fingerprint(self._file(image.path)) != image.fingerprint

    def _begun(self, images: Sequence[Known], under_way: set[int]) -> Iterator[bytes]:
        for first in range(0, len(images), self.backend.batch_size):
            batch = images[first : first + self.backend.batch_size]
            under_way.update(image.id for image in batch)
            self.ledger.begin(image.id for image in batch)
            yield from (image.path for image in batch)

    def _result(self, image: Known, reading: Reading, cell: Cell) -> Result:
        state = "reported" if cell.label else "quarantined" if reading.error == QUARANTINED else "rejected"
        return Result(image.id, state, reading.fingerprint, cell, csv_line(self.run, cell))

    def _file(self, path: bytes) -> bytes:
        return os.path.join(self.root, path)


def classify_images(
    root: Path,
    paths: Sequence[bytes],
    directory: Path,
    bundle: Bundle,
    backend: Backend,
    progress: Callable[[int, int], None],
) -> list[Cell]:
    """Classify images and write their thumbnails, with no ledger.

    Args:
        root: Folder of the images.
        paths: Images, relative to it, in the order of their numbers.
        directory: Existing folder to write `thumbnails/` into.
        bundle: Model.
        backend: The model, loaded.
        progress: Called with the number of images done and of all images.

    Raises:
        BackendError: The backend failed.
        OSError: A thumbnail cannot be written.
    """
    (directory / THUMBNAILS).mkdir()
    numbers = {path: number for number, path in enumerate(paths, 1)}
    cells: list[Cell] = []
    batches = _classify(os.fsencode(root), paths, directory, bundle, backend, numbers.__getitem__, {})
    with closing(batches):
        for answers in batches:
            cells += [cell for _, cell in answers]
            progress(len(cells), len(paths))
    return cells


def _classify(
    root: bytes,
    paths: Iterable[bytes],
    directory: Path,
    bundle: Bundle,
    backend: Backend,
    number: Callable[[bytes], int],
    first_of: dict[str | None, str],
) -> Generator[list[tuple[Reading, Cell]]]:
    """Read, classify and draw; yields batches in order, each when its thumbnails are on the disk."""

    def read(path: bytes) -> Reading:
        return _read(root, path, bundle.width, bundle.height)

    pool = ThreadPoolExecutor(WORKERS)
    drawn: deque[tuple[list[tuple[Reading, Cell]], list[Future[None]]]] = deque()
    try:
        readings = in_order(pool, read, paths, ahead=BATCHES_AHEAD * backend.batch_size)
        while batch := list(islice(readings, backend.batch_size)):
            predicted = _predict(batch, bundle, backend)
            answers, thumbnails = [], []
            for reading in batch:
                prediction = predicted.get(reading.path)
                cell = _cell(reading, number(reading.path), prediction, bundle, first_of)
                answers.append((reading, cell))
                if prediction is not None and reading.small is not None:
                    caption = f"{bundle.classes[prediction.index].title}  {prediction.confidence:.2f}"
                    color = bundle.classes[prediction.index].color
                    file = directory / str(cell.thumbnail)
                    thumbnails.append(pool.submit(_draw, file, reading.small, prediction, caption, color))
            drawn.append((answers, thumbnails))
            if len(drawn) > 1:  # the next batch is classified while this one's thumbnails are drawn
                yield _when_drawn(*drawn.popleft())
        while drawn:
            yield _when_drawn(*drawn.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _when_drawn(answers: list[tuple[Reading, Cell]], thumbnails: list[Future[None]]) -> list[tuple[Reading, Cell]]:
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


def _read(root: bytes, path: bytes, width: int, height: int) -> Reading:
    file, sha256 = os.path.join(root, path), None
    found = fingerprint(file)
    try:
        raw = read_file(file)
        found, sha256 = raw.fingerprint, raw.sha256
        image = decode(raw.data, os.path.splitext(readable_name(path))[1])
    except ImageError as error:
        return Reading(path, found, error=str(error), sha256=sha256)
    return Reading(
        path,
        found,
        sha256=sha256,
        width=image.shape[1],
        height=image.shape[0],
        image=stretch(image, width, height),
        small=heatmap.shrink(image),
    )


def _predict(batch: Sequence[Reading], bundle: Bundle, backend: Backend) -> dict[bytes, Prediction]:
    readable = [(reading.path, reading.image) for reading in batch if reading.image is not None]
    if not readable:
        return {}
    outputs = backend.infer(np.stack([image for _, image in readable]))
    return {
        path: prediction
        for (path, _), prediction in zip(readable, predictions(outputs, bundle.temperature), strict=True)
    }


def _cell(
    reading: Reading, seq: int, prediction: Prediction | None, bundle: Bundle, first_of: dict[str | None, str]
) -> Cell:
    if prediction is None or reading.sha256 is None:
        return _rejected(reading, seq)
    first = first_of.setdefault(reading.sha256, reading.name)
    status: Status = "ok" if first == reading.name else "duplicate"
    return Cell(
        seq,
        reading.name,
        status,
        "" if status == "ok" else f"same bytes as {first}",
        _now(),
        label=bundle.classes[prediction.index].name,
        probabilities=tuple(prediction.probabilities.tolist()),
        thumbnail=f"{THUMBNAILS}/{seq:06d}.jpg",
        sha256=reading.sha256,
        width=reading.width,
        height=reading.height,
    )


def _rejected(reading: Reading, seq: int) -> Cell:
    return Cell(seq, reading.name, "rejected", reading.error, _now(), sha256=reading.sha256)


def _draw(file: Path, small: Image, prediction: Prediction, caption: str, color: str) -> None:
    replace_file(file, heatmap.thumbnail(small, prediction.cam, caption, color))


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _slide(slide_dir: Path, out: Path, ledger: Ledger) -> Slide:
    """The slide in the ledger; a new one gets a folder that is nobody else's."""
    source = os.fsencode(slide_dir.resolve())
    slides = ledger.slides()
    if known := [slide for slide in slides if slide.source == source]:
        return known[0]
    name = slide_name(slide_dir)
    if name in {slide.name for slide in slides}:
        name = f"{name}-{short_digest(slide_dir)}"
    directory = out / name
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise OutputError(f"{directory} exists and is no report of this folder: move it away, or choose another --out")
    return ledger.add_slide(source, name)
