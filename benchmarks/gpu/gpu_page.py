"""The page of what ran on a GPU and what never did, from the results of the steps.

Usage:
    python benchmarks/gpu/gpu_page.py [.gpu/out-cuda/results.jsonl] > docs/results/gpu.md
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict


class Result(TypedDict):
    """What came of one step.

    Attributes:
        step: Its name.
        about: What it shows.
        state: `passed`, `failed`, `skipped` or `cut off`.
        seconds: How long it took.
        reason: Why it did not pass.
        device: `cuda`, or `cpu` in a rehearsal.
        figures: What it found, and each result.
    """

    step: str
    about: str
    state: str
    seconds: float
    reason: str
    device: str
    figures: list[tuple[str, str]]


ON_A_CPU = (
    (
        "The shipped graph compiled by TensorRT for RTX 1.7, for sm86 and sm89",
        "in every run of the tests (`tests/runtime/inference/test_tensorrt_engine.py`)",
    ),
    (
        "A graph with 8-bit convolutions made from it, compiled by TensorRT for RTX for sm86",
        "likewise (`tests/export/test_int8.py`)",
    ),
    (
        "The calls to TensorRT 10.0, 10.3, 10.13, 10.16, 11.0, 11.4 and RTX 1.7",
        "each is checked against the signatures and enumerations of the real bindings"
        " (`tests/support/tensorrt_signatures.json`, 396 of them), from the build of an engine to its answers"
        " (`test_tensorrt_open.py`)",
    ),
    (
        "PyCUDA's and cuda-bindings' calls in the main thread and in a pool's",
        "on a fake driver with one context per thread (`test_cuda.py`); PyCUDA 2026.1 itself ran over such a driver"
        " once",
    ),
    (
        "Every batch from 1 to 65 images, with each of those versions",
        "ONNX Runtime in TensorRT's place, late, on the raw addresses (`test_tensorrt_backend.py`); the shipped graph"
        " for one batch",
    ),
    (
        "No memory, or no answer, at every call; too little memory for 32 or 8 images",
        "tested there; memory freed and answers right",
    ),
    ("Copies on a wrong stream, buffers used too early", "four mutants are found there"),
    (
        "The backend of ONNX Runtime with CUDA",
        "on the CPU's provider in the tests, with padding and parity (`test_onnxruntime_backend.py`)",
    ),
    (
        "Half-precision rounding of the shipped graph",
        "emulated, on all cells of `select`: the table in the"
        " [model card](../../runtime/bundles/rcmnet-pbc8/MODEL_CARD.md)",
    ),
    (
        "Every step of `make gpu` except those that need a library for GPUs",
        "rehearsed with the CPU in the GPU's place (`benchmarks/gpu/run.py --device cpu`, and in small in"
        " `tests/benchmarks/test_gpu_steps.py`)",
    ),
)
ON_A_GPU = {
    "pytest": "`make test-gpu`",
    "cuda_bindings": "cuda-bindings against a driver",
    "pycuda": "PyCUDA against a driver",
    "tensorrt": "The TensorRT backend on a GPU, with TensorRT or with PyTorch in its place",
    "recovery": "Recovery of the child process from a GPU's faults",
    "end_to_end": "`cartcls batch`, `watch` and `doctor` on a GPU",
    "onnxruntime": "ONNX Runtime with CUDA",
    "tensorrt_rtx": "TensorRT for RTX on a GPU",
    "throughput": "Speed and memory on a GPU, beside PyTorch",
    "fit": "Training in `make gpu`",
}
ONCE = (
    (
        "Training: the shipped members, and RCMNet and ResNet18 for 30 epochs at 360×363",
        "once, by `cartcls train fit`'s own code ([training.md](training.md))",
    ),
)
NEVER = (
    "The Dockerfile of [deploy.md](../deploy.md)",
    "A Jetson",
    "Several GPUs",
)
TITLE = "# What ran on an NVIDIA GPU, and what never did"
NONE_YET = "No GPU has run any of this yet. `make gpu` runs all of it on the first one, and writes this page."
REHEARSAL = "**A rehearsal, with the CPU in the GPU's place. It says nothing about a GPU.**"


def read_results(file: Path) -> dict[str, Result]:
    """The latest result of each step, by its name; a line that was cut off is left out."""
    results: dict[str, Result] = {}
    for line in _lines(file):
        try:
            result: Result = json.loads(line)
            results[result["step"]] = result
        except (ValueError, KeyError):
            continue
    return results


def read_notes(file: Path) -> list[tuple[str, str]]:
    """What a step has written down; a line that was cut off is left out."""
    notes = []
    for line in _lines(file):
        try:
            what, result = json.loads(line)
        except ValueError:
            continue
        notes.append((what, result))
    return notes


def page(results: Sequence[Result]) -> str:
    """The page, in Markdown."""
    by_step = {result["step"]: result for result in results}
    gpu = dict(by_step["machine"]["figures"]).get("GPU", "a GPU") if "machine" in by_step else "a GPU"
    lines = [TITLE, ""]
    if any(result["device"] == "cpu" for result in results):
        lines += [REHEARSAL, ""]
    elif results:
        lines += ["    make gpu", "", f"Ran on {gpu}. The GPU's own results are below the table.", ""]
    else:
        lines += [NONE_YET, ""]
    lines += ["| what | where | state |", "|---|---|---|"]
    lines += [f"| {what} | CPU | {state} |" for what, state in ON_A_CPU]
    for step, what in ON_A_GPU.items():
        lines.append(f"| {what} | GPU | {_state(by_step.get(step))} |")
    if by_step and not any(result["device"] == "cpu" for result in results):
        lines += [f"| {what} | GPU | {state} |" for what, state in ONCE]
    lines += [f"| {what} | GPU | **never** |" for what in NEVER]
    if not _ran_tensorrt(by_step.get("tensorrt")):
        lines.append("| An engine of TensorRT 10 or 11 itself, loaded and run | GPU | **never** |")
    for result in results:
        lines += _section(result)
    return "\n".join(lines) + "\n"


def _state(result: Result | None) -> str:
    if result is None:
        return "**never**"
    if result["device"] == "cpu":
        return f"**never**; rehearsed: {result['state']}"
    if result["state"] == "skipped":
        return f"**never**: {_cell(result['reason'])}"
    if result["state"] == "passed":
        return "passed"
    return f"**{result['state']}**: {_cell(result['reason'])}"


def _ran_tensorrt(result: Result | None) -> bool:
    return bool(
        result
        and result["state"] == "passed"
        and any(what == "library" and found.startswith("TensorRT ") for what, found in result["figures"])
    )


def _section(result: Result) -> list[str]:
    lines = ["", f"## {result['about'][0].upper()}{result['about'][1:]}", ""]
    reason = f": {_cell(result['reason'])}" if result["reason"] else ""
    lines.append(f"`{result['step']}`: {result['state']} in {result['seconds']:.0f} s{reason}.")
    if result["figures"]:
        lines += ["", "| | |", "|---|---|"]
        lines += [f"| {_cell(what)} | {_cell(found)} |" for what, found in result["figures"]]
    return lines


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []


if __name__ == "__main__":
    import sys

    print(page(list(read_results(Path(sys.argv[1])).values()) if sys.argv[1:] else []), end="")
