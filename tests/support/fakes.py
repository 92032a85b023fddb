"""What tests put in the place of a model."""

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from msgspec import structs

from cartcls.runtime.bundle.bundle import MANIFEST, MANIFEST_DIGEST, Bundle, manifest_digest
from cartcls.runtime.bundle.calibration import Limits, SlideLimits, Typical
from cartcls.runtime.bundle.manifest import Further
from cartcls.runtime.bundle.review import Calibration, Gaussians
from cartcls.runtime.errors import BackendError
from cartcls.runtime.images.adjust import Adjustment
from cartcls.runtime.inference.backend import Outputs, Progress

ATTENTION = np.linspace(0.2, 0.8, 36, dtype=np.float32).reshape(6, 6)  # from the upper left to the lower right


class FakeBackend:
    """Says class 1 of every cell; `fail` is called before each batch, whose sizes go into `seen`."""

    name, device, precision, batch_size = "fake", "none", "f32", 4
    batches_at_once = 1

    def __init__(
        self,
        fail: Callable[[], None] = lambda: None,
        logit: float = 5.0,
        maps: bool = True,
        seen: list[int] | None = None,
        box: tuple[float, float, float, float] | None = None,
        attention: bool = False,
    ):
        self.fail, self.logit, self.maps, self.seen = fail, logit, maps, seen
        self.box, self.attention = box, attention

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        self.fail()
        if self.seen is not None:
            self.seen.append(len(images))
        logits = np.zeros((len(images), 8), np.float32)
        logits[:, 1] = self.logit
        maps = np.ones((len(images), 8, 12, 12), np.float32) if self.maps else None
        outputs = Outputs(logits, np.zeros((len(images), 3968), np.float32), maps)
        return replace(
            outputs,
            boxes=None if self.box is None else np.array([self.box] * len(images), np.float32),
            attention=np.stack([ATTENTION[None]] * len(images)) if self.attention else None,
        )

    def close(self) -> None:
        pass


class InlinePool(ThreadPoolExecutor):
    """Does all work at once, in the thread that asks for it."""

    def submit(self, fn, /, *args, **values):  # type: ignore[no-untyped-def]
        future: Future = Future()  # type: ignore[type-arg]
        try:
            future.set_result(fn(*args, **values))
        except BaseException as error:
            future.set_exception(error)
        return future


class Near(Gaussians):
    """Nothing is far from it."""

    def distances(self, vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        return np.zeros(len(vectors))


def without_checks(bundle: Bundle) -> Bundle:
    """A calibrated bundle that marks nothing for review, whatever a fake says; its temperature is 1."""
    record = bundle.manifest.calibration
    assert record is not None
    none: Limits = dict.fromkeys(record.limits, (None, None))
    far = Typical(*(dict.fromkeys(names, 1e9) for names in (record.typical.features, record.typical.colours)))
    record = structs.replace(
        record, temperature=1.0, threshold=0.0, limits=none, typical=far, slide=SlideLimits(0, 0, 0)
    )
    near = Near(np.zeros((len(bundle.classes), 1)), np.eye(1))
    classes = tuple(structs.replace(entry, always_review=False) for entry in bundle.classes)
    manifest = structs.replace(bundle.manifest, calibration=record, classes=classes)
    return replace(bundle, manifest=manifest, calibration=Calibration(0.0, none, near, near))


def adjusting(bundle: Bundle, adjustment: Adjustment) -> Bundle:
    """A bundle that changes pictures for the model."""
    return replace(bundle, manifest=structs.replace(bundle.manifest, adjustment=adjustment))


def uncalibrated(bundle: Bundle) -> Bundle:
    """A bundle without its calibration, which marks all cells for review."""
    return replace(bundle, manifest=structs.replace(bundle.manifest, calibration=None), calibration=None)


def of_two_classes(bundle: Bundle) -> Bundle:
    """An uncalibrated bundle that tells only lymphocytes and monocytes apart, which are no leukocytes to it."""
    two = [entry for entry in bundle.classes if entry.name in ("lymphocyte", "monocyte")]
    classes = tuple(structs.replace(entry, kind="other") for entry in two)
    manifest = structs.replace(bundle.manifest, classes=classes, unknown_cells="")
    return uncalibrated(replace(bundle, manifest=manifest))


def giving(bundle: Bundle, *further: Further) -> Bundle:
    """The same bundle, whose graph gives more."""
    return replace(bundle, manifest=structs.replace(bundle.manifest, outputs=further))


def giving_findings(bundle: Bundle) -> Bundle:
    """The same bundle, whose reports give no differential."""
    return replace(bundle, manifest=structs.replace(bundle.manifest, report="finding"))


def write_manifest(directory: Path, manifest: dict[str, object]) -> None:
    """Write what is to be `bundle.json`, right or wrong, and its digest."""
    data = (json.dumps(manifest, indent=2) + "\n").encode()
    (directory / MANIFEST).write_bytes(data)
    (directory / MANIFEST_DIGEST).write_bytes(manifest_digest(data))


class KnowingBackend(FakeBackend):
    """Knows the label of each cell it was told of, is wrong about the last of every `mistakes`, and then less sure."""

    def __init__(self, labels: dict[bytes, int], mistakes: int = 25):
        super().__init__()
        self.labels, self.mistakes, self.count = labels, mistakes, 0
        self.random = np.random.default_rng(0)
        self.centers = 4 * self.random.normal(size=(8, 64))

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        labels = np.array([self.labels[cell_key(image)] for image in images])
        logits = self.random.normal(size=(len(images), 8)) + 9 * np.eye(8)[labels]
        for row, label in enumerate(labels):
            self.count += 1
            if self.count % self.mistakes == 0:
                logits[row, (label + 1) % 8] = logits[row, label] + 0.5
        features = self.centers[labels] + self.random.normal(size=(len(images), 64))
        maps = np.ones((len(images), 8, 12, 12), np.float32)
        return Outputs(0.35 * logits.astype(np.float32), features.astype(np.float32), maps)


def cell_key(image: npt.NDArray[np.uint8]) -> bytes:
    """What tells one cell from another."""
    return image[160:200, 160:200].tobytes()


class FaultyBackend(FakeBackend):
    """Has one fault at its second batch; `begun` lists the processes that loaded it, and the batches that they took."""

    def __init__(self, fault: str, begun: Path, notify: Callable[[str], None], progress: Progress):
        with begun.open("a") as file:
            file.write(f"{os.getpid()}\n")
        super().__init__()
        first = len(begun.read_text().split()) == 1
        self.fault, self.armed, self.taken, self.begun = fault, first, 0, begun
        if fault == "gone" and not first:
            raise BackendError("no GPU is there")
        if fault == "another" and not first:
            self.precision = "f16"
        if fault == "smaller" and not first:
            self.batch_size = 1
        notify(f"loaded with the fault {fault}")
        progress("building", 1, 2)

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        self.taken += 1
        outputs = super().infer(images)
        if self.fault == "slow":
            time.sleep(1.5)
        if self.fault == "always":
            raise BackendError("CUDA_ERROR_NO_DEVICE")
        if not self.armed or self.taken < 2:
            return outputs
        if self.fault == "memory" and len(images) > 2:
            raise BackendError("CUDA_ERROR_OUT_OF_MEMORY in cuMemAlloc")
        if self.fault == "hang":
            time.sleep(600)
        if self.fault in ("sticky", "gone", "another", "smaller"):
            raise BackendError("CUDA_ERROR_ILLEGAL_ADDRESS: stays until the process ends")
        if self.fault == "crash":
            os._exit(9)
        if self.fault == "nan":
            outputs.logits[images[:, 0, 0, 0] > 100] = np.nan
        return outputs

    def close(self) -> None:
        self.begun.with_suffix(".closed").touch()
