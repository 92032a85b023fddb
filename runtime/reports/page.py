"""A slide's page, its summary, and the data files of cells that the page loads when it needs them."""

import base64
import hashlib
import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup
from msgspec import UNSET
from msgspec.structs import asdict

from ..bundle.bundle import Bundle
from ..bundle.calibration import NOT_CALIBRATED
from ..bundle.drift import looks
from ..bundle.manifest import NOT_A_CELL, UNSURE, CellClass
from ..files import replace_file
from ..images import thumbnail
from ..inference.classifier import crops_of
from ..inference.predictions import NO_NUMBER
from ..ledger.records import OTHER, Cell, FieldRecord, Run, field_picture
from ..ledger.slide_ledger import SlideLedger
from .finding import MEANING
from .slide_review import TOO_FEW, UNLIKE, cells_of
from .slide_state import SlideState
from .summary import Summary, summarize
from .table import CSV

PAGE, SUMMARY, DATA = "report.html", "summary.json", "cells"
ROWS, MAPS = 500, 100  # cells in a file of rows (and of the fields that begin with them), and of heat maps
PICTURES = 6  # of each reason
PROVENANCE = (
    *("slide", "source", "bundle", "bundle_sha256", "bundle_split", "bundle_adjustment", "levels", "scale"),
    *("backend", "precision", "device", "version", "started_at", "last_analysed_at"),
)  # of the summary
REPEATED, SEEN_TWICE = "same bytes as an earlier cell", "same cell in a field that overlaps this one"
SCRIPTS = ("cells.js", "corrections.js", "gallery.js", "cell.js", "fields.js", "field.js", "tools.js")
KEYS = "123456789abdefghijklmpqrstvwxyz"  # without those for other labels: see `RESERVED` in `cells.js`


def write_pages(
    ledger: SlideLedger,
    bundle: Bundle,
    run: Run,
    directory: Path,
    changed: Iterable[int] | None = None,
    every_row: bool = True,
) -> Summary:
    """Write summary and page of a slide beside its table.

    Args:
        ledger: The slide's ledger.
        bundle: The bundle that made its rows.
        run: The run that made the latest of them.
        directory: Folder of the report.
        changed: Numbers of the rows that are newer than the page; None where that is not known.
        every_row: Whether the other rows may have changed too, all but their heat maps, because the slide as a whole
            says something else of them.

    Returns:
        The summary, as written to `summary.json`.

    Raises:
        OSError: A file cannot be written; the older one stays as it was.
    """
    cells = cells_of(ledger, bundle)
    summary = summarize(bundle, run, cells, SlideState.of(ledger))
    (directory / DATA).mkdir(exist_ok=True)
    every = [cell.seq for cell in cells]
    numbers = every if changed is None else list(changed)
    for chunk in sorted({(number - 1) // ROWS for number in (every if every_row else numbers)}):
        first, end = (bisect_left(cells, (chunk + more) * ROWS + 1, key=lambda cell: cell.seq) for more in (0, 1))
        rows = [list(_row(cell).values()) for cell in cells[first:end]]
        _write_script(directory / DATA / f"rows-{chunk:04d}.js", "rows", rows)
    for chunk in sorted({(number - 1) // MAPS for number in numbers}):
        maps = ledger.maps(chunk * MAPS + 1, (chunk + 1) * MAPS)
        packed = {seq: base64.b64encode(data).decode() for seq, data in maps.items()}
        _write_script(directory / DATA / f"maps-{chunk:04d}.js", "maps", packed)
    if summary.smudges is not UNSET:
        _write_fields(directory, ledger.fields(), set(numbers))
    replace_file(directory / SUMMARY, (json.dumps(msgspec.to_builtins(summary), indent=2) + "\n").encode())
    own = list(ledger.cells()) if summary.alarm else None
    page = render_page(bundle, ledger.slide.report, cells, summary, ledger.has_maps(), own)
    replace_file(directory / PAGE, page.encode())
    return summary


def render_page(
    bundle: Bundle,
    report: str,
    cells: Sequence[Cell],
    summary: Summary,
    has_maps: bool,
    own: Sequence[Cell] | None = None,
) -> str:
    """Render `report.html`: the differential or finding, what was flagged, its provenance, and a place for the cells.

    Args:
        bundle: The bundle that made them.
        report: Unique id of the report.
        cells: All rows.
        summary: Their summary.
        has_maps: Whether thumbnails show a heat map beside the cell.
        own: The rows by what each picture says, after an alarm: what was flagged is counted by them.
    """
    classes, places = bundle.classes, {entry.name: index for index, entry in enumerate(bundle.classes)}
    without = summary.differential_without_proposals or summary.finding_without_proposals
    shown = summary.finding.shown if summary.finding else []
    by_seq = {cell.seq: cell for cell in cells if cell.seq in shown}
    return render(
        PAGE,
        classes,
        panels_of(bundle, has_maps),
        scripts=SCRIPTS,
        summary=summary,
        rows=[(places[row.name], row, without and without.rows[at]) for at, row in enumerate(summary.rows)],
        labels=[(row.name, row.title, row.count) for row in summary.rows]
        + [(label, label, count) for label, count in summary.others.items()],
        titles={entry.name: entry.title for entry in classes},
        against=[by_seq[seq] for seq in shown],
        meaning=MEANING,
        flagged=_flagged(own or cells),
        proposals=summary.awaiting_review - summary.whole_fields - summary.no_cell,
        any_meaning=_counted(summary) > summary.whole_fields + summary.no_cell or not summary.awaiting_review,
        looked_at=max((end for _, end in looks(sum(cell.can_be_corrected for cell in cells))), default=0),
        too_few=any(warning.startswith(TOO_FEW) for warning in summary.warnings),
        calibration=_known(asdict(summary.calibration)) if summary.calibration else {},
        provenance={key: getattr(summary, key) for key in PROVENANCE if getattr(summary, key)},
        csv_name=CSV,
        of_fields=summary.smudges is not UNSET,
        has_boxes=bundle.has_boxes,
        has_attention=bundle.has_attention and has_maps,
        meta=_meta(bundle, report, summary, max((cell.seq for cell in cells), default=0), has_maps),
    )


def panels_of(bundle: Bundle, has_maps: bool) -> int:
    """How many pictures a thumbnail has side by side: the cell, its heat map, its attention."""
    return 1 + has_maps + (has_maps and bundle.has_attention)


def render(template: str, classes: Sequence[CellClass], panels: int, scripts: Sequence[str] = (), **values: Any) -> str:
    """Render one of the package's templates; all values are escaped, and no other script can run in it.

    Args:
        template: Name of the template.
        classes: Their colours are `--color` of the style classes `k0`, `k1`, ….
        panels: How many pictures a thumbnail has.
        scripts: Names of scripts beside the template, joined to one: the only one in the page that may run.
        **values: Values for the template.
    """
    dark = "oklch(from {0} max(l, .66) c h)"  # light enough for the dark theme
    colors = "".join(
        f".k{index}{{--color:light-dark({entry.color},{dark.format(entry.color)})}}"
        for index, entry in enumerate(classes)
    )
    style, code = _source("style.css") + colors, "".join(map(_source, scripts))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cartcls.runtime.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    policy = f"default-src 'none'; base-uri 'none'; form-action 'none'; img-src 'self'; style-src {_allow(style)}"
    if code:
        policy += f"; script-src {_allow(code)} 'self'"
    return environment.get_template(template).render(
        values, panels=panels, style=Markup(style), script=Markup(code), policy=policy
    )


def reasons(cell: Cell) -> list[str]:
    """Why a cell is not `ok`, as a sentence, without figures and names, so that cells can be grouped by reason."""
    if cell.status == "duplicate":
        return [REPEATED if cell.same_cell_as is None else SEEN_TWICE]
    return [re.sub(r"\s*\([^()]*\)\s*$", "", reason) for reason in _told(cell).split("; ") if reason]


def _told(cell: Cell) -> str:
    """The reason of a cell; that of a file which was rejected is stored without its subject."""
    subject = "" if cell.status != "rejected" or cell.reason == NO_NUMBER else "the file "
    return subject + cell.reason


def _counted(summary: Summary) -> int:
    return sum(row.count for row in summary.rows) + sum(summary.others.values())


def _known(facts: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in facts.items() if value is not None}


def _source(name: str) -> str:
    return (files("cartcls.runtime.reports") / "templates" / name).read_text(encoding="utf-8")


def _allow(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _write_script(file: Path, kind: str, data: object) -> None:
    """Write data as a script, the only form in which a page that was opened from disk may read a file."""
    text = f"cartcls.{kind}({json.dumps(data, separators=(',', ':'))})\n".encode()  # ASCII, whatever is in it
    if not file.exists() or file.read_bytes() != text:
        replace_file(file, text)


def _write_fields(directory: Path, fields: Mapping[int, FieldRecord], numbers: set[int]) -> None:
    """Write the files of fields that have rows with these numbers; a field is where its first row is."""
    chunks: dict[int, list[object]] = {(number - 1) // ROWS: [] for number in numbers}
    changed = {(field.seqs[0] - 1) // ROWS for field in fields.values() if not numbers.isdisjoint(field.seqs)}
    chunks |= {chunk: [] for chunk in changed}
    for field in fields.values():
        if (chunk := (field.seqs[0] - 1) // ROWS) in chunks:
            picture = field_picture(field.seqs[0])
            chunks[chunk].append([picture, field.width, field.height, field.smudges, field.seqs])
    for chunk, data in chunks.items():
        _write_script(directory / DATA / f"fields-{chunk:04d}.js", "fields", data)


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
    }


def _meta(bundle: Bundle, report: str, summary: Summary, last: int, has_maps: bool) -> dict[str, object]:
    places = {entry.name: index for index, entry in enumerate(bundle.classes)}
    of_fields = summary.smudges is not UNSET
    crops = crops_of(bundle) if of_fields else None
    classes = [
        {"index": places[entry.name], "name": entry.name, "title": entry.title, "key": KEYS[at : at + 1]}
        for at, entry in enumerate(bundle.manifest.classes_as_read)
    ]
    return {
        "report": report,
        "slide": summary.slide,
        "bundle_sha256": bundle.sha256,
        "classes": classes,
        "fields": list(_row(Cell(1, "", "ok", "", ""))),
        "files": -(-last // ROWS),
        "ofFields": of_fields,
        "notSearched": [entry.name for entry in bundle.classes if of_fields and entry.kind == "platelet"],
        "crop": crops and [crops.width, crops.height],
        "hasMaps": has_maps,
        "hasAttention": bundle.has_attention and has_maps,
        "panels": panels_of(bundle, has_maps),
        "pictures": [thumbnail.THE_CELL, thumbnail.GRAD_CAM, thumbnail.ATTENTION],
        "mapsInFile": MAPS,
        "data": DATA,
        "notACell": NOT_A_CELL,
        "unsure": UNSURE,
        "ofWholeSlides": [NOT_CALIBRATED, UNLIKE, TOO_FEW],
        "other": OTHER,
        "thumbnailHeight": thumbnail.HEIGHT,
        "strength": thumbnail.STRENGTH,
        "colors": base64.b64encode(thumbnail.colors().tobytes()).decode(),
    }


def _flagged(cells: Sequence[Cell]) -> list[tuple[str, str, int, list[Cell]]]:
    """Status, reason, count, and the first cells with a picture, of each reason; the most frequent first."""
    counts: Counter[tuple[str, str]] = Counter()
    shown: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        for reason in reasons(cell):
            key = cell.status, reason
            counts[key] += 1
            if cell.thumbnail and len(shown.setdefault(key, [])) < PICTURES:
                shown[key].append(cell)
    return [
        (status, reason, count, shown.get((status, reason), [])) for (status, reason), count in counts.most_common()
    ]
