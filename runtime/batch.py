"""From a folder of crops to a report: reading, inference and thumbnails side by side, in bounded queues."""

import json
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
from .decode import decode, read_file
from .discover import find_images, readable_name, short_digest, slide_name
from .errors import ImageError, OutputError
from .files import whole_folder
from .preprocess import Image, stretch
from .report import SUMMARY, THUMBNAILS, Cell, Run, Status, write_report

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = 2
BATCHES_AHEAD = 3


@dataclass(frozen=True)
class Reading:
    """One image, read: what inference and thumbnail need of it, or why there is nothing."""

    seq: int
    path: str
    error: str = ""
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    image: Image | None = None
    small: Image | None = None


def classify_slide(
    slide_dir: Path, out: Path, bundle: Bundle, backend: Backend, progress: Callable[[int, int], None]
) -> tuple[Path, dict[str, Any]]:
    """Classify every image of a slide and write its report; an older report of the same slide is replaced.

    The report appears whole or not at all.

    Args:
        slide_dir: Folder of the slide.
        out: Folder of all reports.
        bundle: Model.
        backend: The model, loaded.
        progress: Called with the number of images done and of all images.

    Returns:
        Folder of the report and its summary.

    Raises:
        OutputError: The slide cannot be searched, or the report not be written.
        BackendError: The backend failed.
    """
    directory = _report_directory(out, slide_dir)
    run = describe_run(slide_dir, bundle, backend)
    try:
        with whole_folder(directory) as unfinished:
            paths = list(find_images(slide_dir, out))
            cells = classify_images(slide_dir, paths, unfinished, bundle, backend, progress)
            summary = write_report(unfinished, run, cells)
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


def classify_images(
    root: Path,
    paths: Sequence[bytes],
    directory: Path,
    bundle: Bundle,
    backend: Backend,
    progress: Callable[[int, int], None],
) -> list[Cell]:
    """Classify images and write their thumbnails.

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
    cells = []
    with closing(_classify(root, paths, directory, bundle, backend)) as classified:
        for cell in classified:
            cells.append(cell)
            progress(len(cells), len(paths))
    return cells


def _classify(
    slide_dir: Path, paths: Sequence[bytes], directory: Path, bundle: Bundle, backend: Backend
) -> Generator[Cell]:
    root = os.fsencode(slide_dir)
    first_of: dict[str, str] = {}

    def read(numbered: tuple[int, bytes]) -> Reading:
        return _read(root, *numbered, bundle.width, bundle.height)

    pool = ThreadPoolExecutor(WORKERS)
    thumbnails: deque[Future[None]] = deque()
    try:
        readings = in_order(pool, read, enumerate(paths, 1), ahead=BATCHES_AHEAD * backend.batch_size)
        while batch := list(islice(readings, backend.batch_size)):
            predicted = _predict(batch, bundle, backend)
            for reading in batch:
                prediction = predicted.get(reading.seq)
                cell = _cell(reading, prediction, bundle, first_of)
                if prediction is not None and reading.small is not None:
                    caption = f"{bundle.classes[prediction.index].title}  {prediction.confidence:.2f}"
                    color = bundle.classes[prediction.index].color
                    file = directory / str(cell.thumbnail)
                    thumbnails.append(pool.submit(_draw, file, reading.small, prediction, caption, color))
                yield cell
            while len(thumbnails) > BATCHES_AHEAD * backend.batch_size:
                thumbnails.popleft().result()
        for thumbnail in thumbnails:
            thumbnail.result()
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Map over items in a pool's threads, in order, with at most `ahead` results waiting."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _read(root: bytes, seq: int, path: bytes, width: int, height: int) -> Reading:
    name, sha256 = readable_name(path), None
    try:
        raw = read_file(os.path.join(root, path))
        sha256 = raw.sha256
        image = decode(raw.data, os.path.splitext(name)[1])
    except ImageError as error:
        return Reading(seq, name, error=str(error), sha256=sha256)
    return Reading(
        seq,
        name,
        sha256=sha256,
        width=image.shape[1],
        height=image.shape[0],
        image=stretch(image, width, height),
        small=heatmap.shrink(image),
    )


def _predict(batch: Sequence[Reading], bundle: Bundle, backend: Backend) -> dict[int, Prediction]:
    readable = [(reading.seq, reading.image) for reading in batch if reading.image is not None]
    if not readable:
        return {}
    outputs = backend.infer(np.stack([image for _, image in readable]))
    return {
        seq: prediction for (seq, _), prediction in zip(readable, predictions(outputs, bundle.temperature), strict=True)
    }


def _cell(reading: Reading, prediction: Prediction | None, bundle: Bundle, first_of: dict[str, str]) -> Cell:
    if prediction is None or reading.sha256 is None:
        return Cell(reading.seq, reading.path, "rejected", reading.error, _now(), sha256=reading.sha256)
    first = first_of.setdefault(reading.sha256, reading.path)
    status: Status = "ok" if first == reading.path else "duplicate"
    return Cell(
        reading.seq,
        reading.path,
        status,
        "" if status == "ok" else f"same bytes as {first}",
        _now(),
        label=bundle.classes[prediction.index].name,
        probabilities=tuple(prediction.probabilities.tolist()),
        thumbnail=f"{THUMBNAILS}/{reading.seq:06d}.jpg",
        sha256=reading.sha256,
        width=reading.width,
        height=reading.height,
    )


def _draw(file: Path, small: Image, prediction: Prediction, caption: str, color: str) -> None:
    file.write_bytes(heatmap.thumbnail(small, prediction.cam, caption, color))


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _report_directory(out: Path, slide_dir: Path) -> Path:
    """Folder for a slide's report: never one that holds anything but a report of this very slide."""
    check_slide(slide_dir, out)
    directory = out / slide_name(slide_dir)
    if _source(directory) not in (None, readable_name(os.fsencode(slide_dir.resolve()))):
        directory = out / f"{directory.name}-{short_digest(slide_dir)}"
    if directory.exists() and _source(directory) is None and (not directory.is_dir() or any(directory.iterdir())):
        raise OutputError(f"{directory} exists and is no report: move it away, or choose another --out")
    return directory


def _source(directory: Path) -> str | None:
    try:
        return json.loads((directory / SUMMARY).read_bytes())["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
