"""From a checkpoint to a bundle: graph, proof, provenance, model card."""

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..calibration.metrics import classification_metrics
from ..runtime import preprocess
from ..runtime.bundle import FORMAT, MANIFEST, MODEL, SAFE_NAME, load_bundle
from ..runtime.errors import DataError
from ..runtime.files import whole_folder
from ..train.checkpoint import Checkpoint, load_checkpoint, predict
from ..train.images import LabelledImages, load_images
from ..train.split import check_split, read_split
from .classes import cell_classes
from .model_card import model_card
from .onnx_graph import onnx_bytes
from .parity import Proof, Reference, prove

MODEL_CARD, NOTICE = "MODEL_CARD.md", "NOTICE"
NO_NOTICE = "No notice was given for the data that this model was trained on.\n"


def export_bundle(
    checkpoint: Path, out: Path, half: bool = True, data_dir: Path | None = None, notice: Path | None = None
) -> Proof:
    """Make a bundle from a checkpoint, after proof on the cells of `select`.

    Args:
        checkpoint: Checkpoint in its run folder.
        out: Bundle folder to make.
        half: Whether the graph is half precision with float32 islands.
        data_dir: Data folder, where it has moved since the training.
        notice: Text that the licence of the training data asks to be kept.

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
    select = _select_images(trained, checkpoint, data_dir)
    logits = predict(trained.model, select.images)
    graph = onnx_bytes(trained.model, trained.image_size, half)
    float32_graph = onnx_bytes(trained.model, trained.image_size, half=False) if half else graph
    reference = Reference(select.images, select.labels, logits, trained.model.fc.bias.detach().numpy())
    proof = prove(reference, float32_graph, graph, half)
    manifest = {
        "format": FORMAT,
        "name": out.name,
        "classes": [asdict(entry) for entry in cell_classes(trained.classes)],
        "input": {"width": trained.image_size[0], "height": trained.image_size[1], "um_per_pixel": None},
        "preprocessing": {"name": preprocess.NAME, "sha256": preprocess.digest()},
        "precision": {"graph": "half, with float32 islands" if half else "float32", "cpu": proof.cpu_precision},
        "calibration": None,
        "source": _source(trained),
        "metrics": {"select": classification_metrics(select.labels, logits, trained.classes)},
        "parity": {"part": "select", "reference": "PyTorch, float32", "checks": [asdict(c) for c in proof.checks]},
    }
    files = {MODEL: graph, MODEL_CARD: model_card(manifest).encode(), NOTICE: notice_text.encode()}
    manifest["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    files[MANIFEST] = (json.dumps(manifest, indent=2) + "\n").encode()
    try:
        with whole_folder(out) as folder:
            for name, data in files.items():
                (folder / name).write_bytes(data)
            load_bundle(folder)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror}") from None
    return proof


def _select_images(trained: Checkpoint, checkpoint: Path, data_dir: Path | None) -> LabelledImages:
    source = trained.provenance
    directory = data_dir or Path(source["data_dir"])
    if source["preprocessing"]["sha256"] != preprocess.digest():
        raise DataError(f"{checkpoint} was trained with another preprocessing than this version has: train it again")
    split = read_split(checkpoint.parent / "split.csv")
    if split.sha256 != source["split_sha256"]:
        raise DataError(f"{checkpoint.parent / 'split.csv'} is not the split that {checkpoint} was trained with")
    if not directory.is_dir():
        raise DataError(f"{directory} is not there any more: say with --data where the data folder is")
    check_split(split, directory)
    select = load_images(directory, split.paths("select"), trained.classes, trained.image_size)
    if select.sha256 != source["data_sha256"]["select"]:
        raise DataError(f"the images of `select` in {directory} are not those of the training: restore them")
    return select


def _source(trained: Checkpoint) -> dict[str, Any]:
    """Where the model came from, with nothing of the machine that it was trained on."""
    source = {key: value for key, value in trained.provenance.items() if key not in ("data_dir", "preprocessing")}
    stages = ",".join("{}x{}".format(*stage["size"]) + f":{stage['epochs']}" for stage in source["stages"])
    source["command"] = (
        f"python -m cartcls.train fit DATA_DIR --split {source['split_file']} --out RUN_DIR --arch {trained.arch}"
        f" --sizes {stages} --batch-size {source['batch_size']} --seed {source['seed']}"
    )
    if source["start"]:
        source["command"] += " --start START"
    parameters = sum(parameter.numel() for parameter in trained.model.parameters())
    packages = ("onnx", "onnxruntime", "openvino", "torch")
    return {
        "arch": trained.arch,
        "parameters": parameters,
        **source,
        "export_versions": {package: version(package) for package in packages},
    }


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from None
