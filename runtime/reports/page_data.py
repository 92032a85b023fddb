"""The data of cells as a page loads them: rows, heat maps and fields, in files that are scripts."""

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path

from ..files import replace_file
from ..inference.predictions import NO_NUMBER
from ..ledger.records import Cell, FieldRecord, field_picture
from ..ledger.slide_ledger import SlideLedger

ROWS, MAPS = 500, 100  # cells in a file of rows (and of the fields that begin with them), and of heat maps
REPEATED, SEEN_TWICE = "same bytes as an earlier cell", "same cell in a field that overlaps this one"


def script_of(kind: str, data: object) -> bytes:
    """Data as a script, the only form in which a page that was opened from disk may read a file."""
    return f"cartcls.{kind}({json.dumps(data, separators=(',', ':'))})\n".encode()  # ASCII, whatever is in it


def write_script(folder: Path, kind: str, number: int, data: object) -> None:
    """Write data as a script, where it is not there already."""
    file, text = folder / f"{kind}-{number:04d}.js", script_of(kind, data)
    if not file.exists() or file.read_bytes() != text:
        replace_file(file, text)


def row_of(cell: Cell) -> list[object]:
    """The data of a cell for the page, in the order of `ROW_FIELDS`."""
    return list(_row(cell).values())


def maps_of(ledger: SlideLedger, chunk: int) -> dict[int, str]:
    """Packed heat maps of a file, by number of the cell."""
    maps = ledger.maps(chunk * MAPS + 1, (chunk + 1) * MAPS)
    return {seq: base64.b64encode(data).decode() for seq, data in maps.items()}


def fields_of(fields: Mapping[int, FieldRecord], numbers: set[int]) -> dict[int, list[object]]:
    """Data of the files of fields that have rows with these numbers; a field is where its first row is."""
    chunks: dict[int, list[object]] = {(number - 1) // ROWS: [] for number in numbers}
    changed = {(field.seqs[0] - 1) // ROWS for field in fields.values() if not numbers.isdisjoint(field.seqs)}
    chunks |= {chunk: [] for chunk in changed}
    for field in fields.values():
        if (chunk := (field.seqs[0] - 1) // ROWS) in chunks:
            picture = field_picture(field.seqs[0])
            chunks[chunk].append([picture, field.width, field.height, field.smudges, field.seqs])
    return chunks


def reasons(cell: Cell) -> list[str]:
    """Why a cell is not `ok`, as a sentence, without figures and names, so that cells can be grouped by reason."""
    if cell.status == "duplicate":
        return [REPEATED if cell.same_cell_as is None else SEEN_TWICE]
    return [re.sub(r"\s*\([^()]*\)\s*$", "", reason) for reason in _told(cell).split("; ") if reason]


def _told(cell: Cell) -> str:
    """The reason of a cell; that of a file which was rejected is stored without its subject."""
    subject = "" if cell.status != "rejected" or cell.reason == NO_NUMBER else "the file "
    return subject + cell.reason


def _row(cell: Cell) -> dict[str, object]:
    """The data of a cell for the page; probabilities in 10,000ths."""
    return {
        "seq": cell.seq,
        "path": cell.path,
        "status": cell.status,
        "reason": _told(cell),
        "reasons": reasons(cell),
        "label": cell.label,
        "probabilities": [round(10_000 * p) for p in cell.probabilities],
        "thumbnail": cell.thumbnail,
        "sha256": cell.sha256,
        "width": cell.width,
        "height": cell.height,
        "analysedAt": cell.analysed_at,
        "corrected": cell.corrected_label,
        "correctedBy": cell.corrected_by,
        "correctedAt": cell.corrected_at,
        "part": cell.part,
        "box": cell.box,
        "sameCellAs": cell.same_cell_as,
        "boxFound": cell.box_found,
        "comment": cell.comment,
    }


ROW_FIELDS = list(_row(Cell(1, "", "ok", "", "")))
