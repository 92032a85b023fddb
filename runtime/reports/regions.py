"""Cells of whole fields as GeoJSON: one file per field, which QuPath 0.4 or later imports into the open image.

Coordinates are pixels of the field's file from its upper left corner, y downwards. Rings are counterclockwise as RFC
7946 (3.1.6) has it if their numbers are taken as x and y of a plane; on the screen, where y goes down, clockwise.
QuPath reads either. It reads `metadata` from 0.5 on, and shows `ANNOTATION_DESCRIPTION` as an annotation's description.
"""

import hashlib
import json
import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct, to_builtins

from ..bundle.bundle import Bundle
from ..bundle.manifest import NOT_A_CELL, UNSURE
from ..errors import OutputError
from ..files import whole_folder, writing
from ..images.discover import readable_name, valid_name
from ..ledger.folder import existing_ledger
from ..ledger.ledger import Ledger
from ..ledger.records import OTHER, Box, Cell, FieldRecord
from ..ledger.slide_ledger import SlideLedger
from .slide_review import cells_of

REGIONS, INDEX = "regions", "cartcls-regions.json"
IGNORED = "Ignore*"  # QuPath ignores classes whose names end in an asterisk
GREY = "#808080"  # of labels that are no class of the bundle
NOT_IN_CLASSES = re.compile(
    r"\s*[:*]+\s*"
)  # QuPath divides a name at a colon, and an asterisk at its end has a meaning


class FieldRegions(Struct, frozen=True):
    """A field in an export.

    Attributes:
        path: Its readable path within the slide.
        file: Name of its GeoJSON file; empty where there is none.
        cells: Number of cells in that file, duplicates included.
        awaiting_review: How many of them await review.
        duplicates: How many of them another row counts.
        smudges: Number of smudges in it.
        problem: Why there is no file; empty where there is one.
    """

    path: str
    file: str
    cells: int = 0
    awaiting_review: int = 0
    duplicates: int = 0
    smudges: int = 0
    problem: str = ""


class Regions(Struct, frozen=True):
    """What `cartcls-regions.json` holds.

    Attributes:
        slide: Name of the slide's report.
        report: Unique id of the report.
        fields: In the order of their rows.
    """

    slide: str
    report: str
    bundle: str
    bundle_sha256: str
    fields: list[FieldRegions]


@dataclass(frozen=True)
class _Field:
    path: bytes
    cells: Sequence[Cell]
    record: FieldRecord | None


def export_regions(out: Path, name: str, folder: Path | None = None) -> tuple[Path, Regions]:
    """Write the cells of a slide of whole fields as GeoJSON, one file per field.

    A field without a cell has a file without one; a field that could not be read has none. What is gone is left out.

    Args:
        out: Folder of reports.
        name: Name of the slide's report.
        folder: Folder to write; an earlier export there is replaced. None: `regions` in the slide's report.

    Returns:
        The folder, and what is in it.

    Raises:
        OutputError: There is no ledger, or no such slide, or it is not one of fields, or the folder cannot be written.
    """
    folder = folder or out / name / REGIONS
    with existing_ledger(out, "regions") as (ledger, bundle):
        slide = _slide_of_fields(out, name, ledger)
        with writing(folder):
            if folder.exists() and not (folder / INDEX).is_file() and not _is_empty(folder):
                raise OutputError(f"{folder} exists and is not an export of regions: name another folder with --to")
            with whole_folder(folder) as unfinished:
                made = _write(slide, bundle, unfinished)
    return folder, made


def feature_collection(
    cells: Iterable[Cell], smudges: Iterable[Box], bundle: Bundle, report: str, path: str
) -> dict[str, object]:
    """Cells and smudges of one field, as an object of GeoJSON.

    Args:
        cells: Its rows, as the slide makes them; those without a box, and those that are gone, are left out.
        smudges: Boxes of what was found and is not counted.
        bundle: The bundle that made the rows.
        report: Unique id of the slide's report, of which ids are made.
        path: The field's readable path.
    """
    features = [_of_cell(cell, cell.box, bundle, report) for cell in cells if cell.box and cell.status != "gone"]
    features += [_of_smudge(box, f"{report}/{path}/{number}", path) for number, box in enumerate(smudges, 1)]
    return {"type": "FeatureCollection", "features": features}


def _slide_of_fields(out: Path, name: str, ledger: Ledger) -> SlideLedger:
    slides = {slide.slide.name: slide for slide in ledger.slides()}
    if (slide := slides.get(name)) is None:
        there = ", ".join(slides) or "none"
        raise OutputError(f"{out} has no slide {name!r}: give --slide one of those there: {there}")
    if slide.last_run() is None:
        raise OutputError(f"{name} has no rows yet: run the command again that was to classify it")
    if not slide.facts().fields:
        raise OutputError(
            f"{name} was classified as crops of single cells, which lie in no field: where its files are whole fields,"
            " classify it with `cartcls batch SLIDE_DIR --fields --fresh`"
        )
    return slide


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _write(slide: SlideLedger, bundle: Bundle, folder: Path) -> Regions:
    fields = _fields(slide, bundle)
    files = _file_names([field.path for field in fields])
    made = [
        _write_field(field, file, bundle, slide.slide.report, folder) for field, file in zip(fields, files, strict=True)
    ]
    regions = Regions(slide.slide.name, slide.slide.report, bundle.name, bundle.sha256, made)
    (folder / INDEX).write_text(json.dumps(to_builtins(regions), indent=2) + "\n", encoding="utf-8")
    return regions


def _fields(slide: SlideLedger, bundle: Bundle) -> list[_Field]:
    """Fields that are there, in the order of their rows."""
    owners, records = slide.owners(), slide.fields()
    paths = {image.id: image.path for image in slide.images().values()}
    cells: defaultdict[int, list[Cell]] = defaultdict(list)
    for cell in cells_of(slide, bundle):
        if cell.status != "gone":
            cells[owners[cell.seq]].append(cell)
    return [_Field(paths[image], rows, records.get(image)) for image, rows in cells.items()]


def _file_names(paths: Iterable[bytes]) -> list[str]:
    """A file name for each field, of which no two are one where upper and lower case are the same."""
    names: dict[str, str] = {}
    for path in paths:
        digest = hashlib.sha256(path).hexdigest()[:8]
        free = stem = valid_name(path.replace(b"/", b"-"), digest)
        number = 1
        while free.casefold() in names:
            number += 1
            free = f"{stem}-{number}"
        names[free.casefold()] = f"{free}.geojson"
    return list(names.values())


def _write_field(field: _Field, file: str, bundle: Bundle, report: str, folder: Path) -> FieldRegions:
    path = readable_name(field.path)
    if field.record is None:
        row = field.cells[0]
        return FieldRegions(path, "", problem=f"{row.status}: {row.reason}")
    found = feature_collection(field.cells, field.record.smudges, bundle, report, path)
    (folder / file).write_text(json.dumps(found, allow_nan=False) + "\n", encoding="utf-8")
    boxed = [cell for cell in field.cells if cell.box]
    return FieldRegions(
        path,
        file,
        cells=len(boxed),
        awaiting_review=sum(cell.awaits_review for cell in boxed),
        duplicates=sum(cell.status == "duplicate" for cell in boxed),
        smudges=len(field.record.smudges),
    )


def _of_cell(cell: Cell, box: Box, bundle: Bundle, report: str) -> dict[str, object]:
    unsure = cell.corrected_label == UNSURE
    label = (cell.label if unsure else cell.present_label) or ""
    reason = "; ".join(filter(None, (cell.reason, "a person was unsure" if unsure else "")))
    told = {
        "seq": str(cell.seq),
        "path": cell.path,
        "status": cell.present_status,
        "reason": reason,
        "label": label,
        "model_label": cell.label or "",
        "corrected_by": cell.corrected_by or "",
        "same_cell_as": str(cell.same_cell_as or ""),
    }
    measured = {f"p_{entry.name}": p for entry, p in zip(bundle.classes, cell.probabilities, strict=False)}
    if cell.confidence is not None:
        measured = {"confidence": cell.confidence, **measured}
    described = f"{cell.present_status}: {reason}" if reason else cell.present_status
    return _feature(
        box,
        f"{report}/{cell.seq}",
        f"no. {cell.seq}",
        _classification(label, bundle),
        {name: round(value, 6) for name, value in measured.items()},
        {**{name: text for name, text in told.items() if text}, "ANNOTATION_DESCRIPTION": described},
    )


def _of_smudge(box: Box, key: str, path: str) -> dict[str, object]:
    described = "not counted: a smashed cell, a clump or debris"
    told = {"path": path, "status": "smudge", "ANNOTATION_DESCRIPTION": described}
    return _feature(box, key, "smudge", _class(IGNORED, GREY), {}, told)


def _feature(
    box: Box,
    key: str,
    name: str,
    classification: Mapping[str, object] | None,
    measurements: Mapping[str, float],
    metadata: Mapping[str, str],
) -> dict[str, object]:
    """A feature whose id is the same in each export, so that QuPath notices a second import.

    An annotation, since it is to be reviewed: QuPath lists annotations by name, shows their description, and lets a
    person change class and box. Detections are for objects by the million: not listed, and their outlines are fixed.
    """
    x, y, w, h = box
    ring = [[x, y], [x + w, y], [x + w, y + h], [x, y + h], [x, y]]
    properties: dict[str, object] = {"objectType": "annotation", "name": name}
    if classification is not None:
        properties["classification"] = classification
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, key)),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {**properties, "measurements": measurements, "metadata": metadata},
    }


def _classification(label: str, bundle: Bundle) -> dict[str, object] | None:
    """QuPath's class for a label; None for none."""
    if not label or label == NOT_A_CELL:
        return _class(IGNORED, GREY) if label else None
    for entry in bundle.classes:
        if entry.name == label:
            return _class(_class_name(entry.title), entry.color)
    return _class(_class_name(label.removeprefix(OTHER)), GREY)


def _class_name(name: str) -> str:
    return NOT_IN_CLASSES.sub(" ", name).strip() or "other"


def _class(name: str, color: str) -> dict[str, object]:
    return {"name": name, "color": list(bytes.fromhex(color[1:]))}
