"""Corrections that were saved from pages: those of cells that count are all applied, or none."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..bundle.bundle import Bundle
from ..bundle.manifest import NOT_A_CELL, UNSURE
from ..errors import CorrectionError
from ..files import writing
from ..ledger.folder import existing_ledger
from ..ledger.ledger import Ledger
from ..ledger.records import OTHER, Cell, Correction, Picture, Run, now
from ..ledger.slide_ledger import SlideLedger
from .page import write_pages
from .slide_review import cells_of
from .slide_state import SlideState
from .summary import Summary, summarize
from .table import CSV, project

COLUMNS = ["report", "slide", "bundle_sha256", "seq", "sha256", "from", "to"]
LONGEST_NAME, LONGEST_COMMENT = 60, 500
PROBLEMS_SHOWN = 10


@dataclass(frozen=True)
class Corrected:
    """The result of applying a file of corrections.

    Attributes:
        directory: Folder of the report.
        confirmed: How many labels were confirmed.
        changed: How many were changed.
        already: How many rows of the file the ledger had already.
        left_out: Why other rows were not applied, by the number of their cell: it is not counted now.
        moved: Where the table was moved, if another program had changed it; else None.
        before: Summary of the slide before.
        after: Summary of the slide now.
    """

    directory: Path
    confirmed: int
    changed: int
    already: int
    left_out: dict[int, str]
    moved: Path | None
    before: Summary
    after: Summary


def correct(out: Path, file: Path, by: str) -> Corrected:
    """Apply one file of corrections; see `correct_all`."""
    (done,) = correct_all(out, [file], by)
    return done


def correct_all(out: Path, files: Sequence[Path], by: str) -> list[Corrected]:
    """Check files of corrections that pages saved, record them in the ledger, and update the reports.

    All files are checked before one is applied. Rows of cells that are not counted now, because their file is gone or a
    copy of another, are left out.

    Args:
        out: Folder of reports.
        files: `corrections.csv` of one slide each; a spreadsheet may have saved it again, also with `;` between the
            columns. Rows that are applied already are skipped.
        by: Name of the person who made them.

    Returns:
        What became of each file.

    Raises:
        CorrectionError: A file does not match the report; nothing was recorded.
        OutputError: There is no ledger, it is in use, damaged or cannot be written, and nothing was recorded; or the
            report cannot be written: then the corrections are in the ledger, and `cartcls rebuild` shows them.
    """
    by = by.strip()
    if problem := no_name(by):
        raise CorrectionError(f"{problem}: say another --by")
    rows = {file: _read(file) for file in dict.fromkeys(files)}
    with existing_ledger(out, "correct") as (ledger, bundle):
        cells: dict[str, dict[int, Cell]] = {}
        checked = [_checked(ledger, bundle, file, rows[file], by, cells) for file in rows]
        return [_apply(out, bundle, prepared) for prepared in checked]


@dataclass(frozen=True)
class _Checked:
    """A file that matches its slide.

    Attributes:
        rows: The rows that change.
    """

    file: Path
    slide: SlideLedger
    run: Run
    corrections: list[Correction]
    rows: list[Cell]
    already: int
    left_out: dict[int, str]


def _checked(
    ledger: Ledger, bundle: Bundle, file: Path, rows: list[dict[str, str]], by: str, known: dict[str, dict[int, Cell]]
) -> _Checked:
    """Check a file, and note in `known`, by report, what its slide's cells are once it is applied."""
    slide, run = _slide(ledger, bundle, file, rows)
    cells = known.setdefault(slide.slide.report, {cell.seq: cell for cell in slide.cells()})
    said = _said(slide.corrections())
    new = [row for row in rows if not _is_applied(row, cells, said)]
    left_out = {row: why for row in map(_number, new) if (why := _not_counted(cells.get(row)))}
    corrections = _check(file, [row for row in new if _number(row) not in left_out], cells, bundle, by)
    changed = [made.applied_to(cells[made.seq]) for made in corrections]
    cells.update((cell.seq, cell) for cell in changed)
    return _Checked(file, slide, run, corrections, changed, len(rows) - len(new), left_out)


def _apply(out: Path, bundle: Bundle, checked: _Checked) -> Corrected:
    slide, run, directory = checked.slide, checked.run, out / checked.slide.slide.name
    with writing(
        f"the report of {slide.slide.name} in {out}",
        then=f"nothing in {checked.file} was applied: run `cartcls rebuild` first",
    ):
        moved = project(slide, bundle, directory / CSV)  # first what a killed process may have left
        before = summarize(bundle, run, cells_of(slide, bundle), SlideState.of(slide))
        slide.correct(checked.corrections, checked.rows)
    with writing(directory, then="the corrections are recorded: run `cartcls rebuild` later"):
        moved = project(slide, bundle, directory / CSV) or moved
        after = write_pages(slide, bundle, run, directory)
    confirmed = sum(made.from_label == made.to_label for made in checked.corrections)
    changed = len(checked.corrections) - confirmed
    return Corrected(directory, confirmed, changed, checked.already, checked.left_out, moved, before, after)


def _read(file: Path) -> list[dict[str, str]]:
    try:
        text = file.read_bytes().decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
        rows = [row for row in reader if any(row.values())]  # a spreadsheet keeps rows that were emptied
    except OSError as error:
        raise CorrectionError(f"{file} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorrectionError(
            f"{file} is not a CSV in UTF-8 ({error}): save it from the page again, or as `CSV UTF-8` in the spreadsheet"
        ) from None
    if reader.fieldnames is None or not set(COLUMNS) <= set(reader.fieldnames):
        raise CorrectionError(f"{file} needs the columns {', '.join(COLUMNS)}: save it from the page again")
    if not rows or any(None in row or None in row.values() for row in rows):
        raise CorrectionError(f"{file} has no corrections, or a row of the wrong length: save it from the page again")
    return rows


def _delimiter(text: str) -> str:
    """What separates the columns: `;` where a spreadsheet of a European country has saved the file."""
    header = text.splitlines()[0] if text else ""
    return ";" if header.count(";") > header.count(",") else ","


def _slide(ledger: Ledger, bundle: Bundle, file: Path, rows: Sequence[dict[str, str]]) -> tuple[SlideLedger, Run]:
    reports = {(row["report"], row["slide"], row["bundle_sha256"]) for row in rows}
    if len(reports) > 1:
        names = ", ".join(sorted({name for _, name, _ in reports}))
        raise CorrectionError(f"{file} has corrections of {len(reports)} reports ({names}): use one file for each")
    ((report, name, bundle_sha256),) = reports
    slide = next((found for found in ledger.slides() if found.slide.report == report), None)
    run = slide and slide.last_run()
    if ledger.is_closed(report):
        raise CorrectionError(
            f"{file} was saved from an older page of {name}, and the slide was started anew since (--fresh): open its"
            " present page, and correct there"
        )
    if slide is None or run is None or bundle_sha256 != bundle.sha256:
        raise CorrectionError(
            f"{file} was made for another report (slide {name}, bundle {bundle_sha256[:8]}) than those here"
            f" (bundle {bundle.sha256[:8]}): name the folder of reports whose page it was saved from"
        )
    return slide, run


def _said(corrections: Iterable[Correction]) -> dict[Picture, set[str]]:
    """All comments on the label that each picture has now."""
    labels, said = dict[Picture, str](), dict[Picture, set[str]]()
    for made in corrections:
        if labels.get(made.picture) != made.to_label:
            labels[made.picture], said[made.picture] = made.to_label, set()
        said[made.picture].add(made.comment)
    return said


def _is_applied(row: dict[str, str], cells: dict[int, Cell], said: dict[Picture, set[str]]) -> bool:
    """Whether a person gave the cell this label already, from this file or another one, and said this of it.

    Args:
        row: Of the file.
        cells: Those of the slide, by number.
        said: Comments on the label of each.
    """
    cell, comment = cells.get(_number(row)), _comment(row)
    if cell is None or row["sha256"] != cell.sha256 or row["to"] != cell.corrected_label:
        return False
    return comment in {"", cell.comment, *said.get(cell.picture, ())}


def _comment(row: dict[str, str]) -> str:
    return (row.get("comment") or "").strip()


def _number(row: dict[str, str]) -> int:
    """Number of the cell; 0 where it is none."""
    seq = row["seq"]
    return int(seq) if seq.isascii() and seq.isdecimal() and len(seq) < 19 else 0


def _not_counted(cell: Cell | None) -> str:
    """Why a cell cannot be corrected, though there is one; empty where it can."""
    return "" if cell is None or cell.can_be_corrected else f"it is {cell.status}, and not counted: {cell.reason}"


def _check(
    file: Path, rows: Sequence[dict[str, str]], cells: dict[int, Cell], bundle: Bundle, by: str
) -> list[Correction]:
    at = now()
    numbers = [_number(row) for row in rows]
    times = Counter(numbers)
    problems, corrections = [], []
    for row, number in zip(rows, numbers, strict=True):
        problem = _problem(row, cells.get(number), bundle, times[number])
        if problem:
            problems.append(f"no. {row['seq']}: {problem}")
        cell = cells.get(number)
        said, to = _comment(row), row["to"]
        if problem := no_comment(said):
            problems.append(f"no. {row['seq']}: {problem}")
        before = to if cell and cell.corrected_label == to else row["from"]  # a comment alone is new
        corrections.append(Correction(number, row["sha256"], before, to, by, at, cell and cell.box, said))
    if problems:
        shown = list(dict.fromkeys(problems))
        more = [f"and {len(shown) - PROBLEMS_SHOWN} more"] if len(shown) > PROBLEMS_SHOWN else []
        raise CorrectionError(f"nothing in {file} was applied: " + "; ".join([*shown[:PROBLEMS_SHOWN], *more]))
    return corrections


def _problem(row: dict[str, str], cell: Cell | None, bundle: Bundle, times: int) -> str:
    """Why a correction cannot be applied; empty where it can."""
    if cell is None:
        return "there is no such cell"
    if times > 1:
        return f"it is in the file {times} times: keep one row"
    if row["sha256"] != cell.sha256:
        return "its image has changed since: open the page again, and look at the new one"
    if cell.corrected_label not in (None, row["from"], row["to"]):  # a model's label may have been computed anew since
        return (
            f"it was edited twice: the file says it was {row['from']}, but it is {cell.corrected_label} now, by"
            f" {cell.corrected_by} at {cell.corrected_at}; open the page again"
        )
    return no_label(row["from"], bundle) or no_label(row["to"], bundle)


def no_name(name: str) -> str:
    """Why a text is no person's name; empty where it is."""
    if name and name == name.strip() and name.isprintable() and name[0] not in "=+-@" and len(name) <= LONGEST_NAME:
        return ""
    return f"{name[:LONGEST_NAME]!r} is not a name, which has up to {LONGEST_NAME} letters, not = + - @ first"


def no_comment(text: str) -> str:
    """Why a text is no comment on a label; empty where it is."""
    is_one = len(text) <= LONGEST_COMMENT and text.isprintable()
    return "" if is_one else f"its comment has up to {LONGEST_COMMENT} letters on one line"


def no_label(label: str, bundle: Bundle) -> str:
    """Why a text is not a label; empty where it is."""
    names = {entry.name for entry in bundle.classes}
    if (known := _existing_label(label, bundle)) is not None:
        return f"{label!r} is an existing label: write {known}"
    if label not in names | {NOT_A_CELL, UNSURE} and not _is_other(label):
        labels = f"{', '.join(sorted(names))}, {NOT_A_CELL}, {UNSURE} or {OTHER}and a name"
        return f"{label!r} is not a label: use {labels}"
    return ""


def _existing_label(label: str, bundle: Bundle) -> str | None:
    """The existing label that `other: ` and a name stands for; None where there is none."""
    labels = {entry.title.casefold(): entry.name for entry in bundle.classes}
    labels |= {name.casefold(): name for name in (*(entry.name for entry in bundle.classes), NOT_A_CELL, UNSURE)}
    name = " ".join(label.removeprefix(OTHER).split()).casefold()
    return labels.get(name) if label.startswith(OTHER) else None


def _is_other(label: str) -> bool:
    name = label.removeprefix(OTHER)
    return label.startswith(OTHER) and name == name.strip() != "" and name.isprintable() and len(name) <= LONGEST_NAME
