"""Verification before use: reports beside a reference, as a page and a table."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from ..runtime.bundle.bundle import Bundle
from ..runtime.errors import DataError, OutputError
from ..runtime.files import whole_folder, writing
from ..runtime.images.discover import readable_name
from ..runtime.ledger.records import now
from ..runtime.reports.page import render
from ..runtime.reports.table import ENCODING
from ..runtime.verified import Verified, note_verified
from .compare_plots import plot_differences, plot_percents
from .comparison import Counts, SameCells, compare_counts, same_cells
from .groups import few
from .references import Labels, read_reference, read_reports

PAGE, TABLE = "compare.html", "compare.csv"
FEW_SLIDES = 10  # below which an interval by slide is rough
MOST_APART = 0.1  # share of the reference's cells that may be left out without a warning
COLUMNS = (
    *("slide", "class", "cells", "count", "percent", "reference_cells", "reference_count", "reference_percent"),
    *("limit_low", "limit_high", "within", "in_both", "bundle", "bundle_sha256", "reference", "version", "compared_at"),
)


@dataclass(frozen=True)
class Comparison:
    """Reports beside a reference.

    Attributes:
        bundle: What made the reports.
        reports: Their labels, of cells that were compared.
        reference: Labels of the reference, likewise.
        same: Agreement cell by cell; None where they have no cell in common.
        counts: Agreement of independent counts; None where they have cells in common.
        version: Version of cartcls.
        compared_at: UTC, ISO 8601.
    """

    bundle: Bundle
    reports: Labels
    reference: Labels
    same: SameCells | None
    counts: Counts | None
    version: str
    compared_at: str

    @property
    def warnings(self) -> list[str]:
        """What must be known before any figure."""
        found = []
        for name, labels in (("reports", self.reports), ("reference", self.reference)):
            if labels.waiting:
                awaiting = "1 awaits" if labels.waiting == 1 else f"{labels.waiting} await"
                found.append(f"of the compared cells of the {name}, {awaiting} review: the model's label counts")
        if self.same:
            found += _of_cells(self.same)
        if self.counts:
            found += _of_counts(self.counts)
        return found

    @property
    def slides(self) -> list[str]:
        """Names of the slides that were compared."""
        compared = self.same or self.counts
        return compared.slides if compared else []

    @property
    def cells(self) -> int:
        """Number of cells of the reports that were compared."""
        return len(self.reports.cells)


def compare(out: Path, reference: Path, folder: Path) -> Comparison:
    """Compare reports with a reference; write a page and a table, and note for `doctor` which bundle was verified.

    Args:
        out: Folder of reports; a run may be at work on them.
        reference: Another folder of reports, the folder of an evaluation, or a CSV with `slide`, `path` and `label`.
        folder: Folder to write; one of an earlier comparison is replaced.

    Raises:
        DataError: There is no such reference, or it has neither a cell nor a slide in common with the reports.
        OutputError: There are no reports, or the folder cannot be written.
    """
    if folder.exists() and not (folder / PAGE).is_file():
        raise OutputError(f"{folder} exists and is no comparison: move it away, or choose another --to")
    bundle, reports = read_reports(out)
    labels = read_reference(reference, bundle)
    same = same_cells(reports, labels, bundle)
    counts = None if same else compare_counts(reports, labels, bundle)
    if counts and not counts.slides:
        raise DataError(f"{reference} has neither a cell nor a slide in common with {out}: {_slides(reports, labels)}")
    compared = _compared(reports, labels, same, counts)
    comparison = Comparison(bundle, *compared, same, counts, version("cartcls"), now())
    with writing(folder), whole_folder(folder) as unfinished:
        (unfinished / PAGE).write_text(_page(comparison), encoding="utf-8")
        (unfinished / TABLE).write_text(_table(comparison), encoding=ENCODING)
    with writing("the note of what was verified"):
        note_verified(_note(comparison))
    return comparison


def _compared(
    reports: Labels, reference: Labels, same: SameCells | None, counts: Counts | None
) -> tuple[Labels, Labels]:
    """The cells that were compared: what is said of how they were labelled is of no others."""
    if same:
        ours, theirs = ([pair[at] for pair in same.pairs] for at in (0, 1))
    else:
        slides = set(counts.slides if counts else ())
        ours, theirs = ([cell for cell in labels.cells if cell.slide in slides] for labels in (reports, reference))
    return replace(reports, cells=ours), replace(reference, cells=theirs)


def _slides(reports: Labels, reference: Labels) -> str:
    ours, theirs = (few(sorted({cell.slide for cell in found.cells})) for found in (reports, reference))
    return f"its slides are {theirs}, those of the reports {ours or 'none'}; they go by their names"


def _note(comparison: Comparison) -> Verified:
    return Verified(
        bundle=comparison.bundle.name,
        bundle_sha256=comparison.bundle.sha256,
        reference=_shown(comparison.reference.source),
        slides=len(comparison.slides),
        cells=comparison.cells,
        compared_at=comparison.compared_at,
    )


def _of_cells(same: SameCells) -> Iterator[str]:
    every = same.cells + same.only_reference
    if same.only_reference > MOST_APART * every:
        yield f"left out of {every} cells of the reference, since the reports do not have them: {same.only_reference}"
    if len(same.slides) == 1:
        yield "all cells are of one slide: there is no interval of κ, and other slides may differ"
    elif len(same.slides) < FEW_SLIDES:
        yield f"the interval of κ is of {len(same.slides)} slides only, so it is rough"


def _of_counts(counts: Counts) -> Iterator[str]:
    if counts.others:
        found = ", ".join(f"{label} ({count})" for label, count in counts.others.items())
        yield f"labels of the reference that are no class of the bundle are in no percentage: {found}"
    if counts.only_reference:
        yield f"slides of the reference that the reports do not have: {few(counts.only_reference)}"


def _page(comparison: Comparison) -> str:
    bundle, counts = comparison.bundle, comparison.counts
    titles = {entry.name: entry.title for entry in bundle.classes}
    return render(
        PAGE,
        bundle.classes,
        comparison=comparison,
        same=comparison.same,
        counts=counts,
        titles=titles,
        places={entry.name: at for at, entry in enumerate(bundle.classes)},
        plots=[(found, [plot_percents(found), plot_differences(found)]) for found in counts.classes] if counts else [],
        names={"reports": _shown(comparison.reports.source), "reference": _shown(comparison.reference.source)},
        table=TABLE,
    )


def _table(comparison: Comparison) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    tail = [comparison.bundle.name, comparison.bundle.sha256, _shown(comparison.reference.source)]
    tail += [comparison.version, comparison.compared_at]
    rows = _rows_of_cells(comparison.same) if comparison.same else _rows_of_counts(comparison.counts)
    writer.writerows([*row, *tail] for row in rows)
    return text.getvalue()


def _rows_of_cells(same: SameCells) -> Iterator[list[object]]:
    for slide, table in zip(same.slides, same.tables, strict=True):
        cells = int(table.sum())
        for at, label in enumerate(same.labels):
            given, true = int(table[:, at].sum()), int(table[at].sum())
            percents = [f"{100 * count / cells:.2f}" for count in (given, true)]
            both = int(table[at, at])
            yield [_safe(slide), _safe(label), cells, given, percents[0], cells, true, percents[1], "", "", "", both]


def _rows_of_counts(counts: Counts | None) -> Iterator[list[object]]:
    for found in counts.classes if counts else ():
        for row in found.slides:
            ours = [row.cells, row.count, f"{row.percent:.2f}"]
            theirs = [row.reference_cells, row.reference, f"{row.reference_percent:.2f}"]
            limits = [f"{end:.2f}" for end in row.limits]
            yield [_safe(row.slide), found.entry.name, *ours, *theirs, *limits, int(row.within), ""]


def _safe(text: str) -> str:
    """A name in a table: no character of it starts a formula in a spreadsheet."""
    return readable_name(text.encode("utf-8", "surrogateescape"))


def _shown(path: Path) -> str:
    return readable_name(str(path).encode("utf-8", "surrogateescape"))
