"""The command that calibrates a bundle."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..calibration import MAX_ERROR
from ..runtime.console import EXIT_FAILED
from .main import app
from .options import Backend, BackendName, LabelledDir

if TYPE_CHECKING:
    from ..calibration.evidence import Evidence
    from ..calibration.picture_measures import PictureMeasures
    from ..runtime.inference.classifier import Classifier


@app.command()
def calibrate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle to calibrate.", show_default=False)],
    labelled_dir: LabelledDir,
    split: Annotated[Path, typer.Option(help="Split file of that folder.", show_default=False)],
    max_error: Annotated[
        str,
        typer.Option(
            metavar="SHARE", help="Largest share of all cells that may be wrong and `ok`, such as 1% or 0.01."
        ),
    ] = f"{MAX_ERROR:.0%}",
    backend: Backend = BackendName.auto,
    out: Annotated[
        Path | None, typer.Option(help="Bundle folder to write.", show_default="BUNDLE is changed itself")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the calibration as JSON.")] = False,
) -> None:
    """Calibrate confidences, and set when a person must look.

    Statistics are made on the part `fit` of the split, temperature and limits on `select`, and the review threshold on
    `calibrate`: at most --max-error of all cells are then wrong and `ok`, with 95 % confidence, for cells like those.
    That is promised where `calibrate` has cells of at least 10 slides or patients; else it is an estimate. If it cannot
    be held on these cells, the exit code is 1: the bundle gets the figures that were measured, and marks every cell for
    review.
    """
    from ..calibration.calibrate import PARTS, check_parts, is_split_of_training
    from ..calibration.calibrate import calibrate as run
    from ..calibration.classes import classes_of_folders
    from ..calibration.copies import without_copies
    from ..calibration.guarantee import OTHER_SPLIT
    from ..calibration.home_scale import with_home_scale
    from ..calibration.reviewed import check_unbiased
    from ..calibration.split import check_split, class_of, read_split
    from ..export.recalibrated import check_writable, write_calibrated
    from ..runtime.bundle.bundle import load_bundle
    from . import show, show_calibration
    from .loading import open_classifier

    share = parse_share(max_error)
    loaded, chosen = load_bundle(bundle), read_split(split)
    target = check_writable(loaded, out)
    check_unbiased(labelled_dir)
    check_split(chosen, labelled_dir, show.notify)
    paths = {part: without_copies(labelled_dir, chosen.paths(part), show.notify) for part in PARTS}
    name_of = classes_of_folders(map(class_of, chosen.parts), loaded)
    check_parts({part: [name_of[class_of(path)] for path in paths[part]] for part in PARTS}, loaded, share)
    if not is_split_of_training(loaded, chosen.sha256):
        show.notify(f"{split}: {OTHER_SPLIT}")
    with open_classifier(loaded, backend.value) as classifier:
        evidence, measures = _seen(labelled_dir, paths, classifier)
    loaded = with_home_scale(loaded, [labelled_dir / path for path in paths["fit"]], show.notify)
    calibrated = run(loaded, classifier.backend, evidence, chosen, share, measures)
    write_calibrated(loaded, calibrated, target)
    if as_json:
        typer.echo(json.dumps({"bundle": str(target), **msgspec.to_builtins(calibrated.record)}, indent=2))
    else:
        show_calibration.calibrated(target, calibrated.record)
    if not calibrated.record.promise.reached:
        show_calibration.not_calibrated(target, calibrated.record.promise)
        raise typer.Exit(EXIT_FAILED)


def _seen(
    labelled_dir: Path, paths: dict[str, list[str]], classifier: "Classifier"
) -> "tuple[dict[str, Evidence], PictureMeasures]":
    """What is said of the cells, by part; and measures of the pictures of `fit` that the bundle keeps."""
    from ..calibration.adapted_head import kept_cells
    from ..calibration.evidence import gather
    from ..calibration.picture_measures import measure_pictures
    from ..runtime.images.decode import read_image
    from . import show

    evidence = {}
    for part in paths:
        with show.progress(part) as progress:
            evidence[part] = gather(labelled_dir, paths[part], classifier, progress)
    kept = [labelled_dir / paths["fit"][place] for place in kept_cells(evidence["fit"].labels)]
    return evidence, measure_pictures(classifier.bundle.graph_input(read_image(file)[0]) for file in kept)


def parse_share(text: str) -> float:
    """Read a share such as 1% or 0.01."""
    found = re.fullmatch(r"([0-9]*\.?[0-9]+) ?(%?)", text.strip())
    share = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    if not 0.0001 <= share <= 0.5:
        raise typer.BadParameter(f"{text!r} is not a share from 0.01% to 50%", param_hint="--max-error")
    return share
