"""A slide's CSV as a projection of the ledger: rows are appended, and it is rebuilt if it differs from the ledger."""

import csv
import io
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from ..bundle.bundle import Bundle
from ..bundle.manifest import UNSURE
from ..files import free_name, replace_file
from ..images.discover import readable_name
from ..ledger.records import Cell, Cursor, Run
from ..ledger.slide_ledger import SlideLedger
from .slide_review import promise_of, review_of

CSV, DAMAGED = "cells.csv", ".damaged"
BOX = ("box_x", "box_y", "box_w", "box_h")  # of bundles whose graph gives boxes
ENCODING = "utf-8-sig"  # with a byte order mark, for spreadsheets


@dataclass(frozen=True)
class Difference:
    """One difference between a CSV and the ledger.

    Attributes:
        line: Number of the line in the file, from 1; the header is line 1.
        problem: `edited`, `missing` or `added`.
        expected: The line as the ledger has it; empty where it was added.
    """

    line: int
    problem: str
    expected: str


def write_csv(file: Path, bundle: Bundle, run: Run, cells: Iterable[Cell]) -> None:
    """Write one row per cell, in `seq` order."""
    file.write_bytes(_encoded(csv_header(bundle), *(csv_line(bundle, run, cell) for cell in cells)))


def csv_header(bundle: Bundle) -> str:
    """First line of a CSV of cells."""
    names = ["seq", "slide", "path", "path_encoded", "part", "x", "y", "w", "h", "scale", "mpp", "at_edge"]
    names += ["label", "model_label", "confidence", "status", "reason"]
    names += ["promise", *(f"p_{entry.name}" for entry in bundle.classes)]
    names += BOX if bundle.has_boxes else ()
    names += ["corrected_by", "corrected_at", "comment", "thumbnail", "sha256", "width", "height"]
    names += ["bundle", "bundle_sha256", "backend", "precision", "version", "analysed_at"]
    return _csv(names)


def csv_line(bundle: Bundle, run: Run, cell: Cell, has_alarm: bool = False) -> str:
    """One cell's line: the label that counts, and the model's.

    Args:
        bundle: The bundle that made the row.
        run: The run that made it.
        cell: The row, as its slide makes it.
        has_alarm: Whether its slide is unlike home, so that nothing is promised of it.
    """
    is_promised = cell.present_status == ("review" if has_alarm else "ok")
    promise = promise_of(bundle, has_alarm) if is_promised else ""
    probabilities = [f"{p:.6f}" for p in cell.probabilities] or [""] * len(bundle.classes)
    confidence = "" if cell.confidence is None else f"{cell.confidence:.6f}"
    unsure = cell.corrected_label == UNSURE
    label = cell.label if unsure else cell.present_label
    reason = "; ".join(filter(None, (cell.reason, "a person was unsure" if unsure else "")))
    row: list[object] = [cell.seq, run.slide, cell.path, int(cell.path_encoded)]
    row += [cell.part, cell.x, cell.y, cell.w, cell.h, _rounded(cell.scale), _rounded(cell.mpp)]
    row += ["" if cell.at_edge is None else int(cell.at_edge), label, cell.label, confidence]
    row += [cell.present_status, reason, promise, *probabilities]
    row += (getattr(cell, name) for name in BOX) if bundle.has_boxes else ()
    row += [cell.corrected_by, cell.corrected_at, cell.comment and readable_name(cell.comment.encode())]
    row += [cell.thumbnail, cell.sha256, cell.width, cell.height]
    row += [bundle.name, bundle.sha256, run.backend, run.precision, run.version, cell.analysed_at]
    return _csv(row)


def project(ledger: SlideLedger, bundle: Bundle, file: Path) -> Path | None:
    """Update a slide's CSV from the ledger.

    Rows that an interrupted run has appended already are kept. A file that another program changed is moved aside, for
    it may hold a person's edits, and rebuilt. What was in the file before is read only if its time has changed.

    Args:
        ledger: The slide's ledger.
        bundle: The bundle that made its rows.
        file: The CSV.

    Returns:
        Where a changed file was moved, or None.

    Raises:
        OSError: The file cannot be written.
    """
    cursor, review = ledger.cursor(), review_of(ledger, bundle)
    if not file.exists():
        rebuild(ledger, bundle, file)
        return None
    header = b"" if cursor.size else _encoded(csv_header(bundle))
    pending = header + "".join(_lines(ledger, bundle, cursor.seq)).encode()
    is_stale = cursor.stale or (cursor.seq > 0 and cursor.review != review.key)
    with file.open("r+b") as handle:
        is_touched = os.fstat(handle.fileno()).st_mtime_ns != cursor.mtime_ns
        is_ours = not is_touched or zlib.crc32(handle.read(cursor.size)) == cursor.crc
        size = handle.seek(0, os.SEEK_END)
        handle.seek(min(cursor.size, size))
        tail = handle.read()
        is_ours = is_ours and size >= cursor.size and pending.startswith(tail)
        if is_ours and not is_stale:
            if pending or is_touched:
                handle.write(pending[len(tail) :])
                handle.flush()
                os.fsync(handle.fileno())
                written, crc = cursor.size + len(pending), zlib.crc32(pending, cursor.crc)
                mtime_ns = os.fstat(handle.fileno()).st_mtime_ns
                ledger.move_cursor(Cursor(ledger.next_seq() - 1, written, False, crc, mtime_ns, review.key))
            return None
    moved = None if is_ours or file.read_bytes() == whole_table(ledger, bundle) else _move_aside(file)
    rebuild(ledger, bundle, file)
    return moved


def rebuild(ledger: SlideLedger, bundle: Bundle, file: Path) -> None:
    """Rebuild a slide's CSV from the ledger, whatever it holds.

    Raises:
        OSError: The file cannot be written; it stays as it was.
    """
    data = whole_table(ledger, bundle)
    replace_file(file, data)
    mtime_ns, review = file.stat().st_mtime_ns, review_of(ledger, bundle)
    ledger.move_cursor(Cursor(ledger.next_seq() - 1, len(data), False, zlib.crc32(data), mtime_ns, review.key))


def is_behind(ledger: SlideLedger, file: Path) -> bool:
    """Whether a slide's CSV is as it was written, and rows were replaced since, such as by a station's corrections."""
    cursor = ledger.cursor()
    return cursor.stale and file.exists() and zlib.crc32(file.read_bytes()) == cursor.crc


def verify(ledger: SlideLedger, bundle: Bundle, file: Path) -> list[Difference]:
    """Compare a slide's CSV with the ledger, line by line."""
    expected = whole_table(ledger, bundle).decode().splitlines(keepends=True)
    found = file.read_bytes().decode("utf-8", "surrogateescape").splitlines(keepends=True) if file.exists() else []
    differences = []
    matcher = SequenceMatcher(None, expected, found, autojunk=False)
    for tag, start, end, found_start, found_end in matcher.get_opcodes():
        if tag == "equal":
            continue
        both = min(end - start, found_end - found_start)
        differences += [Difference(found_start + i + 1, "edited", expected[start + i]) for i in range(both)]
        differences += [Difference(found_start + both + 1, "missing", line) for line in expected[start + both : end]]
        differences += [Difference(number + 1, "added", "") for number in range(found_start + both, found_end)]
    return differences


def _move_aside(file: Path) -> Path:
    """Rename a changed file to one that does not exist: an earlier one may hold a person's edits."""
    return file.rename(free_name(file.with_name(f"{file.name}{DAMAGED}")))


def whole_table(ledger: SlideLedger, bundle: Bundle) -> bytes:
    """A slide's CSV as it is to be."""
    return _encoded(csv_header(bundle), *_lines(ledger, bundle))


def _lines(ledger: SlideLedger, bundle: Bundle, after: int = 0) -> Iterator[str]:
    review = review_of(ledger, bundle)
    return (csv_line(bundle, run, review.applied_to(cell), bool(review.alarm)) for cell, run in ledger.rows(after))


def _encoded(*lines: str) -> bytes:
    return "".join(lines).encode(ENCODING)


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _csv(values: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()
