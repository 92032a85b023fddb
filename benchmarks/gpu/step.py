"""One step of `make gpu`, in a process of its own: step.py NAME STATE NOTES SECONDS."""

import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from place import Place, SkippedError, here

SKIPPED = 75
MODULES = {
    "machine": "machine",
    "pytest": "machine",
    "cuda_bindings": "cuda_checks",
    "pycuda": "cuda_checks",
    "tensorrt": "backend_checks",
    "onnxruntime": "backend_checks",
    "tensorrt_rtx": "backend_checks",
    "recovery": "recovery",
    "end_to_end": "end_to_end",
    "throughput": "throughput",
    "fit": "fitting",
    "weights": "weights",
}


def main(name: str, state: str, notes: str, seconds: str) -> None:
    """Run it; exit with 1 if something was wrong, and with 75 if it cannot run here."""
    place = Place(Path(state), here(), time.monotonic() + float(seconds), Path(notes))
    step: Callable[[Place], None] = getattr(import_module(MODULES[name]), f"step_{name}")
    try:
        step(place)
    except SkippedError as reason:
        print(reason, flush=True)
        sys.exit(SKIPPED)
    if place.failed:
        print(f"wrong: {'; '.join(place.failed)}", flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
