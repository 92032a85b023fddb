"""From a checkpoint to a bundle: graph, parity, provenance, model card."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET

from ..calibration.cross_validation import CROSS_VALIDATED, CrossValidated
from ..calibration.metrics import classification_metrics
from ..calibration.ranges import range_cells
from ..calibration.split import TRAINED, Split, check_split, class_of, read_split
from ..runtime.bundle.bundle import INT8_MODEL, MODEL, PARITY_CELLS, write_bundle
from ..runtime.bundle.manifest import SAFE_NAME, GraphInput, Manifest, Metrics, Parity, Precisions
from ..runtime.bundle.provenance import Preprocessing
from ..runtime.errors import DataError
from ..runtime.files import whole_folder, writing
from ..runtime.images.resize import PREPROCESSING
from ..runtime.inference.engine_store import Precision
from ..runtime.inference.openvino_backend import OpenVINOBackend
from ..runtime.inference.parity import Reference, infer_all
from ..train.checkpoint import Checkpoint, load_checkpoint, predict, predict_further
from ..train.images import LabelledImages, load_images
from .classes import cell_classes, unknown_cells
from .graph import further_outputs
from .int8 import int8_bytes
from .model_card import MODEL_CARD, model_card
from .onnx_graph import onnx_bytes
from .parity import CELLS_PER_CLASS, ParityReport, check_parity
from .provenance import bundle_source

NOTICE = "NOTICE"
NO_NOTICE = "No notice was given for the data that this model was trained on.\n"


def export_bundle(
    checkpoint: Path,
    out: Path,
    precision: Precision = "fp16",
    data_dir: Path | None = None,
    notice: Path | None = None,
    open_report: bool = False,
) -> ParityReport:
    """Make a bundle from a checkpoint, after a parity check on the cells of `select`, or of `fit` where all are there.

    Args:
        checkpoint: Checkpoint in its run folder.
        out: Bundle folder to make.
        precision: Of the graph: `fp16` is half precision, partly float32, and `int8` is that with an 8-bit graph beside
            it, which is left out if it gives other answers.
        data_dir: Data folder, if it has moved since the training.
        notice: Text file to include, as the licence of the training data asks.
        open_report: Whether to run the cells of `report` too, as on the edge, and put the figures into the bundle.

    Returns:
        The parity checks, which are in the bundle too.

    Raises:
        DataError: Checkpoint, data or output folder cannot be used.
        ParityError: The graph gives other answers than the model; nothing is written.
    """
    if out.exists():
        raise DataError(f"{out} exists already: remove it, or choose another --out")
    if not SAFE_NAME.fullmatch(out.name):
        raise DataError(f"{out.name!r} cannot be a bundle's name: use letters, digits, space and . + - _ in --out")
    notice_text = NO_NOTICE if notice is None else _read_text(notice)
    trained = load_checkpoint(checkpoint)
    run = _Run(checkpoint, trained, data_dir)
    part = run.compared
    cells = run.images(part)
    logits = predict(trained.model, cells.images)
    bias, further = trained.model.fc.bias.detach().numpy(), predict_further(trained.model, cells.images)
    reference = Reference(cells.images, cells.labels, logits, bias, *further)
    graphs = _graphs(run, precision)
    parity = check_parity(reference, graphs.float32, graphs.shipped, graphs.half, graphs.int8)
    metrics = _metrics(run, cells, logits)
    if open_report:
        metrics["report"] = _report_metrics(run, graphs, parity)
    manifest = _manifest(out.name, trained, graphs.half, parity, metrics, (part, cells.paths))
    files = {
        MODEL: graphs.shipped,
        PARITY_CELLS: reference.first_of_each_class(CELLS_PER_CLASS).to_bytes(),
        MODEL_CARD: model_card(manifest).encode(),
        NOTICE: notice_text.encode(),
    }
    if parity.has_int8:
        files[INT8_MODEL] = graphs.int8
    with writing(out, DataError), whole_folder(out) as folder:
        write_bundle(folder, manifest, files)
    return parity


@dataclass(frozen=True)
class _Run:
    """A checkpoint in its run folder, and the cells of its training; `data_dir` is their new place if they moved."""

    checkpoint: Path
    trained: Checkpoint
    data_dir: Path | None

    def images(self, part: str) -> LabelledImages:
        """The cells of a part, which must be those of the training."""
        source = self.trained.provenance
        if source.preprocessing != Preprocessing(PREPROCESSING):
            raise DataError(
                f"{self.checkpoint} was trained with another preprocessing than this version has: train it again"
            )
        split, directory = self._split(), self._directory()
        if not directory.is_dir():
            raise DataError(f"{directory} does not exist any more: give the data folder with --data")
        if part not in source.data_sha256:
            raise DataError(f"{self.checkpoint} was trained on data without the part {part!r}")
        check_split(split, directory, needed=TRAINED if split.paths("select") else TRAINED[:1])
        images = self._load(split.paths(part))
        if images.sha256 != source.data_sha256[part]:
            raise DataError(f"the images of `{part}` in {directory} are not those of the training: restore them")
        return images

    @property
    def compared(self) -> str:
        """The part for the parity check: that of the model on all cells of a cross-validation is `fit`."""
        return "select" if self._split().paths("select") else "fit"

    def cross_validated(self) -> CrossValidated | None:
        """Figures of the cross-validation that it is the final model of."""
        file = self.checkpoint.with_name(CROSS_VALIDATED)
        try:
            return msgspec.json.decode(file.read_bytes(), type=CrossValidated) if file.exists() else None
        except (OSError, ValueError) as error:
            raise DataError(f"{file} cannot be read ({error}): run the cross-validation again") from None

    def range_images(self) -> LabelledImages:
        """Cells of `fit` that show the range of each activation."""
        paths = self._split().paths("fit")
        return self._load([paths[i] for i in range_cells([class_of(path) for path in paths])])

    def _directory(self) -> Path:
        return self.data_dir or Path(self.trained.provenance.data_dir)

    def _load(self, paths: list[str]) -> LabelledImages:
        return load_images(self._directory(), paths, self.trained.classes, self.trained.image_size)

    def _split(self) -> Split:
        file = self.checkpoint.parent / "split.csv"
        split = read_split(file)
        if split.sha256 != self.trained.provenance.split_sha256:
            raise DataError(f"{file} is not the split that {self.checkpoint} was trained with")
        return split


@dataclass(frozen=True)
class _Graphs:
    """The graph that ships, the same in float32, and in 8 bits; the last is empty if it was not asked for."""

    half: bool
    shipped: bytes
    float32: bytes
    int8: bytes


def _graphs(run: _Run, precision: Precision) -> _Graphs:
    model, size, half = run.trained.model, run.trained.image_size, precision != "fp32"
    shipped = onnx_bytes(model, size, half)
    float32 = onnx_bytes(model, size, half=False) if half else shipped
    int8 = int8_bytes(float32, run.range_images().images) if precision == "int8" else b""
    return _Graphs(half, shipped, float32, int8)


def _metrics(run: _Run, cells: LabelledImages, logits: npt.NDArray[np.float32]) -> dict[str, Metrics]:
    """Metrics of cells that the weights were not trained on: those of `select`, or the cross-validated ones."""
    if run.compared == "select":
        return {"select": classification_metrics(cells.labels, logits, run.trained.classes)}
    found = run.cross_validated()
    return {found.unit: found.metrics} if found else {}


def _report_metrics(run: _Run, graphs: _Graphs, parity: ParityReport) -> Metrics:
    """Metrics of the cells of `report`, run as on the edge."""
    report = run.images("report")
    backend = OpenVINOBackend(graphs.shipped, parity.cpu_precision, graphs.int8)
    return classification_metrics(report.labels, infer_all(backend.infer, report.images).logits, run.trained.classes)


def _manifest(
    name: str,
    trained: Checkpoint,
    half: bool,
    parity: ParityReport,
    metrics: dict[str, Metrics],
    compared: tuple[str, list[str]],
) -> Manifest:
    """The manifest before its files are written; `compared` are the part and the paths of the parity check."""
    part, paths = compared
    width, height = trained.image_size
    classes = tuple(cell_classes(trained.classes))
    further = further_outputs(trained.model)
    return Manifest(
        name=name,
        classes=classes,
        input=GraphInput(width, height),
        preprocessing=Preprocessing(PREPROCESSING),
        precision=Precisions("half, with float32 islands" if half else "float32", parity.cpu_precision),
        source=bundle_source(trained),
        metrics=metrics,
        parity=Parity(part, "PyTorch, float32", parity.recorded(paths)),
        files={},
        unknown_cells=unknown_cells(classes),
        outputs=further or UNSET,
    )


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from None
