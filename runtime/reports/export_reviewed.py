"""Reviewed cells, as class folders to train on."""

import json
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
from msgspec import UNSET, Struct, UnsetType, to_builtins

from ..bundle.bundle import Bundle
from ..bundle.calibration import Extent
from ..bundle.manifest import NOT_A_CELL, SAFE_NAME, UNSURE
from ..errors import ImageError, OutputError
from ..fields.reading import FieldReading, FieldSearch, crop_of, read_field, search_bytes
from ..files import whole_folder, writing
from ..images.decode import RawFile, fingerprint, read_file
from ..images.discover import find_images, readable_name
from ..images.levels import Levels
from ..inference.classifier import crops_of
from ..ledger.facts import Facts
from ..ledger.folder import existing_ledger
from ..ledger.records import OTHER, Cell, LedgerImage, Slide
from ..ledger.slide_ledger import SlideLedger

EXPORT, GROUPS = "cartcls-export.json", "groups.csv"


class ExportedSlide(Struct, frozen=True):
    """Counts of one slide in an export: its counted and reviewed cells, and those that were copied.

    Attributes:
        group: Its name in `groups.csv`; empty in exports of earlier versions.
        levels: Values of 16 bits that were black and white; left out where that was the full range.
    """

    slide: str
    report: str
    source: str
    reviewed: Extent
    counted: int
    looked_at: int
    exported: int
    group: str = ""
    levels: Levels | UnsetType = UNSET


class ExportSummary(Struct, frozen=True):
    """What `cartcls-export.json` holds.

    Attributes:
        reviewed: `all` if a person confirmed or changed every counted cell of each slide in it, and each was copied;
            else `flagged`: those cells are not a representative sample of a slide.
        cells: Number of copies.
    """

    reviewed: Extent
    cells: int
    bundle: str
    bundle_sha256: str
    slides: list[ExportedSlide]


@dataclass(frozen=True)
class Exported:
    """The content of an export.

    Attributes:
        summary: As written to `cartcls-export.json`.
        missing: Why a reviewed cell is not in it, by its path.
    """

    summary: ExportSummary
    missing: dict[str, str]


def export_reviewed(out: Path, folder: Path) -> Exported:
    """Copy reviewed cells into one folder per class, each with the bytes that the person saw.

    A cell of a field is cut out of it, as the model was given it, and written as PNG.

    `not a cell` and `unsure` are left out; `other: blast` goes into the folder `blast`. `groups.csv` beside the folders
    names the slide of each image, so that a split can keep each slide in one part.

    Args:
        out: Folder of reports.
        folder: Folder to write; an earlier export there is replaced.

    Raises:
        OutputError: There is no ledger, no cell was reviewed, or the folder cannot be written.
    """
    with writing(folder):
        if folder.exists() and not (folder / EXPORT).is_file():
            raise OutputError(f"{folder} exists and is not an export: move it away, or name another folder")
    with existing_ledger(out, "correct") as (ledger, bundle), writing(folder), whole_folder(folder) as unfinished:
        slides, missing, groups = [], {}, ["path,slide\n"]
        for slide in ledger.slides():
            counts, paths, lost = _export_slide(slide, out, unfinished, bundle)
            missing |= lost
            if counts.looked_at:
                slides.append(counts)
                groups += [f"{path},{counts.group}\n" for path in paths]
        if not slides:
            raise OutputError(f"{out}: no cell was reviewed yet: apply a corrections.csv first")
        summary = _summary(bundle, slides)
        (unfinished / GROUPS).write_text("".join(groups), encoding="utf-8")
        (unfinished / EXPORT).write_text(json.dumps(to_builtins(summary), indent=2) + "\n", encoding="utf-8")
    return Exported(summary, missing)


def _summary(bundle: Bundle, slides: list[ExportedSlide]) -> ExportSummary:
    extent: Extent = "all" if all(slide.reviewed == "all" for slide in slides) else "flagged"
    return ExportSummary(extent, sum(slide.exported for slide in slides), bundle.name, bundle.sha256, slides)


def _export_slide(
    ledger: SlideLedger, out: Path, folder: Path, bundle: Bundle
) -> tuple[ExportedSlide, list[str], dict[str, str]]:
    """Counts of a slide, paths of the copies, and why others are missing."""
    rows = list(ledger.cells())
    cells = [cell for cell in rows if cell.can_be_corrected]
    reviewed = [cell for cell in cells if cell.corrected_label is not None]
    slide = ledger.slide
    images, owners = {image.id: image for image in ledger.images().values()}, ledger.owners()
    sources = _Sources(slide, out, bundle, ledger.facts())
    paths, missing = [], {}
    for cell in filter(_is_to_be_copied, reviewed):
        try:
            paths.append(_copy(slide, cell, images[owners[cell.seq]], sources, folder))
        except ImageError as error:
            missing[f"{slide.name}/{cell.path}"] = str(error)
    decided = sum(cell.corrected_label != UNSURE for cell in reviewed)
    counts = ExportedSlide(
        slide=slide.name,
        report=slide.report,
        source=readable_name(slide.source),
        reviewed="all" if decided == len(cells) and not missing else "flagged",
        counted=sum(cell.counts_as is not None for cell in cells),
        looked_at=len(reviewed),
        exported=len(paths),
        group=f"{slide.id:04d}",
        levels=ledger.facts().declared or UNSET,
    )
    gone = [cell for cell in rows if cell.status == "gone" and _is_to_be_copied(cell)]
    return counts, paths, missing | {f"{slide.name}/{cell.path}": cell.reason for cell in gone}


def _is_to_be_copied(cell: Cell) -> bool:
    return cell.corrected_label not in (None, NOT_A_CELL, UNSURE)


class _Elsewhere:
    """Files of a slide that were moved since their row was written."""

    def __init__(self, slide: Slide, out: Path):
        self._slide, self._out = slide, out
        self._by_size: defaultdict[int, list[bytes]] | None = None
        self._digests: dict[bytes, str] = {}

    def find(self, sha256: str, size: int) -> RawFile | None:
        """A file with these bytes."""
        if self._by_size is None:
            self._by_size = defaultdict(list)
            for inner in find_images(Path(os.fsdecode(self._slide.source)), self._out):
                path = os.path.join(self._slide.source, inner)
                if found := fingerprint(path):
                    self._by_size[found.size].append(path)
        for path in self._by_size[size]:
            try:
                raw = read_file(path) if self._digests.get(path, sha256) == sha256 else None
            except ImageError:
                continue
            if raw:
                self._digests[path] = raw.sha256
                if raw.sha256 == sha256:
                    return raw
        return None


def _read(slide: Slide, cell: Cell, image: LedgerImage, elsewhere: _Elsewhere) -> RawFile:
    """The bytes that the person saw, also where the file has another name now.

    Raises:
        ImageError: They are not there.
    """
    try:
        raw = read_file(os.path.join(slide.source, image.path))
        if raw.sha256 == cell.sha256:
            return raw
        raise ImageError("has changed since it was reviewed")
    except ImageError:
        size = image.fingerprint.size if image.fingerprint else 0
        if moved := elsewhere.find(cell.sha256 or "", size):
            return moved
        raise


class _Sources:
    """What cells are copied from: their files, or the fields that they are cut out of."""

    def __init__(self, slide: Slide, out: Path, bundle: Bundle, facts: Facts):
        self._slide, self._elsewhere, self._facts = slide, _Elsewhere(slide, out), facts
        self._crops = crops_of(bundle) if facts.fields else None
        self._last: tuple[str | None, FieldReading] | None = None

    def file_of(self, cell: Cell, image: LedgerImage) -> tuple[bytes, str]:
        """The file to write for a cell, and its suffix.

        Raises:
            ImageError: What the person saw is not there.
        """
        suffix = Path(os.fsdecode(image.path)).suffix
        if cell.box is None or self._crops is None:
            return _read(self._slide, cell, image, self._elsewhere).data, suffix.lower()
        if self._last is None or self._last[0] != cell.sha256:
            levels, search = self._facts.levels, FieldSearch(None, self._facts.diameter)
            field = read_field(os.path.join(self._slide.source, image.path), search, levels)
            if field.file.sha256 != cell.sha256:
                raw = _read(self._slide, cell, image, self._elsewhere)
                field = search_bytes(raw.data, suffix, search, levels)
            self._last = cell.sha256, field
        crop = crop_of(self._last[1], cell.box, self._crops)
        return cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))[1].tobytes(), ".png"


def _copy(slide: Slide, cell: Cell, image: LedgerImage, sources: _Sources, folder: Path) -> str:
    """Copy one cell; returns its path in the export.

    Raises:
        ImageError: The file is missing, is not the one that the person saw, or its label cannot be a folder.
    """
    label = (cell.corrected_label or "").removeprefix(OTHER)
    if not SAFE_NAME.fullmatch(label):
        raise ImageError(f"the label {label!r} cannot be a folder: use letters, digits, space and . + - _")
    data, suffix = sources.file_of(cell, image)
    (folder / label).mkdir(exist_ok=True)
    name = f"slide{slide.id:04d}-{cell.seq:06d}{suffix}"
    (folder / label / name).write_bytes(data)
    return f"{label}/{name}"
