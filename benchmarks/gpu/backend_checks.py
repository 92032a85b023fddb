"""Backends for a GPU on the cells of the bundle: every batch size, parity, speed, memory."""

import importlib.metadata
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import torch
from place import Place, SkippedError

from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.inference.backend import Backend
from cartcls.runtime.inference.choose import open_backend
from cartcls.runtime.inference.parity import Reference, answer_limit, compare, explain, read_reference

LARGEST = 65  # one more than both sets of buffers hold
CHANGE = 0.1  # of a logit, by another batch size
LEAK = 64 * 1024**2


def step_tensorrt(place: Place) -> None:
    """The TensorRT backend, with TensorRT or with PyTorch in its place."""
    import tensorrt  # pyright: ignore[reportMissingImports]

    version = str(tensorrt.__version__)
    place.note("library", "PyTorch in TensorRT's place" if "pytorch" in version else f"TensorRT {version}")
    check_backend(place, "tensorrt")


def step_tensorrt_rtx(place: Place) -> None:
    """The same with TensorRT for RTX."""
    if place.small or not find_spec("tensorrt_rtx"):
        raise SkippedError("tensorrt-rtx needs an RTX GPU" if place.small else "tensorrt-rtx is not installed")
    sys.modules["tensorrt"] = None  # type: ignore[assignment]  # the other is loaded before it
    check_backend(place, "tensorrt")


def step_onnxruntime(place: Place) -> None:
    """ONNX Runtime with CUDA."""
    if not any(importlib.metadata.distributions(name="onnxruntime-gpu")):
        raise SkippedError("onnxruntime-gpu is not installed")
    check_backend(place, "cuda")


def check_backend(place: Place, name: str) -> None:
    """All checks of one backend."""
    bundle, said = load_bundle(), []
    started = time.perf_counter()
    backend = open_backend(bundle, name, said.append)
    place.note("first opening", f"{time.perf_counter() - started:.1f} s; {'; '.join(said) or 'nothing said'}")
    reference = read_reference(bundle)
    runner = f"{backend.name} on {backend.device}, {backend.precision}"
    check = compare(bundle.manifest.precision.graph, runner, backend.infer, reference, answer_limit(bundle))
    place.check("parity", check.passed, explain(check))
    sizes = (1, 2, 8, 9) if place.small else range(1, LARGEST + 1)
    place.attempt("batches", lambda: _sizes(place, backend, reference, sizes))
    place.attempt("images/s from and to host memory", lambda: _speed(place, backend, reference))
    backend.close()
    place.attempt("next openings", lambda: _openings(place, bundle, name))


def _sizes(place: Place, backend: Backend, reference: Reference, sizes: range | tuple[int, ...]) -> str:
    """Each size with other cells first, in a pool's thread, against the answers to all of them at once."""
    expected = backend.infer(reference.images)
    worst, changed = 0.0, 0
    with ThreadPoolExecutor(1) as pool:
        for size in sizes:
            chosen = np.arange(size, 2 * size) % len(reference.images)
            found = pool.submit(backend.infer, reference.images[chosen]).result()
            worst = max(worst, float(np.abs(found.logits - expected.logits[chosen]).max()))
            changed += int((found.logits.argmax(1) != expected.logits[chosen].argmax(1)).sum())
    right = worst <= CHANGE and not changed
    place.check("largest change of a logit by the batch size", right, f"{worst:.4f}, {changed} labels changed")
    return f"{len(sizes)} sizes from {min(sizes)} to {max(sizes)}, in another thread"


def _speed(place: Place, backend: Backend, reference: Reference) -> str:
    found = []
    for size in (8,) if place.small else (1, 8, 32, 64, 256):
        images = reference.images[np.arange(size) % len(reference.images)]
        backend.infer(images)
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < (0.1 if place.small else 2.0):
            backend.infer(images)
            count += 1
        found.append(f"{size}: {size * count / (time.perf_counter() - started):,.0f}")
    return ", ".join(found)


def _openings(place: Place, bundle: Bundle, name: str) -> str:
    said: list[str] = []
    free, seconds = [], []
    for _ in range(1 if place.small else 5):
        started = time.perf_counter()
        backend = open_backend(bundle, name, said.append)
        seconds.append(time.perf_counter() - started)
        backend.close()
        if not place.small:
            torch.cuda.empty_cache()
            free.append(torch.cuda.mem_get_info()[0])
    if free:
        lost = free[0] - free[-1]
        place.check("memory after five openings", lost < LEAK, f"{lost / 1024**2:.1f} MiB less than after the first")
    built = [line for line in said if "building" in line]
    place.check("engines built again", not built, "; ".join(built) or "none")
    return f"{min(seconds):.1f} to {max(seconds):.1f} s; {'; '.join(dict.fromkeys(said)) or 'nothing said'}"
