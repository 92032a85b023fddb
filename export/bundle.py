"""From a checkpoint to a bundle: graph, proof, provenance, model card."""

import hashlib
from dataclasses import asdict
from pathlib import Path

from ..calibration.metrics import classification_metrics
from ..calibration.ranges import range_cells
from ..calibration.split import Split, check_split, class_of, read_split
from ..runtime.bundle.bundle import FORMAT, INT8_MODEL, MODEL, PROOF, SAFE_NAME, load_bundle, manifest_files
from ..runtime.bundle.provenance import Preprocessing
from ..runtime.errors import DataError
from ..runtime.files import whole_folder
from ..runtime.images import resize as preprocess
from ..runtime.inference.openvino_backend import OpenVINOBackend
from ..runtime.inference.parity import Reference, infer_all
from ..runtime.inference.tensorrt_engine import Precision
from ..train.checkpoint import Checkpoint, load_checkpoint, predict
from ..train.images import LabelledImages, load_images
from .classes import cell_classes
from .int8 import int8_bytes
from .model_card import MODEL_CARD, model_card
from .onnx_graph import onnx_bytes
from .proof import Proof, prove
from .provenance import bundle_source

NOTICE = "NOTICE"
PROOF_CELLS = 2  # of each class
NO_NOTICE = "No notice was given for the data that this model was trained on.\n"


def export_bundle(
    checkpoint: Path,
    out: Path,
    precision: Precision = "fp16",
    data_dir: Path | None = None,
    notice: Path | None = None,
    open_report: bool = False,
) -> Proof:
    """Make a bundle from a checkpoint, after proof on the cells of `select`.

    Args:
        checkpoint: Checkpoint in its run folder.
        out: Bundle folder to make.
        precision: Of the graph: `fp16` is half precision with float32 islands, and `int8` is that with an 8-bit graph
            beside it, which is left out if it gives other answers.
        data_dir: Data folder, where it has moved since the training.
        notice: Text that the licence of the training data asks to be kept.
        open_report: Whether to run the cells of `report` too, as on the edge, and put the figures into the bundle.

    Returns:
        The proof, which is in the bundle too.

    Raises:
        DataError: Checkpoint, data or output folder does not fit.
        ParityError: The graph gives other answers than the model; nothing is written.
    """
    if out.exists():
        raise DataError(f"{out} exists already: remove it, or choose another --out")
    if not SAFE_NAME.fullmatch(out.name):
        raise DataError(f"{out.name!r} cannot be a bundle's name: use letters, digits, space and . + - _ in --out")
    notice_text = NO_NOTICE if notice is None else _read_text(notice)
    trained = load_checkpoint(checkpoint)
    select = _part_images("select", trained, checkpoint, data_dir)
    logits = predict(trained.model, select.images)
    half = precision != "fp32"
    graph = onnx_bytes(trained.model, trained.image_size, half)
    float32_graph = onnx_bytes(trained.model, trained.image_size, half=False) if half else graph
    reference = Reference(select.images, select.labels, logits, trained.model.fc.bias.detach().numpy())
    int8_graph = b""
    if precision == "int8":
        ranges = _range_images(trained, checkpoint, data_dir)
        int8_graph = int8_bytes(float32_graph, ranges.images)
    proof = prove(reference, float32_graph, graph, half, int8_graph)
    metrics = {"select": classification_metrics(select.labels, logits, trained.classes)}
    if open_report:
        report = _part_images("report", trained, checkpoint, data_dir)
        logits = infer_all(OpenVINOBackend(graph, proof.cpu_precision, int8_graph).infer, report.images).logits
        metrics["report"] = classification_metrics(report.labels, logits, trained.classes)
    paths = _split(trained, checkpoint).paths("select")
    checks = [{**asdict(check), "changed": [paths[i] for i in check.changed]} for check in proof.checks]
    manifest = {
        "format": FORMAT,
        "name": out.name,
        "classes": [asdict(entry) for entry in cell_classes(trained.classes)],
        "input": {"width": trained.image_size[0], "height": trained.image_size[1], "um_per_pixel": None},
        "preprocessing": {"name": preprocess.NAME, "sha256": preprocess.digest()},
        "precision": {"graph": "half, with float32 islands" if half else "float32", "cpu": proof.cpu_precision},
        "calibration": None,
        "source": bundle_source(trained).plain(),
        "metrics": metrics,
        "parity": {"part": "select", "reference": "PyTorch, float32", "checks": checks},
    }
    proof_cells = reference.first_of_each_class(PROOF_CELLS).to_bytes()
    files = {MODEL: graph, PROOF: proof_cells, MODEL_CARD: model_card(manifest).encode(), NOTICE: notice_text.encode()}
    if proof.has_int8:
        files[INT8_MODEL] = int8_graph
    manifest["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    files |= manifest_files(manifest)
    try:
        with whole_folder(out) as folder:
            for name, data in files.items():
                (folder / name).write_bytes(data)
            load_bundle(folder)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror}") from None
    return proof


def _part_images(part: str, trained: Checkpoint, checkpoint: Path, data_dir: Path | None) -> LabelledImages:
    source = trained.provenance
    directory = data_dir or Path(source.data_dir)
    if source.preprocessing != Preprocessing(name=preprocess.NAME, sha256=preprocess.digest()):
        raise DataError(f"{checkpoint} was trained with another preprocessing than this version has: train it again")
    split = _split(trained, checkpoint)
    if not directory.is_dir():
        raise DataError(f"{directory} is not there any more: say with --data where the data folder is")
    check_split(split, directory)
    images = load_images(directory, split.paths(part), trained.classes, trained.image_size)
    if images.sha256 != source.data_sha256[part]:
        raise DataError(f"the images of `{part}` in {directory} are not those of the training: restore them")
    return images


def _range_images(trained: Checkpoint, checkpoint: Path, data_dir: Path | None) -> LabelledImages:
    paths = _split(trained, checkpoint).paths("fit")
    chosen = [paths[i] for i in range_cells([class_of(path) for path in paths])]
    return load_images(data_dir or Path(trained.provenance.data_dir), chosen, trained.classes, trained.image_size)


def _split(trained: Checkpoint, checkpoint: Path) -> Split:
    file = checkpoint.parent / "split.csv"
    split = read_split(file)
    if split.sha256 != trained.provenance.split_sha256:
        raise DataError(f"{file} is not the split that {checkpoint} was trained with")
    return split


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from None
