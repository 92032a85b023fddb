"""Weights to start a training from: those of a checkpoint or of a bundle, also one with other classes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..runtime.bundle.bundle import MANIFEST, load_bundle
from ..runtime.errors import DataError
from .checkpoint import Checkpoint, load_checkpoint
from .models.rcmnet import PLUS, FeatureClassifier, interpolate_table

TABLES = ("bot.attention.rel_height", "bot.attention.rel_width")
HEAD = "fc."
READER = "readers.{}."  # of several, by number
LAST_NORMS = ("bot.bn3.weight", "body.bn2.weight")  # of a reader: as many as it has features
FIXED = ("scale", "shift")  # of pixels, in `EfficientNetLite`


@dataclass(frozen=True)
class Start:
    """Weights of a trained model.

    Attributes:
        arch: Its architecture.
        classes: Its class names in order.
        weights: Float32 tensors by the names of the model's state dict; those of the head last.
        provenance: A checkpoint's name, epochs and own provenance, or name and digest of a bundle or a package.
    """

    arch: str
    classes: list[str]
    weights: dict[str, Tensor]
    provenance: dict[str, Any]


def read_start(path: Path, arch: str = "rcmnet") -> Start:
    """Read the weights of a bundle folder or of a checkpoint.

    Args:
        path: Either.
        arch: What they are for. Of several readers, the one of that name is taken.

    Raises:
        DataError: The checkpoint cannot be used, or holds no reader of that name.
        BundleError: The bundle cannot be used.
    """
    if not path.is_dir():
        checkpoint = load_checkpoint(path)
        weights = {name: value.clone() for name, value in checkpoint.model.state_dict().items()}
        provenance = checkpoint_provenance(path, checkpoint)
        return _reader(Start(checkpoint.arch, checkpoint.classes, weights, provenance), arch)
    bundle = load_bundle(path)
    start = Start(
        bundle.manifest.source.arch,
        [entry.name for entry in bundle.classes],
        graph_weights(bundle.model, path),
        {"bundle": bundle.name, MANIFEST: bundle.sha256},
    )
    return _reader(start, arch)


def checkpoint_provenance(file: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Where a checkpoint comes from, as another's provenance holds it."""
    source = {name: value for name, value in checkpoint.provenance.items() if name != "data_dir"}
    return {"checkpoint": file.name, "arch": checkpoint.arch, "epochs": checkpoint.epochs, "source": source}


def start_from(model: FeatureClassifier, arch: str, classes: list[str], start: Start) -> bool:
    """Copy weights into a new model.

    Tables of relative positions are resampled for another image size. The head is copied where the classes are the
    same, else it stays as it was initialised.

    Returns:
        Whether the head was copied.

    Raises:
        DataError: The weights are of another architecture, or not all there.
    """
    if start.arch != arch:
        raise DataError(f"the weights to start from are of {start.arch}: train with --arch {start.arch}")
    own = model.state_dict()
    same_classes = start.classes == classes
    weights = {}
    for name, value in start.weights.items():
        if name in TABLES:
            value = interpolate_table(value, own[name].shape[0])
        weights[name] = own[name] if name.startswith(HEAD) and not same_classes else value
    weights.update({name: own[name] for name in own if name.endswith("num_batches_tracked")})
    if missing := own.keys() ^ weights.keys():
        raise DataError(f"the weights to start from do not fit {arch}: see {', '.join(sorted(missing)[:3])}")
    model.load_state_dict(weights)
    return same_classes


def graph_weights(model: bytes, directory: Path) -> dict[str, Tensor]:
    """Weights and batch statistics, float32, by name, of a bundle's graph.

    Raises:
        DataError: The graph does not hold them by name.
    """
    import onnx  # only here, so that training needs it for nothing else
    from onnx import numpy_helper

    graph = onnx.load_from_string(model).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor).astype(np.float32) for tensor in graph.initializer}
    weights = {name.removeprefix("model."): array for name, array in arrays.items() if name.startswith("model.")}
    weights.update({name: array for name, array in arrays.items() if name.startswith(HEAD)})
    by_position = [
        arrays[name] for node in graph.node if node.op_type == "MatMul" for name in node.input[1:] if name in arrays
    ]
    by_position = [array for array in by_position if array.ndim == 3]
    weights = {name: array for name, array in weights.items() if name.rpartition(".")[2] not in FIXED}
    first = READER.format(0) if READER.format(0) + "conv1.weight" in weights else ""
    weights.update(zip([f"{first}{name}" for name in TABLES], map(_table, by_position), strict=False))
    if "fc.weight" not in weights:
        raise DataError(f"{directory} does not hold its weights by name: start from its checkpoint")
    return {name: torch.from_numpy(array.copy()) for name, array in weights.items()}


def _reader(start: Start, arch: str) -> Start:
    """One of several readers, where the weights are those of all; the bias of its head is the mean of theirs."""
    archs = start.arch.split(PLUS)
    if len(archs) == 1:
        return start
    if arch not in archs:
        raise DataError(f"the weights to start from are of {', '.join(archs)}: train with --arch and one of these")
    prefixes = [READER.format(number) for number in range(len(archs))]
    norms = [prefix + name for prefix in prefixes for name in LAST_NORMS]
    widths = [len(start.weights[name]) for name in norms if name in start.weights]
    chosen = archs.index(arch)
    prefix = prefixes[chosen]
    weights = {name.removeprefix(prefix): value for name, value in start.weights.items() if name.startswith(prefix)}
    weights["fc.weight"] = start.weights["fc.weight"].split(widths, 1)[chosen] * len(archs)  # of (K, D)
    weights["fc.bias"] = start.weights["fc.bias"]
    return replace(start, arch=arch, weights=weights)


def _table(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Undo `relative_vectors`: (n, d, n) with `[i, :, j] = table[j − i + n − 1]` back to the table (2n−1, d)."""
    return np.concatenate([vectors[-1].T, vectors[0].T[1:]])
