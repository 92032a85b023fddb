"""What the machine is, and the tests that need a GPU."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys

from place import ROOT, Place, SkippedError

PACKAGES = (
    "cartcls", "torch", "pytorch-lightning", "cuda-bindings", "pycuda", "tensorrt", "tensorrt-rtx", "onnxruntime-gpu",
    "onnxruntime", "openvino", "numpy", "opencv-python-headless", "msgspec", "platformdirs",
)  # fmt: skip
SMI = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total,memory.used,clocks.sm,power.limit")


def step_machine(place: Place) -> None:
    """GPU, driver, processor and versions."""
    place.attempt("GPU", lambda: _gpu(place))
    if shutil.which(SMI[0]):
        smi = subprocess.run([*SMI, "--format=csv,noheader"], capture_output=True, text=True, timeout=20, check=False)
        place.note("nvidia-smi: name, driver, memory, used, clock, power", smi.stdout.strip() or smi.stderr.strip())
    place.note(
        "processor",
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}",
    )
    place.note("libraries", ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name))))
    place.note("not there", ", ".join(name for name in PACKAGES if not _version(name)) or "none")


def step_pytest(place: Place) -> None:
    """The tests that are marked `gpu`, with this machine's libraries, whose warnings are no errors."""
    files = [str(file) for file in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in file.read_text("utf-8")]
    if not _version("pytest"):
        raise SkippedError("pytest is not installed")
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-o", "filterwarnings=default", "-p", "no:cacheprovider"]
    # Without PyTorch in TensorRT's place, which is no TensorRT.
    folders = [folder for folder in os.environ["PYTHONPATH"].split(os.pathsep) if not folder.endswith("stand_in")]
    done = subprocess.run(
        [*command, *files],
        capture_output=True,
        text=True,
        timeout=place.left() - 3,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
    )
    print(done.stdout[-20_000:], done.stderr[-5_000:])
    for line in re.findall(r"^(?:SKIPPED|FAILED|ERROR) .*", done.stdout, re.MULTILINE):
        place.note(*line.split(" ", 1))
    last = done.stdout.strip().splitlines()[-1:] or ["no output"]
    place.check("result", done.returncode == 0 or (place.small and done.returncode == 1), last[0].strip("= "))


def _gpu(place: Place) -> str:
    if place.small:
        return "none: the CPU in its place"
    import torch

    found = torch.cuda.get_device_properties(0)
    return f"{found.name}, sm{found.major}{found.minor}, {found.total_memory / 1024**3:.0f} GiB"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
