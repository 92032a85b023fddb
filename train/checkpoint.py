"""Checkpoints of `fit`, read with PyTorch alone."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..runtime.bundle.provenance import Provenance, stage_index
from ..runtime.errors import DataError, install
from .models.base import AttentionClassifier, FeatureClassifier, normalize
from .models.build import build
from .models.marzahl import Marzahl, within_picture
from .models.rcmnet import interpolate_table

HEAD_WEIGHT = "fc.weight"
TABLES = (".rel_height", ".rel_width")  # the image size sets their length


@dataclass(frozen=True)
class Checkpoint:
    """A trained model.

    Attributes:
        model: With its averaged weights, float32, in evaluation mode.
        arch: What `build` of `cartcls.train.models.build` takes.
        classes: Class names in order.
        image_size: Width and height in pixels of the images that it was last trained on: of a run that was stopped,
            perhaps not those of its last stage.
        epochs: Number of epochs that were trained; of an ensemble, those of its first member.
        provenance: Data, split, command, versions and seed.
    """

    model: FeatureClassifier
    arch: str
    classes: list[str]
    image_size: tuple[int, int]
    epochs: int
    provenance: Provenance


def hyper_parameters(
    arch: str, classes: list[str], image_size: tuple[int, int], provenance: Provenance
) -> dict[str, object]:
    """What a checkpoint contains besides its weights."""
    return {"arch": arch, "classes": classes, "image_size": image_size, "provenance": provenance.plain()}


def load_checkpoint(file: Path) -> Checkpoint:
    """Load the averaged weights of a checkpoint, without executing code in it.

    Raises:
        DataError: The file is missing or not a checkpoint of `fit`.
    """
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        held = checkpoint["hyper_parameters"]
        provenance, epochs = msgspec.convert(held["provenance"], Provenance), checkpoint["epoch"] + 1
        width, height = held["image_size"]
        if stages := provenance.stages:
            width, height = stages[stage_index(stages, epochs - 1)].size
        model = build(held["arch"], len(held["classes"]), (width, height))
        weights = {name.removeprefix("model."): value for name, value in checkpoint["state_dict"].items()}
        model.load_state_dict(fitted_to(model, weights))
    except FileNotFoundError:
        raise DataError(f"{file} does not exist: name a checkpoint such as RUN_DIR/best.ckpt") from None
    except ModuleNotFoundError as error:
        raise DataError(f"{file} needs {error.name}, which is not installed: {install('train')}") from None
    except Exception as error:  # torch.load raises anything on a foreign file
        raise DataError(f"{file} is not a checkpoint of `cartcls train`: {error}") from None
    return Checkpoint(model.eval(), held["arch"], held["classes"], (width, height), epochs, provenance)


def fitted_to(model: FeatureClassifier, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a model of the same architecture, for the shapes of this one.

    Tables of relative positions are resampled for its image size. Of a graph's head, what reads the features of inner
    stages is left out.
    """
    own = model.state_dict()
    found = dict(weights)
    for name in found.keys() & own.keys():
        if name.endswith(TABLES):
            found[name] = interpolate_table(found[name], own[name].shape[0])
    if HEAD_WEIGHT in found:
        found[HEAD_WEIGHT] = found[HEAD_WEIGHT][:, : own[HEAD_WEIGHT].shape[1]]
    return found


def predict(model: FeatureClassifier, images: npt.NDArray[np.uint8], batch_size: int = 32) -> npt.NDArray[np.float32]:
    """Logits (N, K) of uint8 images (N, H, W, 3), in float32."""
    with torch.inference_mode():
        batches = torch.from_numpy(images).split(batch_size)
        return torch.cat([model(normalize(batch)) for batch in batches]).numpy()


def predict_further(
    model: FeatureClassifier, images: npt.NDArray[np.uint8], batch_size: int = 32
) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.float32] | None]:
    """What a model tells of uint8 images (N, H, W, 3) beside their logits.

    Returns:
        Boxes within the picture (N, 4), as `within_picture` has them, and spatial attention in 0…1 (N, 1, h, w),
        float32; None for each that the model does not give.
    """
    with torch.inference_mode():
        batches = map(normalize, torch.from_numpy(images).split(batch_size))
        if isinstance(model, Marzahl):
            return torch.cat([within_picture(model.class_and_box(batch)[1]) for batch in batches]).numpy(), None
        if isinstance(model, AttentionClassifier):
            return None, torch.cat([model.map_and_attention(batch)[1] for batch in batches]).numpy()
    return None, None
