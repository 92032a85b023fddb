"""A slide's rows: what is known of each cell, and its line in `cells.csv`."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..bundle.bundle import Bundle
from ..bundle.manifest import NOT_A_CELL, UNSURE

CSV, THUMBNAILS = "cells.csv", "thumbnails"
OTHER = "other: "

Status = Literal["ok", "review", "rejected", "duplicate"]


@dataclass(frozen=True)
class Run:
    """What was the same for every cell of a slide.

    Attributes:
        slide: Readable name of the slide.
        source: Readable path of its folder.
        bundle: Model that was used.
        backend: Such as `openvino`.
        precision: What the backend really computed in.
        device: Name of the processor.
        version: Version of cartcls.
        started_at: UTC, ISO 8601.
    """

    slide: str
    source: str
    bundle: Bundle
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
        status: `ok`; `review`: a person must look; `rejected`: no label; `duplicate`: same bytes as an earlier cell.
        reason: Why it is not `ok`.
        analysed_at: UTC, ISO 8601.
        label: Name of the class, or None.
        probabilities: Probability by class name, in the bundle's order; empty where there is no label.
        thumbnail: Path of the thumbnail within the report, or None.
        sha256: Digest of the file, or None where it could not be read.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        corrected_label: What a person called it: a class, `not a cell`, `unsure`, or `other: ` and a name.
        corrected_by: Who that was.
        corrected_at: UTC, ISO 8601.
        maps: Heat maps of all classes, as `heatmap.pack` gives them; empty where there are none. A ledger keeps them
            apart from the row.
        distance: How far its features are from the training cells; None where the bundle is not calibrated.
        stain: How far its colours are from theirs.
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
    maps: bytes = b""
    distance: float | None = None
    stain: float | None = None

    @property
    def confidence(self) -> float | None:
        """Probability of the label."""
        return max(self.probabilities, default=None)

    @property
    def can_be_corrected(self) -> bool:
        """Whether it is a cell with a label: neither rejected, nor the same bytes as another."""
        return self.status in ("ok", "review")

    @property
    def present_label(self) -> str | None:
        """What a person called it, else what the model did."""
        return self.corrected_label or self.label

    @property
    def counts_as(self) -> str | None:
        """Label that it counts by; the model's while a person is unsure; None where it does not count."""
        if not self.can_be_corrected or self.corrected_label == NOT_A_CELL:
            return None
        return self.label if self.corrected_label == UNSURE else self.present_label

    @property
    def awaits_review(self) -> bool:
        """Whether its label is a proposal that no person has settled."""
        return self.corrected_label == UNSURE or (self.status == "review" and self.corrected_label is None)


@dataclass(frozen=True)
class Correction:
    """What a person called a cell.

    Attributes:
        seq: Number of the cell.
        sha256: Digest of the bytes that were looked at.
        from_label: What it was called before.
        to_label: What it is called now; the same where a label was confirmed.
        corrected_by: Who that was.
        corrected_at: UTC, ISO 8601.
    """

    seq: int
    sha256: str
    from_label: str
    to_label: str
    corrected_by: str
    corrected_at: str


def write_csv(file: Path, run: Run, cells: Sequence[Cell]) -> None:
    """Write one row per cell, in `seq` order."""
    text = csv_header(run.bundle) + "".join(csv_line(run, cell) for cell in cells)
    file.write_text(text, encoding="utf-8", newline="")


def csv_header(bundle: Bundle) -> str:
    """First line of a CSV of cells."""
    names = ["seq", "slide", "path", "label", "confidence", "status", "reason"]
    names += [f"p_{entry.name}" for entry in bundle.classes]
    names += ["corrected_label", "corrected_by", "corrected_at", "thumbnail", "sha256", "width", "height"]
    names += ["bundle", "bundle_sha256", "backend", "precision", "version", "analysed_at"]
    return _csv(names)


def csv_line(run: Run, cell: Cell) -> str:
    """One cell's line."""
    probabilities = [f"{p:.6f}" for p in cell.probabilities] or [""] * len(run.bundle.classes)
    confidence = "" if cell.confidence is None else f"{cell.confidence:.6f}"
    row = [cell.seq, run.slide, cell.path, cell.label, confidence, cell.status, cell.reason, *probabilities]
    row += [cell.corrected_label, cell.corrected_by, cell.corrected_at]
    row += [cell.thumbnail, cell.sha256, cell.width, cell.height]
    row += [run.bundle.name, run.bundle.sha256, run.backend, run.precision, run.version, cell.analysed_at]
    return _csv(row)


def corrected_line(line: str, run: Run, cell: Cell) -> str:
    """A cell's line anew, after a correction: the older line says what computed it, whatever ran since."""
    *_, backend, precision, version, _ = next(csv.reader([line]))
    return csv_line(replace(run, backend=backend, precision=precision, version=version), cell)


def _csv(values: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()
