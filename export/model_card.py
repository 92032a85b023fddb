"""The model card of a bundle, written from its manifest alone."""

from collections.abc import Sequence

from msgspec import UNSET

from ..calibration.cross_validation import BY_GROUP, BY_IMAGE
from ..runtime.bundle.calibration import SLIDES_TO_PROMISE, CalibrationRecord, PromiseRecord
from ..runtime.bundle.manifest import CellClass, Further, Manifest, Metrics, ParityCheck
from ..runtime.bundle.provenance import Provenance, stage_index

MODEL_CARD = "MODEL_CARD.md"

_CARD = """\
# {manifest.name}

{source.arch}{members}, {source.parameters:,} parameters, {size.width}x{size.height} pixels (width x height), \
{precision.graph}.{reading}

## What it is for
Sorting pictures of **single, stained blood cells** into {count} classes: {titles}.
It is made for pictures like those it was trained on: one cell in the middle, the same stain, microscope and
magnification. **For research use only.** A person must look before anything is decided.\
{adjusted}{further}{always}{finding}

## What it is not for
- Whole fields of view, unstained cells, other stains or cameras: nothing is known of its answers there.
- Cells of any class that is not in the list: it must give each one of its own labels. {manifest.unknown_cells}
- Diagnosis or treatment.

## Figures
Each names the part of the split that it was made on. The split is a **{source.split_unit}**: {unit_meaning}

| part | right | top-1 | 95 % interval | macro F1 |
|---|---|---|---|---|
{figures}
{cross_validated}
{calibration}

Parity with {referred} in float32, on the cells of `{part}`:

| graph | run by | largest change of a probability | limit | of a logit |{beside} right | other answers | passed |
|---|---|---|---|---|---|---|---{rule}|
{parity}

On a CPU it runs in {precision.cpu}.{changed}

## Where it came from
{commands}

Digests: split `{source.split_sha256}`, images for the weights `{source.data_sha256[fit]}`. \
All else is in `bundle.json`; the data's
notice is in `NOTICE`. `proof.npz` holds the first cells of each class of `{part}`, so that every machine can prove
what it runs.
"""


_FURTHER: dict[Further, str] = {
    "boxes": "\nIt also tells the cell's box in the picture, which is no part of the label.",
    "attention": "\nIt also gives its spatial attention: how much it weighs each place, whatever the label.",
}
_BESIDE: dict[Further, str] = {
    "boxes": " of a box, as a share of the picture |",
    "attention": " of an attention, from 0 to 1 |",
}

_FINDING = """
Its reports give a finding, no differential: cells by label, and those that speak against it. That is no diagnosis."""

_READINGS = {
    "apl_sa": """
It is the network of Yan et al. 2025 (doi 10.3389/fonc.2025.1619296): residual blocks and a spatial attention. Which
layers is our reading: those of ResNet18, with CBAM's equation 3 before the last stage.""",
}
"""What is not known of an architecture, where a paper does not say it."""

_CROSS_VALIDATED = """
Cross-validated are models that were trained like this one on a part of the cells, each for cells that it had not seen.
This model was trained on all of them.
"""

_NEVER_CALIBRATED = """\
## What a confidence is worth
**Not calibrated: every cell is for review.** No confidence was compared yet with how often such labels are right."""

_NOT_CALIBRATED = """\
## What a confidence is worth
**{problem}. Every cell is for review.** Measured with {record.backend} ({record.precision}), \
{record.split_unit}: temperature {record.temperature:.4f} from `{tuned}`.
The attempt: {record.promise.sentence}.

{measured}"""

_CALIBRATION = """\
## What a confidence is worth
Calibrated with {record.backend} ({record.precision}), {record.split_unit}: temperature {record.temperature:.4f} \
from `{tuned}`, then the review
threshold {record.threshold:.4f} from `{record.part}`. For review are {figures.reasons[any]} of {figures.count} \
cells of `{record.part}`: {reasons}.

**{word}: {promised}.** {meaning}

The threshold was chosen on cells of all classes: {tried.wrong} of the {tried.passing} that pass all checks are wrong, \
at most {tried.bound:.2%}.
Classes that a person always sees, and what speaks against a whole slide, only take from those that are `ok`.

{measured}

| class (`{record.part}`) | cells | sensitivity | ok | wrong among them |
|---|---|---|---|---|
{rows}

{record.rare_classes}"""

_MEASURED = """\
Calibration error on `{record.part}`, 15 bins of as many cells: {mass.value:.4f} \
(95 % interval {mass.interval[0]:.4f} to {mass.interval[1]:.4f}); a
perfectly calibrated model of that size shows {mass.perfect:.4f}, and this one showed \
{figures.uncalibrated.value:.4f} before. With 15 bins of
equal width {figures.ece_equal_width.value:.4f}; Brier score {figures.brier:.4f}. \
`reliability.png` and `risk-coverage.png` show the curves."""


def model_card(manifest: Manifest) -> str:
    """Write the model card (Markdown) of a manifest."""
    source, checks = manifest.source, manifest.parity.checks
    referred = manifest.parity.reference.split(",")[0]
    return _CARD.format(
        manifest=manifest,
        size=manifest.input,
        precision=manifest.precision,
        source=source,
        members=_members(source),
        reading=_READINGS.get(source.arch, ""),
        count=len(manifest.classes),
        titles=", ".join(entry.title for entry in manifest.classes),
        adjusted=_adjusted(manifest),
        always=_always(manifest.classes),
        finding=_FINDING if manifest.kind_of_report == "finding" else "",
        unit_meaning="no patient or slide is in two parts."
        if source.split_unit == "split by group"
        else "cells of one patient may be in several parts, so figures on new patients may be worse.",
        figures="\n".join(_figures(part, metrics) for part, metrics in manifest.metrics.items())
        or "| none yet | | | | |",
        cross_validated=_CROSS_VALIDATED if any(part in (BY_IMAGE, BY_GROUP) for part in manifest.metrics) else "",
        calibration=_calibration(manifest.calibration),
        referred=referred,
        part=manifest.parity.part,
        further="".join(_FURTHER[name] for name in manifest.outputs or ()),
        beside="".join(_BESIDE[name] for name in manifest.outputs or ()),
        rule="|---" * len(manifest.outputs or ()),
        parity="\n".join(_parity(check, referred) for check in checks),
        changed=_changed(checks[-1].changed, referred),
        commands="\n".join([*_commands(source), *([] if source.members else [_epoch(source.epochs, source)])]),
    )


def _always(classes: Sequence[CellClass]) -> str:
    """The classes that a person always sees, if there are any."""
    titles = ", ".join(entry.title for entry in classes if entry.always_review)
    return f"\nEach cell that it calls one of these is for review: {titles}." if titles else ""


def _adjusted(manifest: Manifest) -> str:
    """What is done to each picture before the model sees it, if anything is."""
    if not manifest.adjustment:
        return ""
    return f"\nFor the model, not for the checks: **{manifest.adjustment.sentence}**, for one laboratory's pictures."


def _members(source: Provenance) -> str:
    """The number of ensemble members, if there are several."""
    if not source.members:
        return ""
    return f" ({len(source.members)} networks read each cell, and the answer is the mean of theirs)"


def _commands(source: Provenance) -> list[str]:
    """The trainings that led to the weights, the first one first."""
    before = []
    for member in source.members:
        before += [*_commands(member.provenance), _epoch(member.epochs, member.provenance)]
    if source.start and source.start.source:
        start = source.start
        stopped = f"    # stopped after {start.epochs} epochs in all; its {start.checkpoint} is the start of"
        before += [*_commands(start.provenance), stopped]
    return [*before, f"    {source.command}", *([f"    # then the head: {source.head}"] if source.head else [])]


def _epoch(epoch: int, source: Provenance) -> str:
    """Which epoch's weights they are: the best one on `select`, or the last before the training was stopped."""
    text = f"    # the weights of epoch {epoch} of {sum(stage.epochs for stage in source.stages)}"
    stopped = stopped_at(epoch, source)
    return f"{text}, at {stopped}: the training was stopped before its last size" if stopped else text


def stopped_at(epoch: int, source: Provenance) -> str:
    """The image size at which a training was stopped before its last one; empty where it was not."""
    stages = source.stages
    if not stages or stage_index(stages, epoch - 1) == len(stages) - 1:
        return ""
    return "{}x{}".format(*stages[stage_index(stages, epoch - 1)].size)


def _figures(part: str, metrics: Metrics) -> str:
    low, high = metrics.top1_interval
    return (
        f"| {part} | {metrics.correct} of {metrics.count} | {metrics.top1:.2%} |"
        f" {low:.2%} to {high:.2%} | {'' if metrics.macro_f1 is None else f'{metrics.macro_f1:.4f}'} |"
    )


def _calibration(record: CalibrationRecord | None) -> str:
    """The section on the calibration."""
    if record is None:
        return _NEVER_CALIBRATED
    figures, promise = record.calibrate, record.promise
    template = _CALIBRATION if promise.reached else _NOT_CALIBRATED
    return template.format(
        record=record,
        figures=figures,
        tuned=record.part if promise.cross_validated else "select",
        measured=_MEASURED.format(record=record, figures=figures, mass=figures.ece_equal_mass),
        problem=_sentence(promise.problem),
        word=_sentence(promise.word),
        promised=promise.sentence,
        meaning=_meaning(promise),
        tried=promise.chosen,
        reasons=", ".join(f"{count} {reason}" for reason, count in figures.reasons.items() if reason != "any"),
        rows="\n".join(
            f"| {name} | {row.count} | {row.sensitivity:.1%} | {row.passing} | {row.passing - row.right} |"
            for name, row in figures.per_class.items()
        ),
    )


def _meaning(promise: PromiseRecord) -> str:
    """Why it is a promise or none."""
    if promise.cross_validated:
        return f"A promise takes cells of at least {SLIDES_TO_PROMISE} slides that the head was not fitted on."
    return (
        f"It is promised only where `calibrate` has cells of at least {SLIDES_TO_PROMISE} slides or patients: here"
        f" their number is {'unknown' if promise.slides is None else promise.slides}."
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _changed(paths: list[str], reference: str) -> str:
    """The cells whose label is another on a CPU."""
    return f" Another label than {reference}'s there: {', '.join(paths)}." if paths else ""


def _parity(check: ParityCheck, reference: str) -> str:
    differences = check.max_box_difference, check.max_attention_difference
    further = "".join(f" {difference:.5f} |" for difference in differences if difference is not UNSET)
    return (
        f"| {check.graph} | {check.runner} | {check.max_probability_difference:.5f} | {check.limit} |"
        f" {check.max_logit_difference:.5f} |{further} {check.correct} ({reference} {check.reference_correct})"
        f" of {check.count} | {len(check.changed)} | {'yes' if check.passed else 'no'} |"
    )
