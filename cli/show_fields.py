"""What `cartcls find` does with each field, and the tables of it and of `cartcls regions`."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ..runtime.errors import ImageError, ScaleError, UsageError
from ..runtime.fields.draw import drawn
from ..runtime.fields.find import FINDER_VERSION, Field
from ..runtime.fields.reading import measure_field
from ..runtime.fields.slide_scale import FieldScale, Origin, SlideScale
from ..runtime.fields.tiles import find_in, overview
from ..runtime.files import replace_file, writing
from ..runtime.images.discover import find_images
from ..runtime.images.picture import open_picture
from .show import counted, notify, results

if TYPE_CHECKING:
    from ..runtime.reports.regions import Regions

ORIGINS: dict[Origin, str] = {"mpp": "--mpp", "file": "scale of the files", "red cells": "median of the fields"}

LONGEST = 8000  # pixels of the longer side of a copy


@dataclass(frozen=True)
class Looked:
    """A field that was looked at.

    Attributes:
        image: Its file.
        copy: The copy with boxes.
        field: What was found.
        own: What this field alone tells of its scale.
        seconds: Time to find, without reading and drawing.
    """

    image: Path
    copy: Path
    field: Field
    own: FieldScale
    seconds: float

    def as_json(self) -> dict[str, object]:
        """What programs may want to know of it."""
        return {
            "image": str(self.image),
            "copy": str(self.copy),
            "finder": FINDER_VERSION,
            "own_diameter": self.own.diameter,
            "file_mpp": self.own.mpp,
            "seconds": round(self.seconds, 4),
            "cells": [asdict(cell) for cell in self.field.cells],
            "smudges": [asdict(smudge) for smudge in self.field.smudges],
        }


def listed(images: Sequence[Path], out: Path) -> list[Path]:
    """Fields by name, those of a folder in its place.

    Raises:
        UsageError: The copies would lie among them, and be fields the next time.
    """
    found: list[Path] = []
    for image in images:
        inner = find_images(image, out) if image.is_dir() else None
        found += [image] if inner is None else [image / os.fsdecode(path) for path in inner]
    if any(image.parent.resolve() == out.resolve() for image in found):
        raise UsageError(f"{out} holds the fields themselves: name another folder with --out")
    return found


def measured(images: Sequence[Path]) -> dict[Path, FieldScale]:
    """What each field tells of its scale; a message for each that cannot be read."""
    found: dict[Path, FieldScale] = {}
    for image in dict.fromkeys(images):
        try:
            found[image] = measure_field(os.fsencode(image))
        except ImageError as error:
            notify(f"error: {image} {error}")
    if not found:
        raise ImageError("none of the fields could be read (see above)")
    return found


def look_at_all(measured: Mapping[Path, FieldScale], diameter: float, out: Path) -> list[Looked]:
    """Find the cells of all fields, and write the copies; a message for each field that cannot be used.

    Args:
        measured: What each field tells of its scale.
        diameter: Of a red cell on the slide, in pixels.
        out: Folder for the copies.

    Raises:
        ImageError: No field can be used.
        OutputError: A copy cannot be written.
    """
    looked = []
    for (image, own), copy in zip(measured.items(), copies([*measured], out), strict=True):
        try:
            looked.append(look(image, own, diameter, copy))
        except (ImageError, ScaleError) as error:
            notify(f"error: {image} {error}")
    if not looked:
        raise ImageError("none of the fields could be used (see above)")
    return looked


def look(image: Path, own: FieldScale, diameter: float, copy: Path) -> Looked:
    """Find the cells of one field, and write a copy with their boxes.

    Args:
        image: The field's file.
        own: What this field alone tells of its scale.
        diameter: Of a red cell on the slide, in pixels.
        copy: File to write.

    Raises:
        ImageError: The field cannot be read any more.
        ScaleError: The diameter does not fit the field.
        OutputError: The copy cannot be written.
    """
    with open_picture(image) as picture:
        if picture.doubt:
            notify(f"warning: {image}: {picture.doubt}")
        start = time.perf_counter()
        field = find_in(picture, diameter)
        seconds = time.perf_counter() - start
        shown, times = overview(picture, LONGEST)
    with writing(copy):
        copy.parent.mkdir(parents=True, exist_ok=True)
        replace_file(copy, drawn(shown, field.shrunk(times), diameter / times))
    return Looked(image, copy, field, own, seconds)


def copies(images: Sequence[Path], out: Path) -> list[Path]:
    """Files for the copies of fields; of fields with the same name, all but the first get a number."""
    seen: dict[str, int] = {}
    names = []
    for image in images:
        number = seen[image.name] = seen.get(image.name, 0) + 1
        names.append(out / f"{image.name}{f'-{number}' if number > 1 else ''}.found.jpg")
    return names


def table(looked: Sequence[Looked], scale: SlideScale) -> None:
    """Print a line for each field, and the scale of all."""
    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    shown.add_column("field")
    for name in ("cells", "at the edge", "maybe two", "smudges", "red cell", "seconds"):
        shown.add_column(name, justify="right")
    for found in looked:
        cells, own = found.field.cells, found.own.diameter
        shown.add_row(
            Text(found.image.name),
            str(len(cells)),
            str(sum(cell.at_edge for cell in cells)),
            str(sum(cell.joined for cell in cells)),
            str(len(found.field.smudges)),
            f"{own:.0f} px" if own else "none",
            f"{found.seconds:.3f}",
        )
    results.print(shown)
    total = sum(len(found.field.cells) for found in looked)
    told = f"red cell {scale.diameter:.1f} px ({ORIGINS[scale.origin]}), {scale.mpp:.3f} µm per pixel"
    counts = f"{counted(total, 'cell')} in {counted(len(looked), 'field')}"
    results.print(f"{counts}; {told}", markup=False, soft_wrap=True)
    results.print(f"copies with boxes in {looked[0].copy.parent}", markup=False, soft_wrap=True)


def exported_regions(folder: Path, regions: "Regions") -> None:
    """Print a line for each field in an export of regions, and the folder; first why a field has no file."""
    for field in regions.fields:
        if field.problem:
            notify(f"no file for {field.path}: {field.problem}")
    written = [field for field in regions.fields if field.file]
    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    shown.add_column("file", overflow="fold")
    for name in ("cells", "await review", "duplicates", "smudges"):
        shown.add_column(name, justify="right")
    for field in written:
        numbers = (field.cells, field.awaiting_review, field.duplicates, field.smudges)
        shown.add_row(Text(field.file), *map(str, numbers))
    results.print(shown)
    total = sum(field.cells for field in written)
    results.print(
        f"{counted(total, 'cell')} in {counted(len(written), 'file')} in {folder}", markup=False, soft_wrap=True
    )
