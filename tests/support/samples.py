"""A run and its cells, where a test does not care what is in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.ledger.records import Cell, Run
from cartcls.runtime.ledger.slide_ledger import SlideLedger
from cartcls.runtime.reports.differential import Differential
from cartcls.runtime.reports.finding import Finding
from cartcls.runtime.reports.summary import Summary

TIME = "2026-01-02T03:04:05Z"
RUN = Run("s-1", "/captures/s-1", "openvino", "bf16", "a processor", "0.1.0", TIME)
CLASSES = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")


def a_cell(seq: int = 1, label: str = "lymphocyte", **others: object) -> Cell:
    """A cell that passes, with a probability of 0.93 for its label and 0.01 for the other classes."""
    probabilities = tuple(0.93 if name == label else 0.01 for name in CLASSES)
    picture, digest = f"thumbnails/{seq:06d}.jpg", f"{seq:064x}"
    cell = Cell(seq, f"{seq}.jpg", "ok", "", TIME, label, probabilities, picture, digest, 360, 363)
    return replace(cell, **{"distance": 0.0, "stain": 0.0, **others})


@contextmanager
def begun_slide(folder: Path) -> Iterator[SlideLedger]:
    """A slide without rows, in a ledger of its own."""
    with Ledger(folder / "ledger.sqlite") as ledger:
        slide = ledger.add_slide(b"/captures/s", "s")
        slide.begin_run(RUN)
        yield slide


def differential_of(summary: Summary) -> Differential:
    """The differential of a slide that has one, and no finding."""
    assert summary.differential is not None
    assert summary.finding is None and summary.finding_without_proposals is None
    return summary.differential


def finding_of(summary: Summary) -> Finding:
    """The finding of a slide that has one, and no differential."""
    assert summary.finding is not None
    assert summary.differential is None and summary.differential_without_proposals is None
    return summary.finding
