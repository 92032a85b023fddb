"""Cost of an archive: speed beside `Classifier.predict`, memory, and the time of a summary.

    python benchmarks/archives.py speed SLIDES [--rounds 3]     # folder of slides; both in turn
    python benchmarks/archives.py memory SLIDES [--bundle DIR]  # highest memory of all processes
    python benchmarks/archives.py summary 1000000               # synthetic rows, 500 to a slide

CPU seconds are those of a process and all that it started; beside other work they say more than images/s.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
PREDICT = """
import sys, time
from pathlib import Path
from cartcls.runtime import Classifier
files = sorted(Path(sys.argv[1]).glob("*/*.jpg"))
with Classifier(None, "openvino") as classifier:
    started = time.monotonic()
    count = sum(1 for _ in classifier.predict(files))
    print(count / (time.monotonic() - started))
"""
ARCHIVE = """
import sys, time
from pathlib import Path
from cartcls.runtime.archive.archive import archive
from cartcls.runtime.bundle.bundle import load_bundle
began = []
def progress(done, count):
    if done:
        began.append((time.monotonic(), done))
bundle = load_bundle(*map(Path, sys.argv[3:]))
archive([sys.argv[1]], Path(sys.argv[2]), bundle, "openvino", progress=progress)
(first, before), (last, done) = began[0], began[-1]
print((done - before) / (last - first))
"""


class Watcher:
    """Looks at a process and all that it started, twice a second.

    Attributes:
        memory: Highest sum of their proportional memory, in MB; crops in the object store count once.
        cpu: CPU seconds, also of those that have ended.
    """

    def __init__(self, process: subprocess.Popen[str]):
        self._process, self._seen = process, dict[int, float]()
        self.memory = 0.0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    @property
    def cpu(self) -> float:
        """CPU seconds."""
        return sum(self._seen.values())

    def end(self) -> None:
        """Wait until the process has ended."""
        self._thread.join()

    def _watch(self) -> None:
        while self._process.poll() is None:
            memory = 0.0
            for pid in tree(self._process.pid):
                try:
                    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    self._seen[pid] = (int(values[11]) + int(values[12])) / TICKS
                    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                    memory += int(rollup.split("Pss:")[1].split()[0]) / 1024
                except (OSError, IndexError):
                    continue
            self.memory = max(self.memory, memory)
            time.sleep(0.5)


def tree(pid: int) -> list[int]:
    """A process and all that it started."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [pid]
    for parent in found:
        found += [child for child, of in parents.items() if of == parent]
    return found


def run(code: str, *arguments: object) -> tuple[float, Watcher]:
    """Run code in a process of its own; what it printed, and what it took."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    watcher = Watcher(process)
    said, _ = process.communicate()
    watcher.end()
    return float(said), watcher


def in_new_folder(function: Callable[[Path], tuple[float, Watcher]]) -> tuple[float, Watcher]:
    """Call a function with a folder that is removed afterwards."""
    folder = Path(tempfile.mkdtemp())
    try:
        return function(folder / "table")
    finally:
        shutil.rmtree(folder)


def speed(slides: Path, rounds: int) -> None:
    """Both in turn."""
    count = len(list(slides.glob("*/*.jpg")))
    for number in range(rounds):
        one, first = run(PREDICT, slides)
        two, second = in_new_folder(lambda table: run(ARCHIVE, slides, table))
        print(
            f"round {number + 1}, {count} crops: predict {one:.1f} images/s, {first.cpu:.0f} CPU s, {first.memory:.0f}"
            f" MB; archive {two:.1f} images/s, {second.cpu:.0f} CPU s, {second.memory:.0f} MB; {two / one:.0%} of the"
            f" speed, {second.cpu / first.cpu:.0%} of the CPU time; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


def memory(slides: Path, bundle: Path | None) -> None:
    """One archive."""
    two, second = in_new_folder(lambda table: run(ARCHIVE, slides, table, *filter(None, [bundle])))
    count = len(list(slides.glob("*/*.jpg")))
    print(f"{count} crops: {second.memory:.0f} MB, {two:.1f} images/s, {second.cpu:.0f} CPU s", flush=True)


def summary(rows: int) -> None:
    """A summary of synthetic slides."""
    from cartcls.runtime.archive.rows import SlideRows, finished
    from cartcls.runtime.archive.stages import Answer
    from cartcls.runtime.archive.summary import summarize_table
    from cartcls.runtime.archive.table import SlideFacts, open_table, write_slide
    from cartcls.runtime.bundle.bundle import load_bundle
    from cartcls.runtime.ledger.records import Cell, Run

    bundle, each = load_bundle(), 500
    names = [entry.name for entry in bundle.classes]
    with tempfile.TemporaryDirectory() as folder, open_table(table := Path(folder) / "table", bundle, False):
        cells = [
            Cell(
                seq, f"{seq}.jpg", "review" if seq % 17 == 0 else "ok", f"confidence 0.{seq}" if seq % 17 == 0 else "",
                "2026-01-01T00:00:00Z", names[seq % 8], (0.9, *[0.1 / 7] * 7), sha256=f"{seq:064d}", width=360,
                height=363, distance=0.0, stain=0.0,
            )
            for seq in range(1, each + 1)
        ]  # fmt: skip
        place = SlideRows(each)
        place.add(Answer(0, cells))
        made = finished(place, bundle, Run("s", "/s", "openvino", "f32", "CPU", "0.1.0", "2026-01-01T00:00:00Z"))
        for number in range(rows // each):
            facts = SlideFacts(
                slide=f"s{number}", source=f"/s{number}", files="", images=each, unsettled=0, rejected=0, alarm="",
                bundle=bundle.name, bundle_sha256=bundle.sha256, version="0.1.0", started_at="",
            )  # fmt: skip
            if number == 0:
                write_slide(table / "0.parquet", bundle, facts, made.lines, None)
            else:
                shutil.copy(table / "0.parquet", table / f"{number}.parquet")
        started = time.monotonic()
        lines: list[int] = []
        summarize_table(table, lambda line: lines.append(len(line)))
        print(
            f"{rows} rows of {len(lines) - 1} slides: {time.monotonic() - started:.1f} s,"
            f" {time.process_time():.1f} CPU s, at most"
            f" {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "memory", "summary"))
    parser.add_argument("which", help="folder of slides, or number of rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bundle", type=Path)
    given = parser.parse_args()
    if given.what == "speed":
        speed(Path(given.which), given.rounds)
    elif given.what == "memory":
        memory(Path(given.which), given.bundle)
    else:
        summary(int(given.which))


if __name__ == "__main__":
    main()
