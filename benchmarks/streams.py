"""How fast the CPU runs the shipped graphs by streams, threads and batch, beside what OpenVINO chooses by itself.

    python benchmarks/streams.py CELLS

CELLS holds the class folders that splits/pbc.csv was made of. Nothing else may run at the same time. Prints a table in
Markdown: images/s, the best and the worst of three rounds in turn.
"""

import argparse
import os
import random
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino

from cartcls.calibration.split import read_split
from cartcls.runtime.bundle.bundle import INT8_MODEL, MODEL, load_bundle
from cartcls.runtime.images.decode import read_image

ROOT = Path(__file__).resolve().parent.parent
COUNT, ROUNDS = 96, 3
EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
BATCHES = {INT8_MODEL: (1, 2, 4, 8), MODEL: (1, 4)}

Settings = dict[str, str]


def settings() -> dict[str, Settings]:
    """What OpenVINO chooses, and other numbers of streams."""
    cores = os.cpu_count() or 1
    asked = {"for throughput": {"PERFORMANCE_HINT": "THROUGHPUT"}, "for latency": {"PERFORMANCE_HINT": "LATENCY"}}
    for streams in sorted({1, cores, 2 * cores}):
        asked[f"{streams} streams, {cores} threads"] = {
            "NUM_STREAMS": f"{streams}",
            "INFERENCE_NUM_THREADS": f"{cores}",
        }
    return asked


def rate(requests: openvino.AsyncInferQueue, images: npt.NDArray[np.uint8], batch: int) -> float:
    """Images per second."""
    started = time.perf_counter()
    for first in range(0, len(images), batch):
        requests.start_async([images[first : first + batch]])
    requests.wait_all()
    return len(images) / (time.perf_counter() - started)


def main(cells: Path) -> None:
    """Measure, and print the table."""
    bundle, core = load_bundle(), openvino.Core()
    paths = random.Random(0).sample(read_split(ROOT / "splits" / "pbc.csv").paths("fit"), COUNT)
    images = np.stack([bundle.graph_input(read_image(cells / path)[0]) for path in paths])
    print("| graph | asked | streams | batch of each | images/s: best (worst) |\n|---|---|---|---|---|")
    for name, batches in BATCHES.items():
        graph = core.read_model(bundle.file(name).read())
        queues = {
            asked: openvino.AsyncInferQueue(core.compile_model(graph, "CPU", {**given, **EXACT}))
            for asked, given in settings().items()
        }
        found: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        for _ in range(ROUNDS + 1):  # the first one prepares the graph
            for asked, requests in queues.items():
                for batch in batches:
                    found[asked, batch].append(rate(requests, images, batch))
        for (asked, batch), rates in found.items():
            best, worst = max(rates[1:]), min(rates[1:])
            print(f"| {name} | {asked} | {len(queues[asked])} | {batch} | {best:.1f} ({worst:.1f}) |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=Path)
    main(parser.parse_args().cells)
