"""Images/s of the shipped model in PyTorch, in the GPU's memory: eager, channels-last, compiled."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from normalization import keep_constants_on
from place import Place
from torch import Tensor

from cartcls.export.graph import Graph, graph_of
from cartcls.runtime.bundle.bundle import load_bundle
from cartcls.runtime.inference.choose import open_backend
from cartcls.runtime.inference.parity import read_reference
from cartcls.train.models.base import FeatureClassifier
from cartcls.train.models.build import build
from cartcls.train.start import load_graph

BATCHES = (32, 128, 8, 1)
ROUNDS = 5
COMPILING = 45.0  # seconds that must be left


def step_throughput(place: Place) -> None:
    """Each variant at each batch size; compiled ones last, because they take long."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    keep_constants_on(place.device)
    pixels = read_reference(load_bundle()).images
    batches = (2,) if place.small else BATCHES
    images = {size: torch.from_numpy(pixels[np.arange(size) % len(pixels)]).to(place.device) for size in batches}
    model = shipped_model()
    half = not place.small
    plain, last = torch.contiguous_format, torch.channels_last
    variants: list[tuple[str, Callable[[], Graph]]] = [
        ("PyTorch eager, float32", lambda: _graph(model, place, False, plain)),
        ("PyTorch eager, float16", lambda: _graph(model, place, half, plain)),
        ("PyTorch eager, float16, channels-last", lambda: _graph(model, place, half, last)),
    ]
    for what, make in variants:
        place.attempt(f"{what}: images/s", lambda make=make: _rates(place, make(), images))
    place.attempt("the TensorRT backend, from host memory: images/s", lambda: _backend_rates(place, images))
    for size in batches[:2]:
        what = f"PyTorch compiled, float16, channels-last, batch {size}: images/s"
        place.attempt(what, lambda size=size: _compiled(place, _graph(model, place, half, last), images[size]))


def shipped_model() -> FeatureClassifier:
    """The shipped bundle's model in PyTorch, float32."""
    bundle = load_bundle()
    model = build(bundle.manifest.source.arch, len(bundle.classes), (bundle.width, bundle.height)).eval()
    load_graph(model, bundle.model, bundle.directory)
    return model


def _graph(model: FeatureClassifier, place: Place, half: bool, layout: torch.memory_format) -> Graph:
    graph = graph_of(model, half).to(place.device)
    for parameter in graph.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return graph.eval()


def _rates(place: Place, graph: Callable[[Tensor], object], images: dict[int, Tensor]) -> str:
    if not place.small:
        torch.cuda.reset_peak_memory_stats()
    found = [f"{size}: {_rate(place, graph, batch):,.0f}" for size, batch in images.items()]
    if place.small:
        return ", ".join(found)
    return f"{', '.join(found)}; at most {torch.cuda.max_memory_allocated() / 1e9:.1f} GB"


def _rate(place: Place, graph: Callable[[Tensor], object], images: Tensor) -> float:
    """Median of several rounds."""
    seconds = []
    with torch.inference_mode():
        for _ in range(1 if place.small else 3):
            graph(images)
        calls = 1 if place.small else max(1, 256 // len(images))
        for _ in range(1 if place.small else ROUNDS):
            place.wait()
            started = time.perf_counter()
            for _ in range(calls):
                graph(images)
            place.wait()
            seconds.append((time.perf_counter() - started) / calls)
    return len(images) / statistics.median(seconds)


def _compiled(place: Place, graph: Graph, images: Tensor) -> str:
    if place.small:
        return "not in a rehearsal"
    if place.left() < COMPILING:
        return f"not run: {place.left():.0f} s left"
    started = time.perf_counter()
    compiled = torch.compile(graph, dynamic=False)
    with torch.inference_mode():
        compiled(images)
    place.wait()
    seconds = time.perf_counter() - started
    return f"{_rate(place, compiled, images):,.0f}; compiled in {seconds:.0f} s"


def _backend_rates(place: Place, images: dict[int, Tensor]) -> str:
    backend = open_backend(load_bundle(), "tensorrt")
    try:
        on_host = {size: batch.cpu().numpy() for size, batch in images.items()}
        found = []
        for size, batch in on_host.items():
            rate = _rate(place, lambda _, batch=batch: backend.infer(batch), images[size])
            found.append(f"{size}: {rate:,.0f}")
        return ", ".join(found)
    finally:
        backend.close()
