"""A bundle whose features are standardised by a laboratory's own cells, made where there is no PyTorch.

Scale and shift of the features are written into the head, so that graph, heat maps and engines stay of the same form.
"""

from pathlib import Path

import numpy as np
from msgspec.structs import replace

from ..calibration.laboratory import standardise_laboratory
from ..calibration.unlabelled import UnlabelledCells
from ..runtime.bundle.bundle import Bundle
from ..runtime.images.decode import read_image
from .head import read_head
from .reheaded import ParityCells, write_reheaded

PARITY_COUNT = 64  # cells
PART = "cells of this laboratory without a label"


def write_standardised(bundle: Bundle, cells: UnlabelledCells, out: Path) -> Bundle:
    """Write a bundle that standardises features by these cells. No cell is `ok` until it is calibrated.

    Args:
        bundle: One that `check_reheadable` accepts.
        cells: Of many slides of one laboratory.
        out: Folder to make.

    Returns:
        The bundle, as it was read back.

    Raises:
        DataError: There are too few cells, or they are like the training cells already; or `out` cannot be written.
        ParityError: The new graph in half precision gives other answers than in float32; nothing is written.
    """
    assert bundle.calibration is not None
    names = [entry.name for entry in bundle.classes]
    made = standardise_laboratory(cells.features, cells.probabilities, bundle.calibration.features, names)
    head = read_head(bundle.model).after(made.scale, made.shift)
    chosen = np.linspace(0, len(cells.files) - 1, min(len(cells.files), PARITY_COUNT)).astype(int)
    files = [cells.files[place] for place in chosen]
    images = np.stack([bundle.graph_input(read_image(file)[0]) for file in files])
    how = f"features standardised by {len(cells.files)} cells without a label, for a usual differential"
    source = replace(bundle.manifest.source, head=how)
    parity = ParityCells(PART, images, [file.name for file in files])
    return write_reheaded(bundle, head, bundle.classes, source, parity, out)
