"""Writes the reports of slides whose corrections no other process puts into them."""

from datetime import datetime
from pathlib import Path

from ..bundle.bundle import Bundle
from ..errors import InUseError, OutputError
from ..files import writing
from ..ledger.folder import REVIEW, existing_ledger
from ..ledger.ledger import Ledger
from ..ledger.slide_ledger import SlideLedger
from ..reports.page import DATA, PAGE, write_pages
from ..reports.table import CSV, project
from .desk import Desk


def write_reports(desk: Desk) -> bool:
    """Write table, summary and page of the slides that are due, unless another process has the lock and does so.

    A slide that cannot be written stays due, and does not hold up the others.

    Returns:
        Whether it was done.

    Raises:
        OSError: The ledger cannot be read.
        OutputError: The ledger cannot be used, or the report of a slide cannot be written; it names the first.
    """
    problems: list[OSError | OutputError] = []
    try:
        with existing_ledger(desk.out, REVIEW) as (ledger, bundle):
            for number in sorted(desk.due):
                desk.due.discard(number)  # first: what is inserted from now on makes it due again
                try:
                    _write(ledger, bundle, desk.out, number)
                except (OSError, OutputError) as problem:
                    desk.due.add(number)
                    problems.append(problem)
    except InUseError:
        return False
    if problems:
        raise problems[0]
    return True


def _write(ledger: Ledger, bundle: Bundle, out: Path, number: int) -> None:
    slide = ledger.slide(number)
    run = slide and slide.last_run()
    if slide is None or run is None:
        return
    directory = out / slide.slide.name
    with writing(directory):
        slide.take_corrections()
        (directory / DATA).mkdir(parents=True, exist_ok=True)
        write_pages(slide, bundle, run, directory)  # first, so that a table that is behind shows what was not done
        project(slide, bundle, directory / CSV)


def find_due(ledger: Ledger, out: Path) -> set[int]:
    """Numbers of the slides whose reports a process that was killed may have left behind their ledger."""
    return {slide.slide.id for slide in ledger.slides() if slide.last_run() and _is_due(slide, out / slide.slide.name)}


def _is_due(slide: SlideLedger, directory: Path) -> bool:
    page, last = directory / PAGE, slide.last_reviewed()
    if slide.cursor().stale or not page.exists():
        return True
    made = datetime.fromisoformat(last.replace("Z", "+00:00")).timestamp() if last else 0.0
    return made + 1 > page.stat().st_mtime
