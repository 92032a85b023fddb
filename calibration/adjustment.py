"""How a laboratory's pictures are made more like those of home: one factor for their size, one map of their colours."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from msgspec import structs

from ..runtime.bundle.bundle import Bundle
from ..runtime.bundle.calibration import STAIN
from ..runtime.errors import BundleError, DataError, UsageError
from ..runtime.images.adjust import LEAST, MOST, Adjustment, Row, adjust
from ..runtime.images.reading import Reading, read_cell
from ..runtime.images.resize import Image
from .adapted_head import HOME_CELLS, HomeCells
from .cross_validation import LabelledCells
from .picture_measures import density_moment, nucleus_diameter

STEADY = 1e-3  # of the mean moment, added in each direction: colours that hardly vary are not stretched

Floats = npt.NDArray[np.floating]
Notify = Callable[[str], None]


def check_adjustable(bundle: Bundle, home: HomeCells) -> None:
    """Make sure, before anything is read, that it is known how pictures of home look.

    Raises:
        UsageError: The bundle adjusts pictures already.
        BundleError: Its `home.npz` is older, and has no sizes and colours.
    """
    if bundle.adjustment:
        raise UsageError(
            f"--scale and --stain: {bundle.directory} has {bundle.adjustment.sentence} already: start from the bundle"
            " that it was adapted from"
        )
    if home.measures is None:
        raise BundleError(
            f"{bundle.directory / HOME_CELLS} has no sizes and colours for --scale and --stain: calibrate the bundle"
            " again with this version"
        )


def with_adjustment(
    bundle: Bundle, directory: Path, cells: LabelledCells, home: HomeCells, scale: bool, stain: bool, notify: Notify
) -> Bundle:
    """Find how a laboratory's pictures are to be adjusted for the model. Every decision is told.

    All labelled cells take part, also those that a fold of the cross-validation tests later: a few numbers for
    the whole laboratory, so its figures are too good by a little.

    Args:
        bundle: One that `check_adjustable` accepts, calibrated.
        directory: Folder of the cells.
        cells: The labelled cells.
        home: Cells of home, with their measures.
        scale: Whether to make nuclei as large as at home.
        stain: Whether to map colours to home's where they are far: the median distance is above the bundle's limit.
        notify: Called with what was found.

    Returns:
        The bundle with the adjustment; as it was where nothing is to be changed.

    Raises:
        DataError: A picture cannot be read, no nucleus was found, or sizes differ by too much.
    """
    assert home.measures is not None
    files = [directory / path for path in cells.paths]
    diameters, stains = [], []
    for reading, image in _read(files, bundle):
        diameters.append(nucleus_diameter(image))
        stains.append(reading.quality.stain if reading.quality else np.zeros(9))
    factor = 1.0
    if scale:
        factor = scale_factor(np.array(diameters), cells, home)
        notify(f"--scale: {Adjustment(factor).sentence}, so that nuclei are as large as at home")
    mapped = None
    if stain and _is_far(np.array(stains), bundle, notify):
        sized = Adjustment(factor)  # at home's size, so that as much of a picture is nucleus
        moments = np.array([density_moment(adjust(image, sized)) for _, image in _read(files, bundle)])
        mapped = stain_map(_typical_moment(moments, cells.labels), home_moment(home, cells.classes))
    if not scale and not mapped:
        return bundle
    return replace(bundle, manifest=structs.replace(bundle.manifest, adjustment=Adjustment(factor, mapped)))


def scale_factor(diameters: Floats, cells: LabelledCells, home: HomeCells) -> float:
    """How many times a laboratory's pictures are to be enlarged: the geometric mean over the classes of both.

    Args:
        diameters: Of the nuclei of N labelled cells; not-a-number where there is none, (N,).
        cells: Their labels. Where no class is one of home's, all cells are compared as one.
        home: Cells of home.

    Raises:
        DataError: No nucleus was found, or sizes differ by too much.
    """
    assert home.measures is not None
    ratios = []
    for label, name in enumerate(cells.classes):
        if name in home.names:
            usual = home.measures.diameters[home.labels == home.names.index(name)]
            ratios.append(_median(usual) / _median(diameters[cells.labels == label]))
    ratios = [ratio for ratio in ratios if np.isfinite(ratio)] or [
        _median(home.measures.diameters) / _median(diameters)
    ]
    factor = float(np.exp(np.mean(np.log(ratios))))
    if not np.isfinite(factor):
        raise DataError("--scale: no nucleus was found in these pictures, or in those of home: leave it out")
    if not LEAST <= factor <= MOST:
        raise DataError(
            f"--scale: nuclei of home are {factor:.2f} times as large as these, and {LEAST} to {MOST} times is what can"
            " be mended: are these pictures of one cell each?"
        )
    return factor


def stain_map(own: Floats, home: Floats) -> tuple[Row, Row, Row]:
    """The symmetric map T of optical densities with T·own·T = home, both second moments, (3, 3).

    T = O^-½ (O^½ H O^½)^½ O^-½: of all maps between such normal distributions, the one that changes colours least.
    """
    own, home = (moment + np.eye(3) * STEADY * np.trace(moment) / 3 for moment in (own, home))
    root, inverse = _power(own, 0.5), _power(own, -0.5)
    rows = (inverse @ _power(root @ home @ root, 0.5) @ inverse).tolist()
    first, second, third = (tuple(row) for row in rows)
    return first, second, third


def home_moment(home: HomeCells, classes: Sequence[str]) -> Floats:
    """Second moment of home's optical densities: of these classes, each alike; of all where it has none of them."""
    shared = home.of(classes)
    chosen = shared if len(shared.labels) else home
    assert chosen.measures is not None
    return _typical_moment(chosen.measures.moments, chosen.labels)


def _typical_moment(moments: Floats, labels: npt.NDArray[np.integer]) -> Floats:
    return np.stack([moments[labels == label].mean(0) for label in np.unique(labels)]).astype(np.float64).mean(0)


def _is_far(stains: Floats, bundle: Bundle, notify: Notify) -> bool:
    assert bundle.calibration is not None
    limit = bundle.calibration.limits[STAIN][1]
    distance = float(np.median(bundle.calibration.stains.distances(stains)))
    far = limit is not None and distance > limit
    decision = "colours are mapped to home's" if far else "colours are near home's, and nothing is mapped"
    notify(f"--stain: {decision} (median distance {distance:.1f}, limit {'none' if limit is None else f'{limit:.1f}'})")
    return far


def _read(files: Sequence[Path], bundle: Bundle) -> Iterator[tuple[Reading, Image]]:
    """Each picture as it is, at the size of the graph's input."""
    for file in files:
        reading = read_cell(file, bundle.width, bundle.height)
        if reading.image is None:
            raise DataError(f"{file} {reading.error}: mend it, or take it out of the folder")
        yield reading, reading.image


def _median(diameters: Floats) -> float:
    found = diameters[np.isfinite(diameters)]
    return float(np.median(found)) if len(found) else float("nan")


def _power(symmetric: Floats, exponent: float) -> Floats:
    values, vectors = np.linalg.eigh(symmetric)
    return vectors * values.clip(1e-12) ** exponent @ vectors.T
