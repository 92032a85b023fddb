"""What runs a bundle's graph: a protocol of two methods, and the choice between its implementations."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .bundle import Bundle
from .errors import BackendError

BACKENDS = ("auto", "openvino")


@dataclass(frozen=True)
class Outputs:
    """What the graph gives for N images.

    Attributes:
        logits: float32, (N, K).
        features: float32, (N, 512).
        cams: Class activation maps, float32, (N, K, h, w); None where the model's head has none.
    """

    logits: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]
    cams: npt.NDArray[np.float32] | None


class Backend(Protocol):
    """A loaded graph.

    Attributes:
        name: Such as `openvino`.
        device: Name of the processor.
        precision: What the compiled model really computes in.
        batch_size: Number of images that it takes best at once.
    """

    name: str
    device: str
    precision: str
    batch_size: int

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Run the graph on RGB images (N, H, W, 3)."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def open_backend(bundle: Bundle, name: str = "auto") -> Backend:
    """Load a bundle's graph.

    Raises:
        BackendError: The backend is unknown, not installed, or cannot load the graph.
    """
    if name not in BACKENDS:
        raise BackendError(f"{name!r} is not a backend: use one of {', '.join(BACKENDS)}")
    from .openvino_backend import OpenVINOBackend

    backend = OpenVINOBackend(bundle.model, bundle.cpu_precision)
    for port, shape in {
        "image": [None, bundle.height, bundle.width, 3],
        "logits": [None, len(bundle.classes)],
    }.items():
        if backend.shapes.get(port) != shape:
            raise BackendError(f"the graph of {bundle.directory} does not fit its {port} {shape}: export it again")
    return backend
