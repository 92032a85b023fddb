"""Reports against the ledger: find what was changed in them, and write them again."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import OutputError
from ..ledger.folder import existing_ledger
from ..ledger.records import CSV, csv_header
from .page import write_pages
from .table import Difference, rebuild, verify


@dataclass(frozen=True)
class Verified:
    """A slide's table, compared with the ledger."""

    file: Path
    rows: int
    differences: list[Difference]


def verify_reports(out: Path) -> list[Verified]:
    """Compare the table of every slide with the ledger, line by line.

    Raises:
        OutputError: There is no ledger, or it is in use or damaged.
    """
    with existing_ledger(out) as (ledger, bundle):
        found = []
        for slide in ledger.slides():
            if ledger.last_run(slide, bundle) is None:
                continue
            file = out / slide.name / CSV
            differences = verify(ledger, slide, csv_header(bundle), file)
            found.append(Verified(file, ledger.next_seq(slide) - 1, differences))
        return found


def rebuild_reports(out: Path, tables: bool = True) -> list[Path]:
    """Write table, summary and page of every slide again; thumbnails stay as they are.

    Args:
        out: Folder of reports.
        tables: Whether tables are written too, whatever is in them.

    Returns:
        Folders of the reports.

    Raises:
        OutputError: There is no ledger, it is in use or damaged, or a report cannot be written.
    """
    with existing_ledger(out) as (ledger, bundle):
        directories = []
        for slide in ledger.slides():
            run = ledger.last_run(slide, bundle)
            if run is None:  # the process ended before it had a report
                continue
            directory = out / slide.name
            try:
                directory.mkdir(exist_ok=True)
                if tables:
                    rebuild(ledger, slide, csv_header(bundle), directory / CSV)
                write_pages(ledger, slide, run, directory)
            except OSError as error:
                raise OutputError(f"{directory} cannot be written: {error.strerror or error}") from None
            directories.append(directory)
        return directories
