"""From folders of crops to reports."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from ..errors import SlideError
from ..files import writing
from ..images.discover import find_images, needs_encoding, readable_name, slide_name
from ..images.left_out import LeftOut, is_report
from ..inference.backend import Backend
from ..inference.classifier import Classifier
from ..inference.predictions import Prediction
from ..ledger.ledger import Ledger
from ..ledger.records import Cell, Run, now
from ..ledger.slide_ledger import SlideLedger
from ..reports.summary import Summary
from ..reports.table import CSV
from .pipeline import THUMBNAILS, Row, make_cell, with_thumbnails
from .slide import PAGE_FACTOR, SlideWork

REJECTED_NAMED = 5
PAGE_EVERY = 30.0  # least seconds between two updates of a page while the slide is classified


def classify_slide(
    slide_dir: Path,
    out: Path,
    classifier: Classifier,
    ledger: Ledger,
    progress: Callable[[int, int, int], None] = lambda done, count, cells: None,
    notify: Callable[[str], None] = lambda line: None,
    leukocytes: int | None = None,
) -> tuple[Path, Summary]:
    """Classify images of a slide that are new, changed or were rejected, and update its report.

    However it ends, all results so far are in the report, and the next run continues from there.

    Args:
        slide_dir: Folder of the slide.
        out: Folder of all reports.
        classifier: The model, loaded.
        ledger: Ledger of `out`.
        progress: Called with the number of images that have a row, of all images, and of the cells that are counted.
        notify: Called with messages for the user.
        leukocytes: It ends with the field in which this many are found, for a finding this many cells; None to look at
            all.

    Returns:
        Folder of the report and its summary.

    Raises:
        SlideError: The slide cannot be searched, over half of its cells are gone, or the folder of its report is taken.
        OutputError: The report cannot be written.
        BackendError: The backend failed.
    """
    check_slide(slide_dir, out)
    with writing(f"the report of {slide_dir}"):
        work = SlideWork(slide_dir, out, describe_run(slide_dir, classifier.backend), classifier, ledger, notify)
        _discover(work, slide_dir, out, notify)
        written = time.monotonic()

        def update_page(done: int, count: int) -> None:
            nonlocal written
            progress(done, count, work.ledger.labels().total())
            if done < count and time.monotonic() - written >= max(PAGE_EVERY, PAGE_FACTOR * work.page_cost):
                work.write_summary()
                written = time.monotonic()

        try:
            work.classify(work.to_be_done(), update_page, leukocytes=leukocytes)
        finally:
            summary = work.write_summary()
    name_rejected(work.ledger, notify)
    return work.directory, summary


def _discover(work: SlideWork, slide_dir: Path, out: Path, notify: Callable[[str], None]) -> None:
    """Record what is in the folder of a slide, and tell what was left out."""
    left_out, unlisted, known = LeftOut(), dict[bytes, OSError](), work.ledger.images()
    paths = list(find_images(slide_dir, out, unlisted.__setitem__, left_out=left_out, known=known))
    if reason := unlisted.get(b""):
        raise SlideError(f"{slide_dir} cannot be read: {reason.strerror}")
    work.discover([*paths, *unlisted], unlisted)
    if line := str(left_out):
        notify(f"{work.ledger.slide.name}: {line}")


def name_rejected(ledger: SlideLedger, notify: Callable[[str], None]) -> None:
    """Name the first images of a slide that have no label, with their reasons."""
    cells = [cell for cell in ledger.cells() if cell.status == "rejected"]
    for cell in cells[:REJECTED_NAMED]:
        notify(f"{ledger.slide.name}: rejected: {cell.path}: {cell.reason}")
    if more := len(cells[REJECTED_NAMED:]):
        notify(f"{ledger.slide.name}: rejected: and {more} more in {CSV}")


def check_slide(slide_dir: Path, out: Path, may_be_away: bool = False) -> None:
    """Check that a slide is a folder, neither the one for the reports, nor one with results of cartcls.

    Args:
        slide_dir: Folder of the slide.
        out: Folder of all reports.
        may_be_away: Whether it may be on a share that does not answer.

    Raises:
        SlideError: It is not, or it cannot be read.
    """
    try:
        names = os.listdir(os.fsencode(slide_dir))
    except (FileNotFoundError, NotADirectoryError):
        raise SlideError(f"{slide_dir} is not a folder: name a folder of images, one for each slide") from None
    except OSError as error:
        if not may_be_away:
            raise SlideError(f"{slide_dir} cannot be read: {error.strerror}") from None
        names = []
    if slide_dir.resolve() == out.resolve():
        raise SlideError(f"{slide_dir} is also the folder for the reports: choose another --out")
    if is_report(os.fsencode(slide_dir), names):
        raise SlideError(f"{slide_dir} holds results of cartcls, not a slide: name the folder of the cell crops")


def describe_run(slide_dir: Path, backend: Backend) -> Run:
    """Describe a run that starts now."""
    return Run(
        slide=slide_name(slide_dir),
        source=readable_name(os.fsencode(slide_dir.resolve())),
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
    classifier: Classifier,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> list[Cell]:
    """Classify images and write their thumbnails, with no ledger.

    Args:
        root: Folder of the images.
        paths: Images, relative to it, in the order of their numbers.
        directory: Existing folder to write `thumbnails/` into.
        classifier: The model, loaded.
        progress: Called with the number of images done and of all images.

    Raises:
        BackendError: The backend failed.
        OSError: A thumbnail cannot be written.
    """
    (directory / THUMBNAILS).mkdir()
    cells: list[Cell] = []
    files = (os.path.join(os.fsencode(root), path) for path in paths)
    with (
        closing(classifier.predict_batches(files)) as batches,
        closing(with_thumbnails(_numbered(batches, paths), directory, classifier.bundle)) as drawn,
    ):
        for batch in drawn:
            cells += [row.cell for row in batch if row.cell]
            progress(len(cells), len(paths))
    return cells


def _numbered(batches: Iterator[list[Prediction]], paths: Sequence[bytes]) -> Iterator[list[Row]]:
    """Turn predictions into rows, in the order of the images."""
    first_of: dict[str | None, tuple[int, str]] = {}
    numbered = enumerate(paths, 1)
    for batch in batches:
        rows = []
        for prediction, (seq, path) in zip(batch, numbered, strict=False):
            name = readable_name(path)
            labelled = prediction.label is not None
            first = first_of.setdefault(prediction.reading.sha256, (seq, name)) if labelled else None
            rows.append(Row(prediction, make_cell(prediction, seq, name, first, needs_encoding(path))))
        yield rows
