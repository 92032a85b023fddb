"""What a calibration proves of the cells that are `ok`, as its record says it."""

from collections.abc import Sequence
from math import ceil

from ..runtime.bundle.calibration import NaturalMix, PromiseRecord
from ..runtime.bundle.manifest import CellClass
from .judged import Judged
from .natural import natural_mix, natural_sample
from .risk import CONFIDENCE, Promise, clopper_pearson_upper
from .split import Split

OTHER_SPLIT = (
    "this is not the split that the weights were trained with: the guarantee holds only if no cell of `select` or"
    " `calibrate` was in that training"
)


def promise_record(
    found: Promise, calibrate: Judged, classes: Sequence[CellClass], split: Split, same_split: bool
) -> PromiseRecord:
    """Put a guarantee on record.

    Args:
        found: How the threshold was found.
        calibrate: The cells of `calibrate`, judged by all checks and by their labels.
        classes: Of the bundle.
        split: Where they are from.
        same_split: Whether it is the one that the weights were trained with.
    """
    passing, wrong = int(calibrate.passes.sum()), int(calibrate.wrongly_ok.sum())
    natural = _natural(calibrate, classes) if found.reached else None
    return PromiseRecord(
        asked=found.asked,
        error=found.asked if found.reached else None,
        reached=found.reached,
        confidence=CONFIDENCE,
        cells=len(calibrate.found),
        passing=passing,
        wrong=wrong,
        coverage=passing / len(calibrate.found),
        chosen=found.chosen,
        needed=found.needed,
        split_unit=split.unit,
        sentence=_sentence(found, calibrate, natural, split.unit, same_split),
        steps=tuple(found.steps),
        slides=split.group_count("calibrate"),
        natural=natural,
    )


def _natural(calibrate: Judged, classes: Sequence[CellClass]) -> NaturalMix | None:
    mix = natural_mix(classes)
    if mix is None:
        return None
    sample = natural_sample(calibrate.evidence.labels, [entry.name for entry in classes], mix)
    wrong = int(calibrate.wrongly_ok[sample].sum())
    return NaturalMix(mix, len(sample), wrong, clopper_pearson_upper(wrong, len(sample)))


def _sentence(found: Promise, calibrate: Judged, natural: NaturalMix | None, split_unit: str, same_split: bool) -> str:
    chosen, cells, wrong = found.chosen, len(calibrate.found), int(calibrate.wrongly_ok.sum())
    if not found.reached:
        return (
            f"no cell is marked ok: that at most {found.asked:.2%} of them are wrong cannot be guaranteed with"
            f" {CONFIDENCE:.0%} confidence from the {cells} cells of `calibrate` ({split_unit}), of which"
            f" {chosen.passing} pass the checks and {chosen.wrong} of those are wrong; {_remedy(found, cells)}"
        )
    sentence = (
        f"at most {found.asked:.2%} of all cells are wrong and marked ok, with {CONFIDENCE:.0%} confidence, where each"
        f" class looks as in `calibrate` ({split_unit}) and is as frequent: {wrong} of {cells} were"
    )
    if natural:
        mix = ", ".join(f"{name} {share:.0%}" for name, share in natural.mix.items())
        sentence += f"; in a natural mix ({mix}) {natural.wrong} of {natural.cells} were: at most {natural.bound:.2%}"
    if split_unit == "split by group":
        sentence += "; cells are counted as independent, which takes tens of patients in `calibrate`"
    if not same_split:
        sentence += f"; {OTHER_SPLIT}"
    return sentence


def _remedy(found: Promise, cells: int) -> str:
    """What would make a calibration of cells that do not allow one."""
    if found.chosen.wrong / max(found.chosen.passing, 1) >= found.asked:
        return (
            "that share is above what was asked for. Train the model on more cells, allow more with --max-error, or"
            f" add cells of new slides: at least {found.needed} that pass are needed, if no more are wrong"
        )
    in_all = ""
    if found.needed and found.chosen.passing:
        in_all = f", or about {ceil(found.needed * cells / found.chosen.passing)} in all"
    return f"{found.needed} that pass are needed{in_all}. Add cells of new slides, or allow more with --max-error"
