"""The command that adapts a bundle to a laboratory's own labelled cells."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from .calibrate import parse_share
from .main import app
from .options import Backend, BackendName, BundleDir, LabelledDir

if TYPE_CHECKING:
    from ..runtime.bundle.bundle import Bundle


@app.command()
def adapt(
    labelled_dir: LabelledDir,
    out: Annotated[Path, typer.Option(help="Bundle folder to write.", show_default=False)],
    bundle: BundleDir = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with the columns path and slide (or patient): none is in two folds.",
            show_default="groups.csv of an export",
        ),
    ] = None,
    max_error: Annotated[
        str,
        typer.Option(
            metavar="SHARE", help="Largest share of all cells that may be wrong and `ok`, such as 5% or 0.05."
        ),
    ] = "5%",
    scale: Annotated[bool, typer.Option("--scale", help="Make nuclei as large as at home, by one factor.")] = False,
    stain: Annotated[
        bool, typer.Option("--stain", help="Map colours to home's, where they are farther than the bundle's limit.")
    ] = False,
    backend: Backend = BackendName.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print the calibration as JSON.")] = False,
) -> None:
    """Make a bundle for your own labelled cells.

    They may be of any classes, from 40 cells on; it takes minutes. All weights stay but those of the head (the last
    layer), which is fitted anew. Five-fold cross-validation says how often it is right, and sets below which confidence
    a person must look. Cells can be `ok` from 50 cells of 5 slides on, so name the slides with --groups. That is an
    estimate: a promise takes `cartcls calibrate` on other slides.

    LABELLED_DIR may be what `cartcls correct --export` wrote. Then only slides that were reviewed whole are tested; the
    cells of the others train the head alone.
    """
    from ..runtime.bundle.bundle import SHIPPED, load_bundle
    from . import show_calibration

    share = parse_share(max_error)
    made = _adapted(load_bundle(bundle or SHIPPED), labelled_dir, out, groups, share, (scale, stain), backend.value)
    record = made.manifest.calibration
    assert record is not None
    if as_json:
        typer.echo(json.dumps({"bundle": str(out), **msgspec.to_builtins(made.manifest.metrics)}, indent=2))
    else:
        show_calibration.adapted(made)
    if not record.promise.reached:
        show_calibration.not_calibrated(out, record.promise, "warning")


def _adapted(
    bundle: "Bundle",
    labelled_dir: Path,
    out: Path,
    groups: Path | None,
    max_error: float,
    adjust: tuple[bool, bool],
    backend: str,
) -> "Bundle":
    """Check what can be checked first, then fit, measure and write the bundle; `adjust` is of size and of colours."""
    from ..calibration.adapt import adapt as fit
    from ..calibration.adapted_head import read_home_cells
    from ..calibration.adjustment import check_adjustable, with_adjustment
    from ..calibration.home_scale import with_own_home_scale
    from ..calibration.learning_curve import learning_curve
    from ..calibration.own_cells import OwnCells, find_own_cells
    from ..calibration.plots import draw_learning_curve
    from ..calibration.views import gather_views
    from ..export.adapted import check_outside, write_adapted
    from ..export.reheaded import check_reheadable
    from . import show
    from .loading import open_classifier

    check_outside(out, labelled_dir)
    usual, home = check_reheadable(bundle, out), read_home_cells(bundle)
    if any(adjust):
        check_adjustable(bundle, home)
    cells, reviewed = find_own_cells(labelled_dir, groups, bundle, show.notify)
    if any(adjust):
        bundle = with_adjustment(bundle, labelled_dir, cells, home, *adjust, show.notify)
    with open_classifier(bundle, backend) as classifier, show.progress(labelled_dir.name) as progress:
        files = [labelled_dir / path for path in cells.paths]
        own = OwnCells(labelled_dir, cells, gather_views(files, classifier, progress), reviewed)
    bundle = with_own_home_scale(bundle, files, adjust[0], show.notify)
    adapted = fit(own, usual, home, max_error)
    curve = draw_learning_curve(learning_curve(own, usual, home), own.unit)
    return write_adapted(bundle, adapted, own, curve, classifier.backend, out)
