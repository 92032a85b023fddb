"""What `cpu.py` compares: each runs in a process of its own and prints one JSON line.

python benchmarks/contestants.py NAME CROPS_DIR OUT_DIR [BUNDLE]
"""

import csv
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from memory import peak_memory

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import load_bundle
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.resize import Image, stretch
from cartcls.runtime.inference.backend import Backend
from cartcls.runtime.inference.choose import open_backend
from cartcls.runtime.inference.openvino_backend import BF16, F32, OpenVINOBackend
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.slides.batch import classify_slide

BATCH = 8
BUNDLE = load_bundle(Path(sys.argv[4])) if sys.argv[4:] else load_bundle()
CLASSES = [entry.name for entry in BUNDLE.classes]
LAST_LAYERS = (".bot", ".body.bn2")  # of each member

Seconds = tuple[float, float, int]


def cartcls_batch(crops: Path, out: Path) -> Seconds:
    """All of `cartcls batch` after its start: files in, CSV, page and thumbnails with heat maps out."""
    started = time.perf_counter()
    classifier = Classifier(BUNDLE, "openvino")
    loaded = time.perf_counter()
    with open_ledger(out, BUNDLE) as ledger:
        _, summary = classify_slide(crops, out, classifier, ledger)
    return loaded - started, time.perf_counter() - loaded, summary.images


def openvino_bare(crops: Path, out: Path) -> Seconds:
    """OpenVINO on crops already in memory, at the precision that `cartcls batch` uses: the upper limit."""
    return _bare(crops, lambda: open_backend(BUNDLE, "openvino"))


def openvino_all_at_once(crops: Path, out: Path) -> Seconds:
    """The same, given all crops in one call, so that no core waits for the last image of a batch."""
    return _bare(crops, lambda: open_backend(BUNDLE, "openvino"), at_once=True)


def openvino_bfloat16(crops: Path, out: Path) -> Seconds:
    """Batch after batch, all in bfloat16."""
    return _bare(crops, lambda: OpenVINOBackend(BUNDLE.model, BF16))


def openvino_float32(crops: Path, out: Path) -> Seconds:
    """Batch after batch, all in float32."""
    return _bare(crops, lambda: OpenVINOBackend(BUNDLE.model, F32))


def _bare(crops: Path, open_it: Callable[[], Backend], at_once: bool = False) -> Seconds:
    images = np.stack(list(_images(crops)))
    started = time.perf_counter()
    backend = open_it()
    loaded = time.perf_counter()
    size = len(images) if at_once else backend.batch_size
    for first in range(0, len(images), size):
        backend.infer(images[first : first + size])
    return loaded - started, time.perf_counter() - loaded, len(images)


def onnxruntime_plain(crops: Path, out: Path) -> Seconds:
    """ONNX Runtime on the same graph in a plain loop: a CSV, no heat maps, no thumbnails."""
    import onnxruntime

    started = time.perf_counter()
    session = onnxruntime.InferenceSession(BUNDLE.model, providers=["CPUExecutionProvider"])
    loaded = time.perf_counter()
    rows = []
    for names, images in _batches(crops):
        logits = np.asarray(session.run(["logits"], {"image": images})[0])
        rows += zip(names, logits.argmax(1), strict=True)
    _write_csv(rows, out)
    return loaded - started, time.perf_counter() - loaded, len(rows)


def pytorch_grad_cam(crops: Path, out: Path) -> Seconds:
    """PyTorch in a plain loop with pytorch-grad-cam: a CSV and thumbnails with heat maps."""
    import cv2
    import torch
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.image import show_cam_on_image

    from cartcls.train.models.base import normalize
    from cartcls.train.models.build import build
    from cartcls.train.start import load_graph

    started = time.perf_counter()
    model = build(BUNDLE.manifest.source.arch, len(CLASSES), (BUNDLE.width, BUNDLE.height)).eval()
    load_graph(model, BUNDLE.model, BUNDLE.directory)
    layers = [layer for name, layer in model.named_modules() if name.endswith(LAST_LAYERS)]
    cam = GradCAM(model, layers)
    loaded = time.perf_counter()
    rows = []
    for names, images in _batches(crops):
        maps = cam(normalize(torch.from_numpy(images)), targets=None)  # the most likely class  # pyright: ignore[reportArgumentType]
        assert cam.outputs is not None
        rows += zip(names, cam.outputs.argmax(1).tolist(), strict=True)
        for name, image, heat in zip(names, images, maps, strict=True):
            under_heat = show_cam_on_image(image.astype(np.float32) / 255, heat, use_rgb=True)
            both = np.hstack([image, under_heat])[..., ::-1]
            cv2.imwrite(str(out / name), cv2.resize(both, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    _write_csv(rows, out)
    return loaded - started, time.perf_counter() - loaded, len(rows)


CONTESTANTS: dict[str, Callable[[Path, Path], Seconds]] = {
    function.__name__: function
    for function in (
        cartcls_batch,
        openvino_bare,
        openvino_all_at_once,
        openvino_bfloat16,
        openvino_float32,
        onnxruntime_plain,
        pytorch_grad_cam,
    )
}


def _images(crops: Path) -> Iterator[Image]:
    for file in sorted(crops.iterdir()):
        yield stretch(read_image(file)[0], BUNDLE.width, BUNDLE.height)


def _batches(crops: Path) -> Iterator[tuple[list[str], Image]]:
    files = sorted(crops.iterdir())
    for first in range(0, len(files), BATCH):
        batch = files[first : first + BATCH]
        images = [stretch(read_image(file)[0], BUNDLE.width, BUNDLE.height) for file in batch]
        yield [file.name for file in batch], np.stack(images)


def _write_csv(rows: list[tuple[str, int]], out: Path) -> None:
    with (out / "cells.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label"])
        writer.writerows((name, CLASSES[label]) for name, label in rows)


if __name__ == "__main__":
    load, work, count = CONTESTANTS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
    print(json.dumps({"load": load, "work": work, "count": count, "peak": peak_memory()}))
