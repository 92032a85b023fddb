"""A slide's report: `cells.csv`, `summary.json` and `report.html`, beside `thumbnails/`."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2

from .bundle import NAMED_CAR_T, Bundle
from .calibration import calibration_facts
from .differential import differential
from .drift import drift
from .files import replace_file

CSV, SUMMARY, PAGE, THUMBNAILS = "cells.csv", "summary.json", "report.html", "thumbnails"

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
    distance: float | None = None
    stain: float | None = None

    @property
    def confidence(self) -> float | None:
        """Probability of the label."""
        return max(self.probabilities, default=None)


def write_summary(directory: Path, run: Run, cells: Sequence[Cell], waiting: int) -> dict[str, Any]:
    """Write summary and page of a slide beside its table.

    Args:
        directory: Folder of the report.
        run: What is the same for all cells.
        cells: All rows.
        waiting: Number of images that have no row yet.

    Returns:
        The summary, as written to `summary.json`.

    Raises:
        OSError: A file cannot be written; the older one stays as it was.
    """
    summary = summarize(run, cells, waiting)
    replace_file(directory / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())
    replace_file(directory / PAGE, render_page(run, cells, summary).encode())
    return summary


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
    row += ["", "", "", cell.thumbnail, cell.sha256, cell.width, cell.height]
    row += [run.bundle.name, run.bundle.sha256, run.backend, run.precision, run.version, cell.analysed_at]
    return _csv(row)


def _csv(values: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def summarize(run: Run, cells: Sequence[Cell], waiting: int) -> dict[str, Any]:
    """Differential, counts and provenance of a slide, ready for JSON."""
    counted = Counter(cell.label for cell in cells if cell.label and cell.status in ("ok", "review"))
    statuses = Counter(cell.status for cell in cells)
    measured = [
        (cell.label, cell.distance, cell.stain)
        for cell in cells
        if cell.label and cell.distance is not None and cell.stain is not None
    ]
    record = run.bundle.manifest["calibration"]
    return {
        "slide": run.slide,
        "source": run.source,
        "images": len(cells) + waiting,
        "waiting": waiting,
        "status": {status: statuses[status] for status in ("ok", "review", "rejected", "duplicate")},
        "differential": differential(counted, run.bundle.classes),
        "calibrated": run.bundle.calibrated,
        "calibration": calibration_facts(record),
        "drift": drift(measured, record),
        "research_use_only": True,
        "bundle": run.bundle.name,
        "bundle_sha256": run.bundle.sha256,
        "bundle_split": run.bundle.split_unit,
        "backend": run.backend,
        "precision": run.precision,
        "device": run.device,
        "version": run.version,
        "started_at": run.started_at,
    }


def render_page(run: Run, cells: Sequence[Cell], summary: dict[str, Any]) -> str:
    """Render `report.html`: the differential first, then the cells by class, least certain first."""
    counted = [cell for cell in cells if cell.status in ("ok", "review")]
    galleries = [
        (
            entry,
            sorted((c for c in counted if c.label == entry.name), key=lambda c: (c.confidence or 0.0, c.seq)),
        )
        for entry in run.bundle.classes
    ]
    return render(
        PAGE,
        summary=summary,
        galleries=[gallery for gallery in galleries if gallery[1]],
        left_out=[cell for cell in cells if cell.status in ("rejected", "duplicate")],
        knows_car_t=any(NAMED_CAR_T.search(entry.name) for entry in run.bundle.classes),
        provenance={key: value for key, value in summary.items() if isinstance(value, str)},
        csv_name=CSV,
    )


def render(template: str, **values: Any) -> str:
    """Render one of the package's templates; whatever is put into it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cartcls.runtime"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(template).render(values)
