"""What a calibration, or the cross-validation of an adapted bundle, prints."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from .show import counted, notify, results

if TYPE_CHECKING:
    from ..runtime.bundle.bundle import Bundle
    from ..runtime.bundle.calibration import CalibrationRecord, PromiseRecord
    from ..runtime.bundle.manifest import Metrics


def calibrated(directory: Path, record: "CalibrationRecord", measured: "Metrics | None" = None) -> None:
    """Print the figures and the guarantee of a calibration, or why there is none, and the path of the bundle.

    Args:
        directory: Of the bundle.
        record: Its calibration.
        measured: Figures that were printed before, to take those of the classes from; else the calibration's own.
    """
    figures, guarantee = record.calibrate, record.promise
    table = Table("class", box=None, padding=(0, 2, 0, 0))
    for name in ("cells", "sensitivity", *(("ok", "wrong among them") if guarantee.reached else ())):
        table.add_column(name, justify="right")
    for name, row in figures.per_class.items():
        ok = (str(row.passing), str(row.passing - row.right)) if guarantee.reached else ()
        sensitivity = measured.per_class[name].sensitivity if measured else row.sensitivity
        table.add_row(Text(name), str(row.count), f"{sensitivity or 0:.1%}", *ok)
    results.print(table)
    error, before = figures.ece_equal_mass, figures.uncalibrated
    flagged = ", ".join(f"{count} {reason}" for reason, count in figures.reasons.items() if reason != "any")
    for line in (
        f"temperature {record.temperature:.4f}; calibration error on `{record.part}` {error.value:.4f} (perfect model"
        f" {error.perfect:.4f}, before {before.value:.4f})",
        f"for review below a confidence of {record.threshold:.4f}" if guarantee.reached else "",
        f"{figures.reasons['any']} of {figures.count} cells of `{record.part}` for review: {flagged or 'none'}",
        f"{guarantee.word}: {guarantee.sentence}" if guarantee.reached else "",
        record.rare_classes,
        os.fspath(directory),
    ):
        if line:
            results.print(line, markup=False, soft_wrap=True)


def adapted(bundle: "Bundle") -> None:
    """Print what the cross-validation of an adapted bundle says, and its path."""
    ((unit, metrics),) = bundle.manifest.metrics.items()
    low, high = metrics.top1_interval
    line = f"{metrics.top1:.1%} of {metrics.count} cells right (95 % interval {low:.1%} to {high:.1%}; {unit})"
    results.print(line, markup=False, soft_wrap=True)
    assert bundle.manifest.calibration is not None
    calibrated(bundle.directory, bundle.manifest.calibration, metrics)


def not_calibrated(directory: Path, guarantee: "PromiseRecord", kind: str = "error") -> None:
    """Print that what was asked for cannot be guaranteed, what that means, and what would help."""
    notify(f"{kind}: {guarantee.problem}")
    notify(f"{directory} was written, and marks every cell for review: {guarantee.sentence}")


def standardised(directory: Path, cells: int) -> None:
    """Print what a standardised bundle is worth, and its path."""
    results.print(f"features standardised by {counted(cells, 'cell')} without a label", markup=False, soft_wrap=True)
    results.print("not calibrated: every cell is for review. Calibrate it with `cartcls calibrate`", markup=False)
    results.print(os.fspath(directory), markup=False, soft_wrap=True)
