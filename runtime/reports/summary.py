"""The summary of a slide's cells."""

from collections import Counter
from collections.abc import Sequence

from msgspec import UNSET, Struct, UnsetType

from ..bundle.bundle import CROSS_VALIDATION, Bundle
from ..bundle.calibration import CalibrationRecord
from ..bundle.manifest import NOT_A_CELL, UNSURE, CellClass
from ..fields.scale import mpp_of
from ..ledger.facts import Facts
from ..ledger.records import Cell, Run
from ..ledger.signatures import Signature
from ..ledger.slide_info import SlideInfo
from . import slide_warnings
from .differential import AbsoluteCounts, Differential, DifferentialRow, absolute_counts, differential
from .estimate import Estimate, estimate
from .finding import Finding, FindingRow, finding
from .slide_review import promise_of
from .slide_state import SlideState

STATUSES = ("ok", "review", "reviewed", "rejected", "duplicate", "empty", "gone")


class CalibrationFacts(Struct, frozen=True):
    """A bundle's calibration as a report shows it, rounded; the backend is the one that it was made with.

    Attributes:
        guaranteed_error: None where nothing is guaranteed, by the calibration or for this slide.
    """

    temperature: float
    review_below: float
    guaranteed_error: float | None
    guarantee: str
    part: str
    cells: int
    backend: str


class Summary(Struct, frozen=True, kw_only=True):
    """Differential or finding, counts and provenance of a slide, as `summary.json` has them.

    Attributes:
        unknown_cells: The bundle's own sentence on cells that none of its classes is for: the first thing to be read.
        images: Images in the slide's folder: those that are gone are counted in `status` only.
        warnings: What else must be known before any count: a slide unlike home, cells whose labels mean nothing, a
            bundle that is not calibrated.
        alarm: What of the slide is unlike the cells that the bundle was calibrated on, such as `colours`; empty for
            nothing. Every cell is for review then, and the promise is withdrawn.
        promise: What the calibration's guarantee is worth here: `promised` where it was held on held-out slides, else
            `estimated, no promise`; `withdrawn` after an alarm; empty where no cell can be `ok`.
        waiting: Images that have no row yet, and will get one.
        not_looked_at: Images that get none, because there were enough leukocytes before.
        whole_fields: Images that look like a whole field of view, and that no person has reviewed.
        no_cell: Other images that show no cell, likewise.
        status: Rows by their status in the table: `reviewed` takes the place of `ok` or `review` once a person has
            confirmed or changed the label.
        awaiting_review: Cells whose label is a proposal.
        reviewed: Cells whose label a person confirmed or changed, status `reviewed` in the table; `relabelled` and
            `not_a_cell` are among them.
        review_complete: Whether a person has confirmed or changed the label of every cell that was marked for review
            (of every cell where the bundle is not calibrated), there was one, and no image waits but those that were
            not to be looked at.
        reviewers: Names of those who reviewed cells.
        signatures: Of the slide, the latest last; those that were made for other rows than the present ones are void.
        others: Number of cells by labels that are not classes of the bundle; in no differential.
        differential: Of all cells, proposals by their label. Its intervals count the model's errors until the review is
            complete; not after an alarm, nor where the bundle has no calibration: they are not known there. None where
            the bundle's reports give a finding.
        differential_without_proposals: Of the others; None where nothing awaits review, and for a finding.
        finding: Of all cells, likewise; None where there is a differential.
        finding_without_proposals: Of the others; None where nothing awaits review, and for a differential.
        calibrated: Whether the bundle lets cells be `ok`; on this slide none is after an alarm, or below 20 cells.
        bundle_split: How the data of the bundle's own figures were split.
        bundle_adjustment: How pictures were changed for the model; left out where they were not.
        levels: Which values of 16 bits were black and white; left out where that was the full range.
        scale: How large a red cell is in the slide's fields, and by what that is known; left out where each file is one
            cell.
        smudges: Smashed cells, clumps and debris in the fields, which are not counted; left out likewise.
        info: What the laboratory says of the slide, typed or in `slide.toml`; left out where it says nothing.
        info_typed_by, info_typed_at: Who typed it, and when; left out where it is that of `slide.toml`.
        absolute_counts: From the analyser's white count in it; left out where there is none.
    """

    unknown_cells: str
    slide: str
    source: str
    warnings: list[str]
    alarm: str
    promise: str
    images: int
    waiting: int
    not_looked_at: int
    whole_fields: int
    no_cell: int
    status: dict[str, int]
    awaiting_review: int
    reviewed: int
    review_complete: bool
    reviewers: list[str]
    signatures: list[Signature]
    relabelled: int
    not_a_cell: int
    others: dict[str, int]
    differential: Differential | None
    differential_without_proposals: Differential | None
    finding: Finding | None
    finding_without_proposals: Finding | None
    calibrated: bool
    calibration: CalibrationFacts | None
    research_use_only: bool = True
    bundle: str
    bundle_sha256: str
    bundle_split: str
    bundle_adjustment: str | UnsetType = UNSET
    levels: str | UnsetType = UNSET
    scale: str | UnsetType = UNSET
    smudges: int | UnsetType = UNSET
    info: SlideInfo | UnsetType = UNSET
    info_typed_by: str | UnsetType = UNSET
    info_typed_at: str | UnsetType = UNSET
    absolute_counts: AbsoluteCounts | UnsetType = UNSET
    backend: str
    precision: str
    device: str
    version: str
    started_at: str
    last_analysed_at: str | None

    @property
    def rows(self) -> Sequence[DifferentialRow | FindingRow]:
        """Counts by class, of the differential or the finding."""
        counted = self.differential or self.finding
        return counted.rows if counted else []

    @property
    def few(self) -> str | None:
        """Warns of too few cells for a differential or a finding; None where there are enough."""
        counted = self.differential or self.finding
        return counted.warning if counted else None


NOTHING_ELSE = SlideState()


def summarize(bundle: Bundle, run: Run, cells: Sequence[Cell], state: SlideState = NOTHING_ELSE) -> Summary:
    """Sum up a slide.

    Args:
        bundle: The bundle that made the rows.
        run: The run that made the latest of them.
        cells: All rows, as the slide makes them.
        state: What else is known of it.
    """
    alarm, facts, waiting = state.alarm, state.facts, state.waiting
    statuses = Counter(cell.present_status for cell in cells)
    cells = [cell for cell in cells if cell.status != "gone"]
    labelled = [cell for cell in cells if cell.can_be_corrected]
    counted, proposed = _counts(cells), _counts([cell for cell in cells if cell.awaits_review])
    record, classes = bundle.manifest.calibration, _classes(bundle, counted, facts)
    looked_at_all = waiting == len(state.unlooked)
    complete, (fields, without) = looked_at_all and _is_reviewed(bundle, cells), slide_warnings.meaningless(cells)
    of_slide = slide_warnings.of_slide(bundle, labelled, alarm, complete)
    images = sum(cell.part in (None, 1) for cell in cells)
    estimated = None if complete or of_slide else _estimate(bundle, cells)
    counts, found = _reported(bundle, cells, classes, estimated)
    decided = [cell for cell in cells if not cell.awaits_review]
    counts_without, found_without = _reported(bundle, decided, classes) if proposed else (None, None)
    return Summary(
        unknown_cells=bundle.manifest.unknown_cells,
        slide=run.slide,
        source=run.source,
        warnings=[
            *of_slide,
            *slide_warnings.of_images(bundle, len(fields), len(without), images),
            *slide_warnings.of_fields(bundle, state, images + waiting),
            *slide_warnings.of_info(state),
        ],
        alarm=alarm,
        promise="" if of_slide and not alarm else promise_of(bundle, bool(alarm)),
        images=images + waiting,
        waiting=waiting - len(state.unlooked),
        not_looked_at=len(state.unlooked),
        whole_fields=len(fields),
        no_cell=len(without),
        status={status: statuses[status] for status in STATUSES},
        awaiting_review=proposed.total(),
        reviewed=statuses["reviewed"],
        review_complete=complete,
        signatures=list(state.signatures),
        reviewers=sorted({cell.corrected_by for cell in labelled if cell.corrected_by}),
        relabelled=sum(cell.corrected_label not in (None, UNSURE, cell.label) for cell in labelled),
        not_a_cell=sum(cell.corrected_label == NOT_A_CELL for cell in labelled),
        others={label: count for label, count in sorted(counted.items()) if label not in _names(bundle)},
        differential=counts,
        differential_without_proposals=counts_without,
        finding=found,
        finding_without_proposals=found_without,
        calibrated=bundle.calibrated,
        calibration=_facts(record, holds=not of_slide and not bundle.manifest.restricted_to) if record else None,
        bundle=bundle.name,
        bundle_sha256=bundle.sha256,
        bundle_split=_split_of_figures(bundle),
        bundle_adjustment=bundle.adjustment.sentence if bundle.adjustment else UNSET,
        levels=facts.declared.sentence if facts.declared else UNSET,
        scale=_scale(facts) if facts.fields else UNSET,
        smudges=state.smudges if facts.fields else UNSET,
        info=state.info or UNSET,
        info_typed_by=state.typed.typed_by if state.typed else UNSET,
        info_typed_at=state.typed.typed_at if state.typed else UNSET,
        absolute_counts=(absolute_counts(counts, state.info) if counts else None) or UNSET,
        backend=run.backend,
        precision=run.precision,
        device=run.device,
        version=run.version,
        started_at=run.started_at,
        last_analysed_at=max((cell.analysed_at for cell in cells), default=None),
    )


def _classes(bundle: Bundle, counted: Counter[str], facts: Facts) -> list[CellClass]:
    """Classes that have a row: of those that were not looked for, only what a person called so."""
    wanted, classes = bundle.manifest.restricted_to, bundle.manifest.classes_as_read
    looked_for = {
        entry.name
        for entry in classes
        if (not wanted or entry.name in wanted) and not (facts.fields and entry.kind == "platelet")
    }
    return [entry for entry in classes if entry.name in looked_for or counted[entry.name]]


def _scale(facts: Facts) -> str:
    if facts.diameter is None:
        return "not known"
    source = {"mpp": "given", "file": "by the files"}.get(facts.origin, "by the red cells")
    return f"{mpp_of(facts.diameter):.4g} µm per pixel, {source}: a red cell is {facts.diameter:.1f} pixels wide"


def _names(bundle: Bundle) -> list[str]:
    return [entry.name for entry in bundle.classes]


def _counts(cells: Sequence[Cell]) -> Counter[str]:
    return Counter(cell.counts_as for cell in cells if cell.counts_as)


def _is_reviewed(bundle: Bundle, cells: Sequence[Cell]) -> bool:
    """Whether a person has decided about all cells that need it, and there is one."""
    marked = [cell for cell in cells if cell.can_be_corrected and (cell.status == "review" or not bundle.calibrated)]
    unsure = any(cell.awaits_review for cell in cells)
    return bool(marked) and not unsure and all(cell.corrected_label is not None for cell in marked)


def _reported(
    bundle: Bundle, cells: Sequence[Cell], classes: Sequence[CellClass], estimated: Estimate | None = None
) -> tuple[Differential | None, Finding | None]:
    """What the bundle reports of cells: a differential, or a finding."""
    if bundle.report == "finding":
        return None, finding(cells, classes)
    return differential(_counts(cells), classes, estimated), None


def _estimate(bundle: Bundle, cells: Sequence[Cell]) -> Estimate | None:
    """What the model's errors make of the counts; None where they were not measured."""
    record = bundle.manifest.calibration
    if record is None or not bundle.calibrated:
        return None
    labels = Counter(cell.label for cell in cells if cell.label and cell.counts_as and not cell.is_decided)
    decided = _counts([cell for cell in cells if cell.is_decided])
    return estimate(labels, decided, _names(bundle), record.calibrate.confusion)


def _split_of_figures(bundle: Bundle) -> str:
    """How the cells were divided that the bundle's own figures are of: those of its head, where that is newer."""
    for unit in bundle.manifest.metrics:
        if unit.startswith(CROSS_VALIDATION):
            return f"split by {unit.rpartition(' ')[2]}"
    return bundle.manifest.source.split_unit


def _facts(record: CalibrationRecord, holds: bool) -> CalibrationFacts:
    return CalibrationFacts(
        temperature=round(record.temperature, 4),
        review_below=round(record.threshold, 4),
        guaranteed_error=round(record.promise.error, 4) if holds and record.promise.error is not None else None,
        guarantee=record.promise.sentence if holds else "none for this slide",
        part=f"calibrate, {record.promise.split_unit}",
        cells=record.promise.cells,
        backend=f"{record.backend}, {record.precision}",
    )
