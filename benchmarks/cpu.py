"""Speed and memory on a CPU: `cartcls batch` and other ways to do the same, in one run on the same real crops.

    make benchmark DATA=cells/        # cells/: the class folders that splits/pbc.csv was made of
    make benchmark DATA="cells/ --before BUNDLE"        # and `cartcls batch` with another bundle in the same run

Nothing else may run at the same time. Writes `docs/results/cpu.md`.
"""

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from cartcls.calibration.split import read_split
from cartcls.runtime.bundle.bundle import load_bundle

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULT = ROOT / "docs" / "results" / "cpu.md"
COUNT, SEED = 500, 0
ROUNDS, PAIRS = 2, 5  # of all contestants, and of `cartcls batch` and its limits
GROWTH = (100, 1_000, 10_000)
PYTHON = sys.executable
ULTRALYTICS = ROOT / ".venv-ultralytics" / "bin" / "python"
OURS, BEFORE, LOOP = "cartcls_batch", "before", "pytorch_grad_cam"
BARE, AT_ONCE = "openvino_bare", "openvino_all_at_once"
TITLES = {
    OURS: "`cartcls batch`: CSV, page, thumbnails with heat maps",
    BEFORE: "`cartcls batch` with the bundle before",
    BARE: "OpenVINO bare, same graph and precision, crops in memory, batch after batch",
    AT_ONCE: "OpenVINO bare, the same in one call, where no core waits between batches: the limit",
    LOOP: "PyTorch (eager, float32) + pytorch-grad-cam: CSV, thumbnails with heat maps",
    "onnxruntime_plain": "ONNX Runtime, same graph: CSV alone",
    "ultralytics": "ultralytics `classify predict`, yolo11m-cls: labelled pictures and text files",
    "openvino_bfloat16": "OpenVINO bare, all in bfloat16",
    "openvino_float32": "OpenVINO bare, all in float32",
}


@dataclass(frozen=True)
class Timing:
    """One process: seconds to load, seconds to work, images done, peak memory in bytes."""

    load: float
    work: float
    count: int
    peak: int

    @property
    def rate(self) -> float:
        """Images per second, without loading."""
        return self.count / self.work


def main(data_dir: Path, before: Path | None) -> None:
    """Run everything and write the result; `before` is a bundle to compare with."""
    with tempfile.TemporaryDirectory(prefix="cartcls-benchmark-") as name:
        work = Path(name)
        files = [data_dir / path for path in read_split(ROOT / "splits" / "pbc.csv").paths("fit")]
        random.Random(SEED).shuffle(files)
        crops = copy_crops(files, COUNT, work / "crops")
        pair = (OURS, BEFORE, BARE, AT_ONCE) if before else (OURS, BARE, AT_ONCE)
        timings: dict[str, list[Timing]] = {name: [] for name in TITLES if before or name != BEFORE}
        for number in range(PAIRS):
            for contestant in timings if number < ROUNDS else pair:
                timing = measure(contestant, crops, work, before if contestant == BEFORE else None)
                timings[contestant].append(timing)
                print(f"round {number + 1}: {contestant} {timing.rate:.1f} images/s", file=sys.stderr)
        growth = {count: measure(OURS, copy_crops(files, count, work / str(count)), work) for count in GROWTH}
        help_times = [seconds([PYTHON, "-m", "cartcls.cli", "--help"]) for _ in range(10)]
        first = first_reports(copy_crops(files, 1, work / "one"), work)
    RESULT.write_text(page(timings, growth, help_times, first), encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))


def first_reports(one: Path, work: Path) -> list[float]:
    """Time of `cartcls batch` for one crop, in ten runs after one that fills the caches."""
    command = [PYTHON, "-m", "cartcls.cli", "batch", str(one), "--out"]
    return [seconds([*command, str(work / f"first-{number}")]) for number in range(11)][1:]


def copy_crops(files: list[Path], count: int, folder: Path) -> Path:
    """Copy that many crops into a new folder, named by number; if there are too few, they repeat."""
    folder.mkdir()
    for number in range(count):
        copy = folder / f"{number:05d}.jpg"
        shutil.copyfile(files[number % len(files)], copy)
    return folder


def measure(contestant: str, crops: Path, work: Path, bundle: Path | None = None) -> Timing:
    """Run one contestant in a process of its own; `bundle` in place of the shipped one."""
    out = Path(tempfile.mkdtemp(dir=work))
    name = OURS if contestant == BEFORE else contestant
    command = [PYTHON, str(HERE / "contestants.py"), name, str(crops), str(out), *([str(bundle)] if bundle else [])]
    if contestant == "ultralytics":
        command = [str(ULTRALYTICS), str(HERE / "ultralytics_predict.py"), str(crops), str(out)]
    result = subprocess.run(command, capture_output=True, text=True)
    shutil.rmtree(out)
    if result.returncode:
        sys.exit(f"{contestant} failed:\n{result.stderr[-3000:]}")
    return Timing(**json.loads(result.stdout.splitlines()[-1]))


def seconds(command: list[str]) -> float:
    """Time from start to end of a command, with modules compiled before, as where a wheel is installed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - started


def page(
    timings: dict[str, list[Timing]], growth: dict[int, Timing], help_times: list[float], first: list[float]
) -> str:
    """The result as Markdown."""
    rate = {name: statistics.median(timing.rate for timing in found) for name, found in timings.items()}
    precision = load_bundle().cpu_precision
    packages = ("cartcls", "openvino", "onnxruntime", "torch", "grad-cam", "numpy", "opencv-python-headless")
    data = '"cells/ --before BUNDLE"' if BEFORE in timings else "cells/"
    lines = [
        "# Speed and memory on a CPU",
        "",
        f"    make benchmark DATA={data}        # {date.today()}, nothing else running",
        "",
        f"Machine: {os.cpu_count()} cores of {processor()}, {platform.system()}, Python {platform.python_version()}."
        f" {', '.join(f'{name} {version(name)}' for name in packages)}; ultralytics {ultralytics_version()}.",
        "",
        f"{COUNT} real crops of the part `fit` (drawn with seed {SEED}), files in, each contestant in a process of its"
        f" own, {ROUNDS} rounds in turn; `cartcls batch` and its limits {PAIRS}, one right after the other. OpenVINO"
        f" computed in {precision}, the fastest precision that gave the same answers when the bundle was exported."
        " Images/s: median (least to most), loading apart. Batches of 8.",
        "",
        "| | images/s | × PyTorch + grad-cam | load, s | peak memory, MB |",
        "|---|---|---|---|---|",
    ]
    lines += [row(name, found, rate[name] / rate[LOOP]) for name, found in timings.items()]
    if BEFORE in timings:
        lines += ["", f"`cartcls batch` makes {share(timings, BEFORE)} of the images/s with the bundle before."]
    lines += [
        "",
        f"`cartcls batch` reaches {share(timings, BARE)} of bare OpenVINO batch after batch, and"
        f" {share(timings, AT_ONCE)} of it in one call.",
        "",
        "| crops | seconds | images/s | peak memory, MB |",
        "|---|---|---|---|",
        *(f"| {n} | {t.work:.1f} | {t.rate:.1f} | {t.peak / 1e6:.0f} |" for n, t in growth.items()),
        "",
        f"Above {len(read_split(ROOT / 'splits' / 'pbc.csv').paths('fit'))} the crops repeat; copies are classified"
        " too, and marked `duplicate`.",
        "",
        f"`cartcls --help`: {statistics.median(help_times):.2f} s (least {min(help_times):.2f}, most"
        f" {max(help_times):.2f}, of {len(help_times)}). From the start of `cartcls batch` on one crop to its report:"
        f" {statistics.median(first):.2f} s (least {min(first):.2f}, most {max(first):.2f}, of {len(first)}).",
    ]
    return "\n".join(lines) + "\n"


def share(timings: dict[str, list[Timing]], other: str) -> str:
    """How much of another one's speed `cartcls batch` has: median of the rounds, and each."""
    shares = [ours.rate / its.rate for ours, its in zip(timings[OURS], timings[other], strict=True)]
    return f"{statistics.median(shares):.0%} ({', '.join(f'{one:.0%}' for one in shares)})"


def row(name: str, found: list[Timing], times: float) -> str:
    """The line of a contestant, which is so many times as fast as PyTorch."""
    rates = sorted(timing.rate for timing in found)
    load, peak = statistics.median(timing.load for timing in found), max(timing.peak for timing in found)
    return (
        f"| {TITLES[name]} | {statistics.median(rates):.1f} ({rates[0]:.1f} to {rates[-1]:.1f}) | {times:.2f}"
        f" | {load:.2f} | {peak / 1e6:.0f} |"
    )


def processor() -> str:
    """Name of the processor, with the instructions that matter here."""
    info = Path("/proc/cpuinfo").read_text()
    fields = dict(line.split(":", 1) for line in info.split("\n\n")[0].splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    known = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in fields.get("flags", "").split()]
    return f"{fields.get('model name', platform.processor())} ({', '.join(known)})"


def ultralytics_version() -> str:
    """Version in its own environment."""
    command = [str(ULTRALYTICS), "-c", "from importlib.metadata import version; print(version('ultralytics'))"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--before", type=Path, help="bundle to compare with")
    args = parser.parse_args()
    main(args.data_dir, args.before)
