"""What tests put in the place of a model."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cartcls.runtime.backend import Outputs


class FakeBackend:
    """Says class 1 of every cell; `fail` is called before each batch, whose sizes go into `seen`."""

    name, device, precision, batch_size = "fake", "none", "f32", 4

    def __init__(
        self,
        fail: Callable[[], None] = lambda: None,
        logit: float = 5.0,
        maps: bool = True,
        seen: list[int] | None = None,
    ):
        self.fail, self.logit, self.maps, self.seen = fail, logit, maps, seen

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        self.fail()
        if self.seen is not None:
            self.seen.append(len(images))
        logits = np.zeros((len(images), 8), np.float32)
        logits[:, 1] = self.logit
        maps = np.ones((len(images), 8, 12, 12), np.float32) if self.maps else None
        return Outputs(logits, np.zeros((len(images), 512), np.float32), maps)

    def close(self) -> None:
        pass
