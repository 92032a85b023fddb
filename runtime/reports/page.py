"""A slide's page, its summary, and the data files of cells that the page loads when it needs them."""

import base64
import hashlib
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

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
from ..ledger.records import OTHER, Cell, Run
from ..ledger.signatures import Signature
from ..ledger.slide_ledger import SlideLedger
from .compiled_templates import environment
from .finding import MEANING
from .page_data import MAPS, ROW_FIELDS, ROWS, fields_of, maps_of, reasons, row_of, write_script
from .slide_review import TOO_FEW, UNLIKE, cells_of
from .slide_state import SlideState
from .summary import Summary, summarize
from .table import CSV

PAGE, SUMMARY, DATA = "report.html", "summary.json", "cells"
PICTURES = 6  # of each reason
PROVENANCE = (
    *("slide", "source", "bundle", "bundle_sha256", "bundle_split", "bundle_adjustment", "levels", "scale"),
    *("backend", "precision", "device", "version", "started_at", "last_analysed_at"),
)  # of the summary
SCRIPTS = ("cells.js", "corrections.js", "gallery.js", "cell.js", "fields.js", "field.js", "tools.js")
LIVE_SCRIPTS = (
    *("station.js", "slide_info.js", "comments.js"),
    *("kept.js" if name == "corrections.js" else name for name in SCRIPTS),
)
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
        write_script(directory / DATA, "rows", chunk, [row_of(cell) for cell in cells[first:end]])
    for chunk in sorted({(number - 1) // MAPS for number in numbers}):
        write_script(directory / DATA, "maps", chunk, maps_of(ledger, chunk))
    if summary.smudges is not UNSET:
        for chunk, fields in fields_of(ledger.fields(), set(numbers)).items():
            write_script(directory / DATA, "fields", chunk, fields)
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
    live: Mapping[str, object] | None = None,
) -> str:
    """Render `report.html`: the differential or finding, what was flagged, its provenance, and a place for the cells.

    Args:
        bundle: The bundle that made them.
        report: Unique id of the report.
        cells: All rows.
        summary: Their summary.
        has_maps: Whether thumbnails show a heat map beside the cell.
        own: The rows by what each picture says, after an alarm: what was flagged is counted by them.
        live: What the page of a station knows beside that; None for a page that is opened from disk.
    """
    classes, places = bundle.classes, {entry.name: index for index, entry in enumerate(bundle.classes)}
    without = summary.differential_without_proposals or summary.finding_without_proposals
    shown = summary.finding.shown if summary.finding else []
    by_seq = {cell.seq: cell for cell in cells if cell.seq in shown}
    return render(
        PAGE,
        classes,
        panels_of(bundle, has_maps),
        scripts=SCRIPTS if live is None else LIVE_SCRIPTS,
        live=live is not None,
        signatures=_last_signatures(summary.signatures),
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
        info=summary.info or None,
        absolute=summary.absolute_counts or None,
        has_boxes=bundle.has_boxes,
        has_attention=bundle.has_attention and has_maps,
        meta=_meta(bundle, report, summary, max((cell.seq for cell in cells), default=0), has_maps) | dict(live or {}),
    )


def panels_of(bundle: Bundle, has_maps: bool) -> int:
    """How many pictures a thumbnail has side by side: the cell, its heat map, its attention."""
    return 1 + has_maps + (has_maps and bundle.has_attention)


def render(
    template: str,
    classes: Sequence[CellClass],
    panels: int = 2,
    scripts: Sequence[str] = (),
    live: bool = False,
    **values: Any,
) -> str:
    """Render one of the package's templates; all values are escaped, and no other script can run in it.

    Args:
        template: Name of the template.
        classes: Their colours are `--color` of the style classes `k0`, `k1`, ….
        panels: How many pictures a thumbnail has.
        scripts: Names of scripts beside the template, joined to one: the only one in the page that may run.
        live: Whether it may ask the station that it comes from.
        **values: Values for the template.
    """
    dark = "oklch(from {0} max(l, .66) c h)"  # light enough for the dark theme
    colors = "".join(
        f".k{index}{{--color:light-dark({entry.color},{dark.format(entry.color)})}}"
        for index, entry in enumerate(classes)
    )
    style, code = _source("style.css") + colors, "".join(map(_source, scripts))
    asks = "form-action 'self'; connect-src 'self'" if live else "form-action 'none'"
    policy = f"default-src 'none'; base-uri 'none'; {asks}; img-src 'self'; style-src {_allow(style)}"
    if code:
        policy += f"; script-src {_allow(code)} 'self'"
    values |= {"live": live, "style": Markup(style), "script": Markup(code), "policy": policy}
    return environment().get_template(template).render(values, panels=panels)


def _last_signatures(signatures: Sequence[Signature]) -> list[Signature]:
    """Those that hold; where none does, those that were made last, for the same rows."""
    return [made for made in signatures if not made.is_void] or [
        made for made in signatures if made.digest == signatures[-1].digest
    ]


def _counted(summary: Summary) -> int:
    return sum(row.count for row in summary.rows) + sum(summary.others.values())


def _known(facts: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in facts.items() if value is not None}


def _source(name: str) -> str:
    return (files("cartcls.runtime.reports") / "templates" / name).read_text(encoding="utf-8")


def _allow(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _meta(bundle: Bundle, report: str, summary: Summary, last: int, has_maps: bool) -> dict[str, object]:
    places = {entry.name: index for index, entry in enumerate(bundle.classes)}
    of_fields = summary.smudges is not UNSET
    crops = crops_of(bundle) if of_fields else None
    classes = [
        {
            **{"index": places[entry.name], "name": entry.name, "title": entry.title, "key": KEYS[at : at + 1]},
            "alwaysReview": entry.always_review,
        }
        for at, entry in enumerate(bundle.manifest.classes_as_read)
    ]
    return {
        "report": report,
        "slide": summary.slide,
        "bundle_sha256": bundle.sha256,
        "classes": classes,
        "fields": ROW_FIELDS,
        "files": -(-last // ROWS),
        "ofFields": of_fields,
        "notSearched": [entry.name for entry in bundle.classes if of_fields and entry.kind == "platelet"],
        "crop": crops and [crops.width, crops.height],
        "hasMaps": has_maps,
        "hasAttention": bundle.has_attention and has_maps,
        "panels": panels_of(bundle, has_maps),
        "pictures": [thumbnail.THE_CELL, thumbnail.GRAD_CAM, thumbnail.ATTENTION],
        "mapsInFile": MAPS,
        "rowsInFile": ROWS,
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
