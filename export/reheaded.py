"""A bundle with another head, made where there is no PyTorch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from msgspec import UNSET
from msgspec.structs import replace

from ..calibration.adapted_head import HOME_CELLS
from ..calibration.head import Head
from ..calibration.metrics import classification_metrics
from ..runtime.bundle.bundle import INT8_MODEL, MODEL, PARITY_CELLS, Bundle, load_bundle, write_bundle
from ..runtime.bundle.manifest import CellClass, Metrics, Parity
from ..runtime.bundle.provenance import Provenance
from ..runtime.bundle.review import CALIBRATION, Gaussians
from ..runtime.errors import BundleError, DataError
from ..runtime.files import whole_folder, writing
from ..runtime.inference.parity import Images, Reference, infer_all, is_half
from .classes import unknown_cells
from .head import read_head, replace_head
from .model_card import MODEL_CARD, model_card
from .parity import CELLS_PER_CLASS, check_parity, onnxruntime_infer
from .recalibrated import check_writable
from .retype import to_float32

REFERENCE = "the same graph, float32"
OF_CALIBRATION = (CALIBRATION, HOME_CELLS, "reliability.png", "risk-coverage.png")


@dataclass(frozen=True)
class ParityCells:
    """Cells that show what a graph answers.

    Attributes:
        part: Of the split, or where else they are from.
        images: At the bundle's input size, uint8, (N, H, W, 3).
        paths: Path of each image.
        labels: True class indices, (N,); None where they are not known. Then the answers in float32 count as right.
    """

    part: str
    images: Images
    paths: Sequence[str]
    labels: npt.NDArray[np.int64] | None = None


def check_reheadable(bundle: Bundle, out: Path) -> Gaussians:
    """Make sure, before anything is computed, that a bundle can get another head for its features.

    Returns:
        The classes in its feature space.

    Raises:
        DataError: `out` exists.
        OutputError: Its place cannot be written.
        BundleError: The bundle is not calibrated, or its features are those of one member alone.
    """
    if out.exists():
        raise DataError(f"{out} exists already: remove it, or choose another --out")
    check_writable(bundle, out)
    if bundle.calibration is None:
        raise BundleError(f"{bundle.directory} is not calibrated: run `cartcls calibrate` on it first")
    used, known = read_head(bundle.model).weight.shape[1], bundle.calibration.features.means.shape[1]
    if used != known:
        raise BundleError(
            f"{bundle.directory} gives {known} of the {used} features that its head is applied to: export it again with"
            " this version, and calibrate it"
        )
    return bundle.calibration.features


def write_reheaded(
    bundle: Bundle, head: Head, classes: Sequence[CellClass], source: Provenance, cells: ParityCells, out: Path
) -> Bundle:
    """Write a bundle with another head, after a parity check of its graphs. It must be calibrated again.

    Args:
        bundle: What it is made from.
        head: Of the K classes, for all features.
        classes: In the order of the head.
        source: Provenance; its `head` says how the head was made.
        cells: To check parity on. The reference is the graph in float32, since the other layers are the bundle's.
        out: Folder to make.

    Returns:
        The bundle, as it was read back.

    Raises:
        DataError: `out` exists or cannot be written.
        BundleError: The bundle's head is not one linear layer on pooled features.
        ParityError: The half-precision graph gives other answers than the one in float32; nothing is written.
    """
    if out.exists():
        raise DataError(f"{out} exists already: remove it, or choose another --out")
    shipped = replace_head(bundle.model, head)
    float32 = to_float32(shipped)
    has_int8 = INT8_MODEL in bundle.manifest.files
    int8 = replace_head(bundle.file(INT8_MODEL).read(), head) if has_int8 else b""
    expected = infer_all(onnxruntime_infer(float32), cells.images)
    logits = expected.logits
    labels = logits.argmax(1) if cells.labels is None else cells.labels
    bias = head.bias.astype(np.float32)
    reference = Reference(cells.images, labels, logits, bias, expected.boxes, expected.attention)
    parity = check_parity(reference, float32, shipped, is_half(bundle), int8)
    manifest = replace(
        bundle.manifest,
        name=out.name,
        classes=tuple(classes),
        precision=replace(bundle.manifest.precision, cpu=parity.cpu_precision),
        calibration=None,
        source=source,
        metrics=_metrics(cells, logits, classes),
        parity=Parity(cells.part, REFERENCE, parity.recorded(cells.paths)),
        reading_order=UNSET,
        report=bundle.manifest.report if tuple(classes) == bundle.classes else UNSET,
        unknown_cells=_unknown_cells(bundle, classes),
    )
    kept = bundle.manifest.files.keys() - {INT8_MODEL, *OF_CALIBRATION}
    files = {name: bundle.file(name).read() for name in kept}
    files |= {MODEL: shipped, PARITY_CELLS: reference.first_of_each_class(CELLS_PER_CLASS).to_bytes()}
    files |= {MODEL_CARD: model_card(manifest).encode()} | ({INT8_MODEL: int8} if parity.has_int8 else {})
    with writing(out, DataError), whole_folder(out) as folder:
        write_bundle(folder, manifest, files)
    return load_bundle(out)


def _unknown_cells(bundle: Bundle, classes: Sequence[CellClass]) -> str:
    """The bundle's own sentence, where it still has its classes."""
    return bundle.manifest.unknown_cells if tuple(classes) == bundle.classes else unknown_cells(classes, bundle.classes)


def _metrics(cells: ParityCells, logits: npt.NDArray[np.float32], classes: Sequence[CellClass]) -> dict[str, Metrics]:
    if cells.labels is None:
        return {}
    return {cells.part: classification_metrics(cells.labels, logits, [entry.name for entry in classes])}
