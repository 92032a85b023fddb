"""What must be known of a slide before any count: warnings on page, terminal and in `summary.json`."""

from collections.abc import Sequence

from ..bundle.bundle import Bundle
from ..ledger.records import Cell
from .slide_review import NO_CELL, TOO_FEW, UNLIKE, WHOLE_FIELD
from .slide_state import SlideState

REMEDY = "check stain, lamp and objective; if they are to stay, calibrate the bundle on cells from here"


def of_slide(bundle: Bundle, labelled: Sequence[Cell], alarm: str, complete: bool) -> list[str]:
    """What the slide as a whole says of its cells."""
    if alarm and complete:
        return [f"{UNLIKE}: {alarm}. A person has looked at every cell"]
    if alarm:
        promise = "; what was promised of ok cells is withdrawn" if bundle.calibrated else ""
        return [f"{UNLIKE}: {alarm}. Every cell is for review{promise}: {REMEDY}"]
    record = bundle.manifest.calibration
    if record and any(cell.reason.startswith(TOO_FEW) for cell in labelled):
        return [f"{TOO_FEW}: {len(labelled)} of {record.slide.cells}. Every cell is for review"]
    return []


def meaningless(cells: Sequence[Cell]) -> tuple[set[int], set[int]]:
    """Numbers of the cells that look like whole fields, and of the others that show no cell."""
    fields = _flawed(cells, WHOLE_FIELD)
    return fields, _flawed(cells, NO_CELL) - fields


def _flawed(cells: Sequence[Cell], reason: str) -> set[int]:
    """Numbers of the cells that have a review reason, and no label of a person."""
    return {
        cell.seq
        for cell in cells
        if cell.status == "review"
        and cell.corrected_label is None
        and any(found.startswith(reason) for found in cell.reason.split("; "))
    }


def of_images(bundle: Bundle, whole_fields: int, no_cell: int, images: int) -> list[str]:
    """What its images show, and what its bundle is worth.

    Args:
        bundle: The bundle that made the rows.
        whole_fields: Number of images that look like whole fields.
        no_cell: Number of images that show no cell.
        images: Number of all images.
    """
    warnings = []
    if whole_fields:
        one, more = (
            "looks like a whole field of view, not a single cell",
            "look like whole fields of view, not single cells",
        )
        found = f"{whole_fields} of {images} images {one if whole_fields == 1 else more}"
        remedy = "Find the cells in whole fields with --fields --fresh"
        warnings.append(f"{found}: {_mean_nothing(whole_fields)}. {remedy}")
    if no_cell:
        found = f"{no_cell} of {images} images {'shows' if no_cell == 1 else 'show'} no cell"
        warnings.append(f"{found}: {_mean_nothing(no_cell)}")
    if bundle.problem:
        warnings.append(f"{bundle.problem}. Every cell is for review")
    if bundle.cross_validated:
        warnings.append(bundle.cross_validated)
    return warnings


def of_fields(bundle: Bundle, state: SlideState, images: int) -> list[str]:
    """What speaks against their scale, and which were not looked at, because enough cells were found before."""
    doubt = [f"{state.facts.doubt}: cells were cut out at that scale"] if state.facts.doubt else []
    if not state.unlooked:
        return doubt
    runs: list[list[int]] = []
    for place in state.unlooked:
        if runs and place == runs[-1][1] + 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    places = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in runs)
    name = ("field" if state.facts.fields else "image") + ("" if len(state.unlooked) == 1 else "s")
    wanted = "cells" if bundle.report == "finding" else "leukocytes"
    return [*doubt, f"stopped at {state.facts.leukocytes} {wanted}: {name} {places} of {images} not looked at"]


def of_info(state: SlideState) -> list[str]:
    """What is wrong with what the laboratory says of the slide."""
    if not state.facts.info_problem:
        return []
    if state.typed:
        kept = "what was typed at the station counts"
    else:
        kept = "what it said before is kept" if state.facts.info else "nothing of it is known"
    return [f"the file slide.toml cannot be used: {state.facts.info_problem}. Mend it; {kept}"]


def _mean_nothing(images: int) -> str:
    return "its label means nothing" if images == 1 else "their labels mean nothing"
