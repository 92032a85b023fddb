"""From predictions to rows and thumbnails."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle
from ..fields.reading import Part
from ..files import replace_files
from ..images import thumbnail
from ..inference.predictions import Prediction
from ..ledger.records import Cell, FieldRecord, LedgerImage, Result, Status, field_picture, now
from .attempts import QUARANTINED

THUMBNAILS = "thumbnails"


@dataclass(frozen=True, eq=False)
class Row:
    """A prediction and its row; None if the image is retried later."""

    prediction: Prediction
    cell: Cell | None


def same_bytes_as(path: str) -> str:
    """The reason of a duplicate, whose bytes are counted as another image."""
    return f"same bytes as {path}"


def make_cell(
    prediction: Prediction, seq: int, path: str, first: tuple[int, str] | None = None, path_encoded: bool = False
) -> Cell:
    """The row of a prediction.

    Args:
        prediction: The prediction.
        seq: Number of the row.
        path: Readable path of the image.
        first: Number and readable path of the first cell with the same bytes and box, which may be itself; None if
            there is none. The path alone does not tell: two files can share a readable one.
        path_encoded: Whether `path` is percent-encoded.
    """
    status: Status = prediction.status
    reason = "; ".join(prediction.reasons)
    reading, cams = prediction.reading, prediction.cams
    cell = Cell(
        seq,
        path,
        status,
        reason,
        now(),
        label=prediction.label,
        probabilities=tuple(prediction.probabilities.tolist()),
        thumbnail=None if prediction.label is None else f"{THUMBNAILS}/{seq:06d}.jpg",
        sha256=reading.sha256,
        width=None if prediction.label is None else reading.width,
        height=None if prediction.label is None else reading.height,
        maps=b"" if cams is None else thumbnail.pack(cams, prediction.attention),
        distance=prediction.distance,
        stain=prediction.stain,
        path_encoded=path_encoded,
    )
    cell = counted_once(cell, first)
    cell = _in_field(cell, prediction.part) if prediction.part else cell
    return cell if prediction.box is None else _with_box(cell, prediction)


def counted_once(cell: Cell, first: tuple[int, str] | None) -> Cell:
    """A row, as a duplicate where another one with the same bytes comes first; see `make_cell`."""
    if cell.label is None or first is None or first[0] == cell.seq:
        return cell
    return replace(cell, status="duplicate", reason=same_bytes_as(first[1]))


def _in_field(cell: Cell, part: Part) -> Cell:
    """The row of a cell of a field."""
    found = part.found
    box = replace(cell, part=part.number, x=found.x, y=found.y, w=found.w, h=found.h)
    return replace(box, scale=part.scale, mpp=part.mpp, at_edge=found.at_edge)


def _with_box(cell: Cell, prediction: Prediction) -> Cell:
    """The row with the box in which the model finds the cell, in whole pixels."""
    assert prediction.box is not None
    reading = prediction.reading
    size = prediction.part.crop if prediction.part else (reading.width or 0, reading.height or 0)
    corners = np.concatenate([prediction.box[:2], prediction.box[:2] + prediction.box[2:]])
    x, y, right, below = np.rint(corners * np.array([*size, *size], np.float32)).astype(int).tolist()
    return replace(cell, box_x=x, box_y=y, box_w=right - x, box_h=below - y)


def whole_files(batches: Iterable[Sequence[Row]], one_by_one: bool = False) -> Iterator[list[Row]]:
    """Rows by whole files: those of a field whose last cell is still to come wait for it, without their pixels.

    Args:
        batches: Rows whose thumbnails were drawn; the rows of a file follow each other.
        one_by_one: Whether each file comes by itself.
    """
    begun: list[Row] = []
    for batch in batches:
        begun += [_without_pixels(row) if row.prediction.part else row for row in batch]
        ends = [place for place, row in enumerate(begun, 1) if row.prediction.ends_file]
        for first, end in pairwise([0, *(ends if one_by_one else ends[-1:])]):
            yield begun[first:end]
        begun = begun[ends[-1] :] if ends else begun


def _without_pixels(row: Row) -> Row:
    """A row whose thumbnail was drawn."""
    prediction = replace(row.prediction, cams=None, attention=None, reading=replace(row.prediction.reading, small=None))
    return replace(row, prediction=prediction)


def with_thumbnails(batches: Iterable[Sequence[Row]], directory: Path, bundle: Bundle) -> Generator[Sequence[Row]]:
    """Draw the thumbnails of each batch while the next one is computed.

    Args:
        batches: Rows; taken as they are needed, in the caller's thread.
        directory: Folder of the report, with `thumbnails/`, and `fields/` where there are fields.
        bundle: The bundle that made the predictions.

    Yields:
        Each batch, once its thumbnails, and the copies of its fields, are on the disk.

    Raises:
        OSError: A thumbnail cannot be written.
    """
    pool = ThreadPoolExecutor(1)  # beside those that read; more would slow the model down
    drawn: deque[tuple[Sequence[Row], Future[None]]] = deque()
    try:
        for batch in batches:
            drawn.append((batch, pool.submit(_draw_all, batch, directory, bundle)))
            if len(drawn) > 1:
                yield _when_drawn(*drawn.popleft())
        for last in drawn:
            yield _when_drawn(*last)
    finally:
        pool.shutdown(cancel_futures=True)


def _when_drawn(batch: Sequence[Row], drawing: Future[None]) -> Sequence[Row]:
    drawing.result()
    return batch


def _draw_all(batch: Sequence[Row], directory: Path, bundle: Bundle) -> None:
    replace_files({directory / name: picture for row in batch for name, picture in _draw(row, bundle)})


def _draw(row: Row, bundle: Bundle) -> Iterator[tuple[str, bytes]]:
    """The pictures of a row, by their names in the folder of the report."""
    prediction, cell = row.prediction, row.cell
    if cell and prediction.view and (prediction.part is None or prediction.part.number == 1):
        yield field_picture(cell.seq), prediction.view.picture
    if cell is None or cell.thumbnail is None or prediction.index is None or prediction.reading.small is None:
        return
    entry = bundle.classes[prediction.index]
    caption = f"{entry.title}  {prediction.confidence:.2f}"
    explained = prediction.heat_map, caption, entry.color, prediction.box, prediction.attention
    yield cell.thumbnail, thumbnail.thumbnail(prediction.reading.small, *explained)


def result_of(image: LedgerImage, last: Prediction, cells: Sequence[Cell]) -> Result:
    """The result of an image, by its last prediction."""
    reading, view, field = last.reading, last.view, None
    done = reading.empty or any(cell.label and cell.status != "gone" for cell in cells)
    state = "reported" if done else "quarantined" if reading.error == QUARANTINED else "rejected"
    if view:
        smudges = tuple((one.x, one.y, one.w, one.h) for one in view.smudges)
        field = FieldRecord(view.width, view.height, smudges, view.plane)
    return Result(image, state, reading.fingerprint, cells, field)
