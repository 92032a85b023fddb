"""What a cell costs besides its network: core-milliseconds by step of `cartcls batch`, and when the cores are busy.

    python benchmarks/budget.py CELLS [--count 1000] [--before CHECKOUT]

CELLS holds the class folders that splits/pbc.csv was made of. With `--before`, the folder of an older commit with an
environment of its own, both run in turn on the same crops. Nothing else may run at the same time. Writes
`docs/results/budget.md`.
"""

import argparse
import functools
import importlib
import json
import os
import random
import statistics
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "budget.md"
ROUNDS = 3
SEED = 0
NETWORK, REST = "network (threads of OpenVINO)", "rest of Python"
STEPS = {  # functions where they are looked up, below cartcls.runtime
    "list, stat, queue": ["slides.batch:_discover"],
    "read and hash": ["images.reading:read_file"],
    "decode": ["images.reading:decode"],
    "stretch to the input": ["images.reading:stretch"],
    "shrink to the thumbnail": ["images.reading:shrink"],
    "quality": ["images.reading:measure"],
    "copies to and from the network": [
        "inference.classifier:Classifier._infer",
        "inference.openvino_backend:_Graph._run_one",
    ],
    "assessment": ["inference.classifier:Classifier._interpreted"],
    "row": ["slides.slide:make_cell"],
    "heat map": ["images.thumbnail:overlay"],
    "thumbnail": ["images.thumbnail:thumbnail"],
    "thumbnail to the disk": ["slides.pipeline:replace_file", "slides.pipeline:replace_files"],
    "ledger": ["ledger.slide_ledger:SlideLedger.report", "slides.attempts:Attempts.groups"],
    "table": ["slides.slide:project"],
    "page": ["slides.slide:write_pages"],
}


class Budget:
    """CPU time of the steps, without that of steps within them."""

    def __init__(self) -> None:
        """Nothing is measured yet."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.of_threads: dict[int, float] = {}
        self.first_batch = 0.0
        self._within = threading.local()

    def measure(self) -> None:
        """Measure all steps from now on; those that this version does not have are left out."""
        for step, places in STEPS.items():
            for place in places:
                module, _, name = place.partition(":")
                owner: object = importlib.import_module(f"cartcls.runtime.{module}")
                *outer, last = name.split(".")
                for part in outer:
                    owner = getattr(owner, part, None)
                if function := getattr(owner, last, None):
                    setattr(owner, last, self._measured(step, function))

    def _measured(self, step: str, function: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(function)
        def measured(*args: object, **kwargs: object) -> object:
            outer, self._within.seconds = getattr(self._within, "seconds", 0.0), 0.0
            started = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                ended = time.thread_time()
                self.seconds[step] += ended - started - self._within.seconds
                self._within.seconds = outer + ended - started
                self.of_threads[threading.get_native_id()] = ended
                if step == "ledger" and not self.first_batch:
                    self.first_batch = time.time()

        return measured


def classify(crops: Path, out: Path) -> None:
    """Classify a folder as `cartcls batch` does, in this process, and print what it cost."""
    started = float(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
    started += float(next(line for line in Path("/proc/stat").read_text().splitlines() if "btime" in line).split()[1])
    from cartcls.runtime import Classifier
    from cartcls.runtime.bundle.bundle import load_bundle
    from cartcls.runtime.ledger.folder import open_ledger
    from cartcls.runtime.slides.batch import classify_slide

    marks = [("imports", time.time(), time.process_time())]
    bundle = load_bundle()
    classifier = Classifier(bundle, "openvino")
    marks.append(("bundle and model", time.time(), time.process_time()))
    budget = Budget()
    budget.measure()
    threads, cpu = time.thread_time(), time.process_time()
    classified: list[tuple[float, float]] = []

    def progress(done: int, *_: int) -> None:
        classified.append((time.time(), time.process_time()))

    with open_ledger(out, bundle) as ledger:
        classify_slide(crops, out, classifier, ledger, progress)
    budget.of_threads[threading.get_native_id()] = time.thread_time() - threads
    used = time.process_time() - cpu
    marks += [("to the first row", *classified[0]), ("to the last row", *classified[-1])]
    marks.append(("page", time.time(), time.process_time()))
    python = sum(budget.of_threads.values())
    steps = {**budget.seconds, REST: python - sum(budget.seconds.values()), NETWORK: used - python}
    before, phases = (started, 0.0), []
    for name, wall, busy in marks:
        phases.append((name, wall - before[0], busy - before[1]))
        before = wall, busy
    print(json.dumps({"steps": steps, "phases": phases, "count": len(list(crops.iterdir()))}))


def run(checkout: Path, crops: Path, work: Path) -> dict[str, dict[str, float]]:
    """Core-milliseconds a cell by step, and seconds and busy cores by phase, of a checkout."""
    out = Path(tempfile.mkdtemp(dir=work))
    python = checkout / ".venv" / "bin" / "python"
    command = [str(python), str(Path(__file__).resolve()), str(crops), "--out", str(out)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    phases = {name: (wall, busy) for name, wall, busy in found["phases"]}
    return {
        "steps": {step: 1000 * seconds / found["count"] for step, seconds in found["steps"].items()},
        "seconds": {name: wall for name, (wall, _) in phases.items()},
        "cores": {name: busy / wall for name, (wall, busy) in phases.items()},
    }


def main(cells: Path, count: int, before: Path | None) -> None:
    """Run all checkouts in turn, and write the result."""
    from cpu import copy_crops, processor

    from cartcls.calibration.split import read_split

    checkouts = {"before": before, "now": ROOT} if before else {"now": ROOT}
    found: dict[str, list[dict[str, dict[str, float]]]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory(prefix="cartcls-benchmark-") as name:
        files = [cells / path for path in read_split(ROOT / "splits" / "pbc.csv").paths("fit")]
        random.Random(SEED).shuffle(files)
        crops = copy_crops(files, count, Path(name) / "crops")
        for _ in range(ROUNDS):
            for name_of, checkout in checkouts.items():
                found[name_of].append(run(Path(checkout or ROOT), crops, Path(name)))
    lines = [
        "# What a cell costs",
        "",
        f"    python benchmarks/budget.py CELLS --count {count}{' --before CHECKOUT' if before else ''}"
        f"        # {date.today()}, nothing else running",
        "",
        f"{count} crops of `fit`, {os.cpu_count()} cores of {processor()}; medians of {ROUNDS} runs in turn. Steps are"
        " CPU time of their threads, each without the steps within it; it is measured at each call, which costs a"
        " little itself.",
        "",
        *table("core-ms a cell", "steps", found, total=True),
        "",
        *table("seconds", "seconds", found, total=True),
        "",
        *table("cores busy", "cores", found),
    ]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))


def table(unit: str, kind: str, found: dict[str, list[dict[str, dict[str, float]]]], total: bool = False) -> list[str]:
    """Medians by name, a column for each checkout."""
    names = list(dict.fromkeys(name for runs in found.values() for one in runs for name in one[kind]))
    names.sort(key=lambda name: list(STEPS).index(name) if name in STEPS else len(STEPS))
    medians = {
        name: [statistics.median(one[kind].get(name, 0.0) for one in runs) for runs in found.values()] for name in names
    }
    if total:
        medians["all"] = [sum(column) for column in zip(*medians.values(), strict=True)]
    rows = [f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} |" for name, values in medians.items()]
    return [f"| {unit} | {' | '.join(found)} |", f"|---|{'---|' * len(found)}", *rows]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.out:
        classify(options.cells, options.out)
    else:
        main(options.cells, options.count, options.before)
