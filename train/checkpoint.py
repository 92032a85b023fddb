"""Checkpoints of `fit`, read with PyTorch alone."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from ..runtime.bundle.provenance import Provenance
from ..runtime.errors import DataError, install
from .models.base import FeatureClassifier, normalize
from .models.build import build


@dataclass(frozen=True)
class Checkpoint:
    """A trained model.

    Attributes:
        model: With its averaged weights, float32, in evaluation mode.
        arch: What `build` of `cartcls.train.models.build` takes.
        classes: Class names in order.
        image_size: Width and height in pixels.
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
        width, height = held["image_size"]
        provenance = msgspec.convert(held["provenance"], Provenance)
        model = build(held["arch"], len(held["classes"]), (width, height))
        model.load_state_dict({name.removeprefix("model."): value for name, value in checkpoint["state_dict"].items()})
    except FileNotFoundError:
        raise DataError(f"{file} does not exist: name a checkpoint such as RUN_DIR/best.ckpt") from None
    except ModuleNotFoundError as error:
        raise DataError(f"{file} needs {error.name}, which is not installed: {install('train')}") from None
    except Exception as error:  # torch.load raises anything on a foreign file
        raise DataError(f"{file} is not a checkpoint of `cartcls train`: {error}") from None
    return Checkpoint(model.eval(), held["arch"], held["classes"], (width, height), checkpoint["epoch"] + 1, provenance)


def predict(model: FeatureClassifier, images: npt.NDArray[np.uint8], batch_size: int = 32) -> npt.NDArray[np.float32]:
    """Logits (N, K) of uint8 images (N, H, W, 3), in float32."""
    with torch.inference_mode():
        batches = torch.from_numpy(images).split(batch_size)
        return torch.cat([model(normalize(batch)) for batch in batches]).numpy()
