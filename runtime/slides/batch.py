"""From folders of crops to reports."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from ..bundle.bundle import Bundle
from ..errors import OutputError
from ..images.discover import find_images, readable_name, slide_name
from ..inference.backend import Backend
from ..ledger.ledger import Ledger
from ..ledger.records import THUMBNAILS, Cell, Run
from ..reports.summary import Summary
from .pipeline import classify_files, now
from .slide import PAGE_FACTOR, SlideWork

PAGE_EVERY = 30.0  # seconds, at least, between two writings of a page while the slide is classified


def classify_slide(
    slide_dir: Path,
    out: Path,
    bundle: Bundle,
    backend: Backend,
    ledger: Ledger,
    progress: Callable[[int, int], None],
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[Path, Summary]:
    """Classify what is new of a slide, or was rejected before, and bring its report up to date.

    Whatever ends it, all that was classified until then is in the report, and the next run goes on from there.

    Args:
        slide_dir: Folder of the slide.
        out: Folder of all reports.
        bundle: Model.
        backend: The model, loaded.
        ledger: Ledger of `out`.
        progress: Called with the number of images that have a row, and of all images.
        tell: Called with a line on what people should know.

    Returns:
        Folder of the report and its summary.

    Raises:
        OutputError: The slide cannot be searched, or the report not be written.
        BackendError: The backend failed.
    """
    check_slide(slide_dir, out)
    try:
        work = SlideWork(slide_dir, out, describe_run(slide_dir, bundle, backend), backend, ledger, tell)
        work.discover(find_images(slide_dir, out))
        written = time.monotonic()

        def keep_current(done: int, count: int) -> None:
            nonlocal written
            progress(done, count)
            if done < count and time.monotonic() - written >= max(PAGE_EVERY, PAGE_FACTOR * work.page_cost):
                work.write_summary()
                written = time.monotonic()

        try:
            work.classify(work.to_be_done(), keep_current)
        finally:
            summary = work.write_summary()
    except OSError as error:
        raise OutputError(f"the report of {slide_dir} cannot be written: {error.strerror or error}") from None
    return work.directory, summary


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
        started_at=now(),
    )


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
    batches = classify_files(os.fsencode(root), paths, directory, bundle, backend, numbers.__getitem__, {})
    with closing(batches):
        for answers in batches:
            cells += [cell for _, cell in answers if cell]
            progress(len(cells), len(paths))
    return cells
