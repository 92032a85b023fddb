"""Compare reports with the ledger, and rebuild them from it."""

from dataclasses import dataclass
from pathlib import Path

from ..files import sweep, writing
from ..ledger.folder import existing_ledger
from ..ledger.signatures import Signature, signatures_of
from .page import DATA, write_pages
from .table import CSV, Difference, is_behind, project, rebuild, verify


@dataclass(frozen=True)
class Verified:
    """A slide's table, compared with the ledger, and the slide's signatures with its rows."""

    file: Path
    rows: int
    differences: list[Difference]
    signatures: list[Signature]

    @property
    def is_signed(self) -> bool:
        """Whether a signature holds for the present rows."""
        return any(not made.is_void for made in self.signatures)

    @property
    def passes(self) -> bool:
        """Whether the table is as the ledger says, and where the slide was signed, a signature holds."""
        return not self.differences and (self.is_signed or not self.signatures)


def verify_reports(out: Path) -> list[Verified]:
    """Compare the table of every slide with the ledger, line by line, and signatures with the rows that they are for.

    A table that only lacks the latest corrections of a station gets them first.

    Raises:
        OutputError: There is no ledger, it is in use or damaged, or an alarm that was due cannot be recorded in it.
    """
    with existing_ledger(out, "verify") as (ledger, bundle), writing(f"the ledger of {out}"):
        begun = [(slide, out / slide.slide.name / CSV) for slide in ledger.slides() if slide.last_run()]
        for slide, file in begun:
            if is_behind(slide, file):
                project(slide, bundle, file)
        return [
            Verified(file, slide.next_seq() - 1, verify(slide, bundle, file), signatures_of(slide))
            for slide, file in begun
        ]


def rebuild_reports(out: Path, tables: bool = True) -> list[Path]:
    """Rebuild table, summary and page of every slide; thumbnails stay as they are.

    Args:
        out: Folder of reports.
        tables: Whether tables are rebuilt too, whatever is in them.

    Returns:
        Folders of the reports.

    Raises:
        OutputError: There is no ledger, it is in use or damaged, or a report cannot be written.
    """
    with existing_ledger(out, "rebuild") as (ledger, bundle):
        directories = []
        for slide in ledger.slides():
            run = slide.last_run()
            if run is None:  # the process ended before it had a report
                continue
            directory = out / slide.slide.name
            with writing(directory):
                directory.mkdir(exist_ok=True)
                sweep(directory, directory / DATA, locked=True)
                if tables:
                    rebuild(slide, bundle, directory / CSV)
                write_pages(slide, bundle, run, directory)
            directories.append(directory)
        return directories
