"""What a laboratory compares reports with: other reports, an evaluation, or a table of labels."""

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from ..runtime.bundle.bundle import Bundle
from ..runtime.bundle.manifest import UNSURE
from ..runtime.errors import DataError, OutputError
from ..runtime.ledger.folder import review_ledger
from ..runtime.ledger.records import Box, Cell
from ..runtime.reports.table import CSV
from .classes import class_names, classes_of_folders
from .groups import few, read_csv
from .metrics import METRICS
from .split import class_of

COLUMNS = ("slide", "path", "label")


@dataclass(frozen=True)
class LabelledCell:
    """A cell with a label.

    Attributes:
        slide: Name of its slide.
        path: Its readable path within the slide; empty where it was counted at a microscope.
        label: Name of a class of the bundle, or another one.
        sha256: Digest of its file; None where that is not known.
        box: Where it lies in its field; None where the file is one cell.
        by_person: Whether a person labelled it.
        awaits_review: Whether a person is to look at it.
    """

    slide: str
    path: str
    label: str
    sha256: str | None = None
    box: Box | None = None
    by_person: bool = True
    awaits_review: bool = False


@dataclass(frozen=True)
class Labels:
    """Labelled cells of slides.

    Attributes:
        source: Where they come from.
        cells: Those with a label that is known.
        left_out: Cells of which a person was unsure, or without a label.
    """

    source: Path
    cells: list[LabelledCell]
    left_out: int = 0

    @property
    def by_person(self) -> int:
        """How many of the cells a person labelled."""
        return sum(cell.by_person for cell in self.cells)

    @property
    def waiting(self) -> int:
        """How many of the cells await review."""
        return sum(cell.awaits_review for cell in self.cells)


def read_reports(out: Path) -> tuple[Bundle, Labels]:
    """Read the cells of reports with the labels that count, also while a run goes on; and the bundle that made them.

    Raises:
        OutputError: There is no ledger, or it cannot be read.
    """
    with review_ledger(out) as (ledger, bundle):
        rows = [
            (slide.slide.name, cell)
            for slide in ledger.slides()
            for cell in slide.cells()
            if cell.can_be_corrected and cell.label
        ]
    known = [_labelled(name, cell) for name, cell in rows if cell.corrected_label != UNSURE]
    return bundle, Labels(out, known, len(rows) - len(known))


def _labelled(slide: str, cell: Cell) -> LabelledCell:
    label = cell.present_label or ""
    return LabelledCell(slide, cell.path, label, cell.sha256, cell.box, cell.is_decided, cell.awaits_review)


def read_reference(source: Path, bundle: Bundle) -> Labels:
    """Read a reference: a folder of reports, the folder of an evaluation, or a CSV with `slide`, `path` and `label`.

    Args:
        source: The folder or file.
        bundle: Its classes are found by name or title, in capitals or not; other labels stay as they are.

    Raises:
        DataError: It is none of these, or has no label.
    """
    if source.is_file():
        labels = _read_table(source, bundle)
    elif (source / METRICS).is_file() and (source / CSV).is_file():
        labels = _read_evaluation(source, bundle)
    else:
        try:
            other, labels = read_reports(source)
            labels = _renamed(labels, other, bundle)
        except OutputError as error:
            kinds = "a folder of reports, an evaluation, or a CSV with the columns slide, path and label"
            raise DataError(f"{source} is no reference ({error}): name {kinds}") from None
    if not labels.cells:
        raise DataError(f"{source} has no cell with a label: name another reference")
    return labels


def _renamed(labels: Labels, made_by: Bundle, bundle: Bundle) -> Labels:
    """The same labels by the names that the classes have in another bundle."""
    known = class_names(bundle)
    names = {entry.name: known.get(entry.title.casefold(), entry.name) for entry in made_by.classes}
    return replace(labels, cells=[replace(cell, label=names.get(cell.label, cell.label)) for cell in labels.cells])


def _read_evaluation(folder: Path, bundle: Bundle) -> Labels:
    """Cells of an evaluation by their class folders."""
    rows = _rows(folder / CSV, ("slide", "path", "path_encoded", "sha256"))
    classes = [class_of(unquote(row["path"]) if row["path_encoded"] == "1" else row["path"]) for row in rows]
    names = classes_of_folders(classes, bundle)
    cells = [
        LabelledCell(row["slide"], row["path"], names[folder_name], row["sha256"] or None)
        for row, folder_name in zip(rows, classes, strict=True)
    ]
    return Labels(folder, cells)


def _read_table(file: Path, bundle: Bundle) -> Labels:
    rows, names, cells = _rows(file, COLUMNS), class_names(bundle), list[LabelledCell]()
    for row in rows:
        slide, label = row["slide"].strip(), row["label"].strip()
        if label and not slide:
            raise DataError(f"{file}: a row with the label {label!r} names no slide: give each row its slide")
        if label:
            path = row["path"].strip().replace("\\", "/")
            cells.append(LabelledCell(slide, path, names.get(label.casefold(), label)))
    return Labels(file, cells, len(rows) - len(cells))


def _rows(file: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        rows = read_csv(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None
    if rows and (missing := [column for column in columns if column not in rows[0]]):
        raise DataError(f"{file} lacks the column(s) {few(missing)}: a reference needs {', '.join(columns)}")
    return rows
