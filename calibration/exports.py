"""Exports of corrections: what they say of themselves, and those whose pictures would be read as other colours."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from ..runtime.errors import DataError, ImageError
from ..runtime.images.decode import decode, read_file
from ..runtime.reports.export_reviewed import EXPORT, ExportSummary


def read_export(data_dir: Path) -> ExportSummary | None:
    """Read `cartcls-export.json`; None where the folder is no export.

    Raises:
        DataError: It cannot be read.
    """
    file = data_dir / EXPORT
    if not file.exists():
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=ExportSummary)
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{file} cannot be read ({error}): export the corrections again") from None


def check_full_range(data_dir: Path, files: Iterable[Path]) -> None:
    """Refuse an export with pictures of 16 bits whose labels were made with declared levels.

    Only the full range is known where labelled cells are read, so the colours would be others than the reviewer saw.

    Args:
        data_dir: The folder.
        files: Images in it.

    Raises:
        DataError: It has such pictures, or it is an export that cannot be read.
    """
    export = read_export(data_dir)
    declared = [(slide.slide, slide.levels) for slide in export.slides if slide.levels] if export else []
    if not declared:
        return
    slide, levels = declared[0]
    for file in files:
        try:
            deep = decode(read_file(file).data, file.suffix, levels).deep
        except ImageError:  # told where it is needed
            continue
        if deep:
            raise DataError(
                f"{file} has 16 bits per channel, and the slide {slide} was classified {levels}, which only batch and"
                f" watch know: write the pictures of 16 bits in {data_dir} with 8 bits, scaled by these values, under"
                " the same names"
            )
