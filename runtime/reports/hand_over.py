"""Hands the result of a slide on to another system, as FHIR R4B or CSV."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..bundle.bundle import Bundle
from ..errors import OutputError
from ..files import writing
from ..ledger.folder import review_ledger
from ..ledger.hand_over_table import HandOver
from ..ledger.ledger import Ledger
from ..ledger.records import now
from ..ledger.signatures import Signature, signatures_of
from ..ledger.slide_ledger import SlideLedger
from .hand_over_csv import as_csv
from .hand_over_fhir import as_fhir
from .slide_review import slide_review
from .slide_state import SlideState
from .summary import Summary, summarize
from .told import Told, status_of

Format = Literal["fhir", "csv"]


def hand_over(out: Path, name: str, form: Format, is_test: bool = True) -> bytes:
    """Make what another system gets of a slide, and note that it was handed on; also while a run goes on.

    Args:
        out: Folder of reports.
        name: Name of the slide's report.
        form: FHIR R4B as JSON, or one wide row of CSV.
        is_test: Whether it is marked as test data.

    Raises:
        OutputError: There is no such slide, it has no result or no identifier of the sample, or it cannot be noted.
    """
    with review_ledger(out) as (ledger, bundle), writing(f"the ledger of {out}"):
        slide = _slide(out, name, ledger)
        told = _told(slide, bundle, ledger, is_test)
        content = as_fhir(told, bundle) if form == "fhir" else as_csv(told, bundle)
        made = HandOver(form, told.status, _digest(told.signatures), now())
        ledger.note_hand_over(slide.slide, made)
    return content


def _slide(out: Path, name: str, ledger: Ledger) -> SlideLedger:
    slides = {slide.slide.name: slide for slide in ledger.slides()}
    if (slide := slides.get(name)) is None:
        there = ", ".join(slides) or "none"
        raise OutputError(f"{out} has no slide {name!r}: give --slide one of those there: {there}")
    return slide


def _told(slide: SlideLedger, bundle: Bundle, ledger: Ledger, is_test: bool) -> Told:
    info, name = slide.info(), slide.slide.name
    if info is None or not info.sample:
        raise OutputError(
            f"{name} has no sample identifier, and the name of its folder is none: type it in cartcls review,"
            " or write a line `sample = …` into slide.toml in that folder, and let batch or watch read it"
        )
    summary = _summary(slide, bundle)
    if not sum(row.count for row in summary.rows) + sum(summary.others.values()):
        raise OutputError(f"{name} has no cell that counts: there is nothing to hand on")
    valid = [] if summary.waiting else [made for made in signatures_of(slide) if not made.is_void]
    issued = valid[-1].signed_at if valid else now()
    return Told(
        slide.slide.report,
        summary,
        info,
        status_of(_digest(valid), ledger.hand_overs(slide.slide)),
        valid,
        issued,
        is_test,
    )


def _digest(valid: Sequence[Signature]) -> str:
    """Digest of what was signed; empty where no signature holds."""
    return valid[-1].digest if valid else ""


def _summary(slide: SlideLedger, bundle: Bundle) -> Summary:
    """The slide's summary, with no look at it being taken: that is for the process that writes its rows."""
    run = slide.last_run()
    if run is None:
        raise OutputError(f"{slide.slide.name} has no rows yet: run the command again that was to classify it")
    rows = list(slide.cells())
    review = slide_review(rows, bundle, slide.alarm())
    return summarize(bundle, run, [review.applied_to(cell) for cell in rows], SlideState.of(slide))
