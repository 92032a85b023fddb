"""Records of the ledger: slides, images, runs, cells and corrections."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Literal

from ..bundle.manifest import NOT_A_CELL, UNSURE
from ..images.decode import Fingerprint

OTHER, TAKEN_BACK = "other: ", ""
FIELDS = "fields"  # folder of a report

Status = Literal["ok", "review", "rejected", "duplicate", "empty", "gone"]
State = Literal["seen", "queued", "retry", "reported", "rejected", "quarantined", "gone", "vanished"]

Box = tuple[int, int, int, int]
"""Where a cell lies in its field, or picture: left side, upper side, width and height, in pixels."""

Picture = tuple[int, str, Box | None]
"""What a person sees: number of the cell, digest of its file, and its box in a field."""

WAITING: tuple[State, ...] = ("seen", "queued", "retry")
MAX_ATTEMPTS = 5  # kills that an image did not cause may hit it twice, hardly ever five times


@dataclass(frozen=True)
class Slide:
    """A slide in the ledger.

    Attributes:
        id: Its number in the ledger.
        source: Folder of its images.
        name: Folder of its report, among the reports.
        report: Unique id of its report, hexadecimal.
    """

    id: int
    source: bytes
    name: str
    report: str


@dataclass(frozen=True)
class LedgerImage:
    """An image that the ledger knows.

    Attributes:
        id: Its number in the ledger.
        path: Bytes, relative to the slide.
        state: See `cartcls.runtime.ledger.slide_ledger`.
        attempts: How often its classification was started.
        seq: Its row, once it has one; the first of several.
        fingerprint: Of the file that its row was made from; None before.
    """

    id: int
    path: bytes
    state: State
    attempts: int
    seq: int | None
    fingerprint: Fingerprint | None


@dataclass(frozen=True)
class Run:
    """What was the same for every cell that one process classified.

    Attributes:
        slide: Name of its report, among the reports.
        source: Readable path of its folder.
        backend: Such as `openvino`.
        precision: Precision that the backend really used.
        device: Name of the processor.
        version: Version of cartcls.
        started_at: UTC, ISO 8601.
    """

    slide: str
    source: str
    backend: str
    precision: str
    device: str
    version: str
    started_at: str


@dataclass(frozen=True)
class Cell:
    """One row of a report.

    Attributes:
        seq: Number within the slide, from 1.
        path: Readable path within the slide.
        status: `ok`; `review`: a person must look; `rejected`: no label; `duplicate`: the same bytes, or the same cell
            of the slide, as another row; `empty`: a field with no cell; `gone`: its file is no longer in the slide's
            folder, or does not show it any more. In a ledger, by what the cell's own picture says.
        reason: Why it is not `ok`.
        analysed_at: UTC, ISO 8601.
        label: Name of the class that the model gave, or None.
        probabilities: Probability by class name, in the bundle's order; empty where there is no label.
        thumbnail: Path of the thumbnail within the report, or None.
        sha256: Digest of the file, or None where it could not be read.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        corrected_label: Label that a person gave it: a class, `not a cell`, `unsure`, or `other: ` and a name.
        corrected_by: Name of that person.
        corrected_at: UTC, ISO 8601.
        comment: What that person said of it.
        maps: Heat maps of all classes, as `thumbnail.pack` gives them; empty where there are none. A ledger stores
            them apart from the row.
        distance: Distance of its features from the training cells; None where the bundle is not calibrated.
        stain: Distance of its colours from theirs.
        path_encoded: Whether `path` is percent-encoded.
        part: Its number in its field, in reading order, from 1; None where the file is one cell, as all that follow.
        x: Left side of its box in the field, in pixels of the file.
        y: Upper side of its box.
        w: Width of its box.
        h: Height of its box.
        scale: How much larger the model saw it than it is in the file.
        mpp: µm per pixel of the file.
        at_edge: Whether the field's border may cut it.
        same_cell_as: Number of the row in which the same cell is counted, of a field that overlaps this one.
        box_x: Left side of the box in which the model finds the cell, in pixels of the picture, or of the crop where it
            is of a field; None where the model gives no box.
        box_y: Upper side of that box.
        box_w: Its width.
        box_h: Its height.
    """

    seq: int
    path: str
    status: Status
    reason: str
    analysed_at: str
    label: str | None = None
    probabilities: tuple[float, ...] = ()
    thumbnail: str | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    corrected_label: str | None = None
    corrected_by: str | None = None
    corrected_at: str | None = None
    comment: str = ""
    maps: bytes = b""
    distance: float | None = None
    stain: float | None = None
    path_encoded: bool = False
    part: int | None = None
    x: int | None = None
    y: int | None = None
    w: int | None = None
    h: int | None = None
    scale: float | None = None
    mpp: float | None = None
    at_edge: bool | None = None
    same_cell_as: int | None = None
    box_x: int | None = None
    box_y: int | None = None
    box_w: int | None = None
    box_h: int | None = None

    @property
    def box_found(self) -> Box | None:
        """Where the model finds it in its picture, or crop; None where the model gives no box."""
        if self.box_x is None or self.box_y is None or self.box_w is None or self.box_h is None:
            return None
        return self.box_x, self.box_y, self.box_w, self.box_h

    @property
    def box(self) -> Box | None:
        """Where it lies in its field; None where the file is one cell."""
        if self.x is None or self.y is None or self.w is None or self.h is None:
            return None
        return self.x, self.y, self.w, self.h

    @property
    def picture(self) -> Picture:
        """What is seen of it."""
        return self.seq, self.sha256 or "", self.box

    @property
    def confidence(self) -> float | None:
        """Probability of the label."""
        return max(self.probabilities, default=None)

    @property
    def can_be_corrected(self) -> bool:
        """Whether it is a cell with a label: neither rejected, nor another one's duplicate, nor gone."""
        return self.status in ("ok", "review")

    @property
    def present_label(self) -> str | None:
        """Label that a person gave it, else the model's."""
        return self.corrected_label or self.label

    @property
    def counts_as(self) -> str | None:
        """Label that it is counted under: the model's while a person is unsure; None if it is not counted."""
        if not self.can_be_corrected or self.corrected_label == NOT_A_CELL:
            return None
        return self.label if self.corrected_label == UNSURE else self.present_label

    @property
    def is_decided(self) -> bool:
        """Whether a person has confirmed or changed its label."""
        return self.corrected_label not in (None, UNSURE)

    @property
    def present_status(self) -> str:
        """`reviewed` once a person has confirmed or changed the label, `review` if unsure, else `status`."""
        if self.corrected_label is None or not self.can_be_corrected:
            return self.status
        return "review" if self.awaits_review else "reviewed"

    @property
    def awaits_review(self) -> bool:
        """Whether its label is a proposal that no person has confirmed or changed."""
        unsure = self.corrected_label == UNSURE and self.can_be_corrected
        return unsure or (self.status == "review" and self.corrected_label is None)


@dataclass(frozen=True)
class Correction:
    """A label that a person gave a cell.

    Attributes:
        seq: Number of the cell.
        sha256: Digest of the image that the person saw.
        from_label: The label before.
        to_label: The label now; the same if it was confirmed; `TAKEN_BACK` where there is none of a person any more.
        corrected_by: Name of that person.
        corrected_at: UTC, ISO 8601.
        box: Where the cell lies in its field; None where the file is one cell.
        comment: What the person said of it.
        in_bulk: Whether it was confirmed with all cells of its class at once.
    """

    seq: int
    sha256: str
    from_label: str
    to_label: str
    corrected_by: str
    corrected_at: str
    box: Box | None = None
    comment: str = ""
    in_bulk: bool = False

    @property
    def picture(self) -> Picture:
        """What the person saw."""
        return self.seq, self.sha256, self.box

    def fits(self, cell: Cell) -> bool:
        """Whether a cell can be corrected, and is still what the person saw."""
        return cell.can_be_corrected and self.picture == cell.picture

    def applied_to(self, cell: Cell) -> Cell:
        """The cell's row with this correction."""
        if self.to_label == TAKEN_BACK:
            return replace(cell, corrected_label=None, corrected_by=None, corrected_at=None, comment="")
        return replace(
            cell,
            corrected_label=self.to_label,
            corrected_by=self.corrected_by,
            corrected_at=self.corrected_at,
            comment=self.comment,
        )


@dataclass(frozen=True)
class FieldRecord:
    """What is kept of a field beside its cells.

    Attributes:
        width: Of its file, in pixels.
        height: Likewise.
        smudges: Boxes of smashed cells, clumps and debris, which are not counted.
        plane: Its small grey picture, by which fields that overlap are found, packed; empty where it is not asked for.
        seqs: Numbers of its rows; empty before it has any.
    """

    width: int
    height: int
    smudges: tuple[Box, ...]
    plane: bytes = b""
    seqs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Result:
    """The result for one image.

    Attributes:
        image: The image.
        state: What it is from now on.
        fingerprint: Of its file.
        cells: Its rows: one, or those of all cells of a field.
        field: What is kept of the field; None where the file is one cell.
    """

    image: LedgerImage
    state: Literal["reported", "rejected", "quarantined"]
    fingerprint: Fingerprint | None
    cells: Sequence[Cell]
    field: FieldRecord | None = None


@dataclass(frozen=True)
class Cursor:
    """How much of the ledger a slide's CSV holds.

    Attributes:
        seq: Number of its last row.
        size: Length of its valid part in bytes.
        stale: Whether one of its rows was replaced, so that the file must be rewritten.
        crc: CRC-32 of the valid part, as it was written.
        mtime_ns: Time of the file after that.
        review: What the slide as a whole said of its cells when they were written.
    """

    seq: int
    size: int
    stale: bool
    crc: int = 0
    mtime_ns: int = 0
    review: str = ""


def field_picture(seq: int) -> str:
    """Path within a report of the copy of a field, by the number of its first row."""
    return f"{FIELDS}/{seq:06d}.jpg"


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
