"""The command that adapts a bundle to a laboratory's own labelled cells."""

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ..runtime.console import EXIT_FAILED
from .calibrate import parse_share
from .main import app
from .options import Backend, BackendName, BundleDir, LabelledDir


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
    from ..calibration.adapt import adapt as run
    from ..calibration.adapted_head import read_home_cells
    from ..calibration.adjustment import check_adjustable, with_adjustment
    from ..calibration.learning_curve import learning_curve
    from ..calibration.own_cells import OwnCells, find_own_cells
    from ..calibration.plots import draw_learning_curve
    from ..calibration.views import gather_views
    from ..export.adapted import check_outside, write_adapted
    from ..export.reheaded import check_reheadable
    from ..runtime.bundle.bundle import SHIPPED, load_bundle
    from . import show
    from .loading import open_classifier

    share = parse_share(max_error)
    loaded = load_bundle(bundle or SHIPPED)
    check_outside(out, labelled_dir)
    usual, home = check_reheadable(loaded, out), read_home_cells(loaded)
    if scale or stain:
        check_adjustable(loaded, home)
    cells, reviewed = find_own_cells(labelled_dir, groups, loaded, show.notify)
    if scale or stain:
        loaded = with_adjustment(loaded, labelled_dir, cells, home, scale, stain, show.notify)
    with open_classifier(loaded, backend.value) as classifier, show.progress(labelled_dir.name) as progress:
        files = [labelled_dir / path for path in cells.paths]
        own = OwnCells(labelled_dir, cells, gather_views(files, classifier, progress), reviewed)
    adapted = run(own, usual, home, share)
    curve = draw_learning_curve(learning_curve(own, usual, home), own.unit)
    made = write_adapted(loaded, adapted, own, curve, classifier.backend, out)
    record = made.manifest.calibration
    assert record is not None
    if as_json:
        typer.echo(json.dumps({"bundle": str(out), **msgspec.to_builtins(made.manifest.metrics)}, indent=2))
    else:
        show.adapted(made)
    if not record.promise.reached:
        show.not_calibrated(out, record.promise)
        raise typer.Exit(EXIT_FAILED)
