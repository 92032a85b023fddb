"""The command that standardises a bundle's features by a laboratory's own cells."""

from pathlib import Path
from typing import Annotated

import typer

from .main import app
from .options import Backend, BackendName, BundleDir


@app.command()
def standardise(
    cells_dir: Annotated[
        Path,
        typer.Argument(
            metavar="CELLS_DIR", help="Folder of cell crops of many slides; needs no labels.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="Bundle folder to write.", show_default=False)],
    bundle: BundleDir = None,
    backend: Backend = BackendName.auto,
) -> None:
    """Fit a bundle to another stain and camera, without labels.

    Each feature gets the mean and the spread that the training cells have in a usual differential, so the cells must be
    of many usual slides: 500 are taken from all over CELLS_DIR, at least 100 are needed. Labels get better where the
    pictures look unlike the training cells, but nothing is proved by it: every cell stays for review until the new
    bundle is calibrated on labelled cells of that laboratory.
    """
    from ..calibration.home_scale import with_own_home_scale
    from ..calibration.unlabelled import find_cells, gather_unlabelled
    from ..export.reheaded import check_reheadable
    from ..export.standardised import write_standardised
    from ..runtime.bundle.bundle import SHIPPED, load_bundle
    from . import show, show_calibration
    from .loading import open_classifier

    loaded = load_bundle(bundle or SHIPPED)
    check_reheadable(loaded, out)
    files = find_cells(cells_dir)
    with open_classifier(loaded, backend.value) as classifier, show.progress(cells_dir.name) as progress:
        cells = gather_unlabelled(files, classifier, progress, show.notify)
    loaded = with_own_home_scale(loaded, cells.files, False, show.notify)
    write_standardised(loaded, cells, out)
    show_calibration.standardised(out, len(cells.files))
