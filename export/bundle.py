"""From a checkpoint to a bundle: graph, proof, provenance, model card."""

import hashlib
import json
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..calibration.metrics import classification_metrics
from ..runtime import preprocess
from ..runtime.bundle import FORMAT, MANIFEST, MODEL, load_bundle
from ..runtime.errors import DataError
from ..train.data import LabelledImages, load_images
from ..train.split import Split, check_split, read_split
from ..train.training import Classifier, load_checkpoint, predict
from .classes import cell_classes
from .model_card import model_card
from .onnx_graph import onnx_bytes
from .parity import Reference, prove

MODEL_CARD, NOTICE = "MODEL_CARD.md", "NOTICE"
NO_NOTICE = "No notice was given for the data that this model was trained on.\n"


def export_bundle(
    checkpoint: Path, out: Path, half: bool = True, data_dir: Path | None = None, notice: Path | None = None
) -> list[dict[str, Any]]:
    """Make a bundle from a checkpoint, after proof on the cells of `select`.

    Args:
        checkpoint: Checkpoint in its run folder.
        out: Bundle folder to make.
        half: Whether the graph is half precision with float32 islands.
        data_dir: Data folder, where it has moved since the training.
        notice: Text that the licence of the training data asks to be kept.

    Returns:
        The parity checks.

    Raises:
        DataError: Checkpoint, data or output folder does not fit.
        ParityError: The graph gives other answers than the model; nothing is written.
    """
    if out.exists():
        raise DataError(f"{out} exists already: remove it, or choose another --out")
    notice_text = NO_NOTICE if notice is None else _read_text(notice)
    classifier = load_checkpoint(checkpoint)
    select = _select_images(classifier, checkpoint, data_dir)
    settings = classifier.hparams
    model, size = classifier.model, tuple(settings["image_size"])
    logits = predict(classifier, select.images)
    bias = model.fc.bias.detach().numpy()
    graph = onnx_bytes(model, size, half)
    float32_graph = onnx_bytes(model, size, half=False) if half else graph
    checks = prove(Reference(select.images, select.labels, logits, bias), float32_graph, graph, half)
    manifest = _manifest(out.name, classifier, half, select, logits, checks)
    files = {
        MODEL: graph,
        MODEL_CARD: model_card(manifest).encode(),
        NOTICE: notice_text.encode(),
    }
    manifest["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    _write(out, files, manifest)
    return checks


def _select_images(classifier: Classifier, checkpoint: Path, data_dir: Path | None) -> LabelledImages:
    source = classifier.hparams["provenance"]
    directory = data_dir or Path(source["data_dir"])
    if source["preprocessing"]["sha256"] != preprocess.digest():
        raise DataError(f"{checkpoint} was trained with another preprocessing than this version has: train it again")
    split: Split = read_split(checkpoint.parent / "split.csv")
    if split.sha256 != source["split_sha256"]:
        raise DataError(f"{checkpoint.parent / 'split.csv'} is not the split that {checkpoint} was trained with")
    if not directory.is_dir():
        raise DataError(f"{directory} is not there any more: say with --data where the data folder is")
    check_split(split, directory)
    size = tuple(classifier.hparams["image_size"])
    select = load_images(directory, split.paths("select"), classifier.hparams["classes"], size)
    if select.sha256 != source["data_sha256"]["select"]:
        raise DataError(f"the images of `select` in {directory} are not those of the training: restore them")
    return select


def _manifest(
    name: str,
    classifier: Classifier,
    half: bool,
    select: LabelledImages,
    logits: Any,
    checks: list[dict[str, Any]],
) -> dict[str, Any]:
    settings = classifier.hparams
    source = {key: value for key, value in settings["provenance"].items() if key not in ("data_dir", "preprocessing")}
    stages = ",".join(
        f"{width}x{height}:{stage['epochs']}" for stage in source["stages"] for width, height in [stage["size"]]
    )
    # The command with nothing of the machine that it ran on.
    source["command"] = (
        f"python -m cartcls.train fit DATA_DIR --split {source['split_file']} --out RUN_DIR --arch {settings['arch']}"
        f" --sizes {stages} --batch-size {source['batch_size']} --seed {source['seed']}"
    )
    metrics = classification_metrics(select.labels, logits, settings["classes"])
    return {
        "format": FORMAT,
        "name": name,
        "classes": [asdict(entry) for entry in cell_classes(settings["classes"])],
        "input": {
            "width": settings["image_size"][0],
            "height": settings["image_size"][1],
            "um_per_pixel": None,
        },
        "preprocessing": {"name": preprocess.NAME, "sha256": preprocess.digest()},
        "precision": "half precision with float32 islands" if half else "float32",
        "calibration": None,
        "source": {
            "arch": settings["arch"],
            "parameters": sum(parameter.numel() for parameter in classifier.model.parameters()),
            **source,
            "export_versions": {package: version(package) for package in ("onnx", "onnxruntime", "openvino", "torch")},
        },
        "metrics": {"select": {"unit": source["split_unit"], **metrics}},
        "parity": {"part": "select", "reference": "PyTorch, float32", "checks": checks},
    }


def _write(out: Path, files: dict[str, bytes], manifest: dict[str, Any]) -> None:
    unfinished = out.with_name(f".unfinished-{out.name}")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for name, data in files.items():
            (unfinished / name).write_bytes(data)
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        load_bundle(unfinished)
        unfinished.rename(out)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None
