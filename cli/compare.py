"""The command that compares reports with a laboratory's own reference."""

from pathlib import Path
from typing import Annotated

import typer

from .main import app
from .options import ReportsDir


@app.command()
def compare(
    out: ReportsDir,
    reference: Annotated[
        Path,
        typer.Argument(
            metavar="REFERENCE",
            help="Another folder of reports, a folder of `cartcls evaluate`, or a CSV with slide, path and label.",
            show_default=False,
        ),
    ],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to write.")] = Path("cartcls-comparison"),
) -> None:
    """Compare reports with a reference, before use.

    Where both have the same cells: confusion, sensitivity, specificity and Cohen's kappa. Where they counted the same
    slides independently: two-sample limits, Bland-Altman, and Passing-Bablok from 40 slides. It writes a page and a
    table, and notes for `cartcls doctor` which bundle was compared. It does not say what is good enough.
    """
    from ..calibration.compare import PAGE
    from ..calibration.compare import compare as run
    from . import show_compare

    show_compare.compared(to / PAGE, run(out, reference, to))
