"""What a station costs: from key to kept, from a file to its place on the page, and processor time of a running watch.

    python benchmarks/review.py [TIMES] [FILES] [ROUNDS]

It takes ten minutes, with the shipped model and the timings of `cartcls watch`. Nothing else may run at the same time.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from browsing import CHROMIUM, FLAGS
from playwright.sync_api import Page, sync_playwright
from trial import Trial

LIMIT = 1.03
CLOCK = os.sysconf("SC_CLK_TCK")
RELABEL = """async (number) => {
  const cell = cells[number % cells.length], started = performance.now();
  relabel(cell, present(cell) === "monocyte" ? "lymphocyte" : "monocyte");
  await station.sending;
  return corrections.entries.has(cell.seq) ? NaN : performance.now() - started;
}"""


class RealWatch(Trial):
    """`cartcls watch` as it is."""

    def command(self, *more: str) -> list[str]:
        """What watches."""
        folders = [os.fspath(self.captures), "--out", os.fspath(self.out)]
        return [sys.executable, "-m", "cartcls.cli", "watch", *folders, "--backend", "openvino", *more]


@contextmanager
def station(out: Path) -> Iterator[Page]:
    """The page of the first slide at a station."""
    command = [sys.executable, "-m", "cartcls.cli", "review", os.fspath(out), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, sync_playwright() as playwright:
        assert process.stdout is not None
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(process.stdout.readline().strip())
        page.click("#lines a")
        page.wait_for_selector("body[data-ready]")
        page.evaluate("station.reviewer = 'Anna'")
        yield page
        browser.close()
        process.terminate()


def begun(folder: Path, files: int) -> RealWatch:
    """A watch that has classified some files."""
    trial = RealWatch(folder)
    for number in range(files):
        trial.put(number)
    trial.start()
    trial.until_done()
    return trial


def from_key_to_kept(page: Page, times: int) -> float:
    """Median of the seconds from a key until the label is on the disk and on the page."""
    page.evaluate(RELABEL, 0)
    return statistics.median(page.evaluate(RELABEL, number) for number in range(times)) / 1000


def from_file_to_page(page: Page, trial: RealWatch, times: int) -> float:
    """Median of the seconds from a file's last byte until its cell is on the page."""
    seconds = []
    for _ in range(times):
        number = len(trial.expected)
        trial.put(number)
        started = time.monotonic()
        page.wait_for_function("(count) => cells.length === count", arg=number + 1)
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds)


def processor_seconds(process: int) -> float:
    """Processor time of a process and of those that it has begun."""
    total = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        fields = (folder / "stat").read_text().rpartition(")")[2].split() if (folder / "stat").exists() else []
        if fields and (int(folder.name) == process or int(fields[1]) == process):
            total += (int(fields[11]) + int(fields[12])) / CLOCK
    return total


def cost_of(files: int, is_reviewed: bool) -> float:
    """Processor seconds that a watch needs for files, with or without a reviewer who labels a cell each second."""
    with tempfile.TemporaryDirectory(prefix="cartcls-review-") as folder:
        trial = begun(Path(folder), 20)
        try:
            assert trial.process is not None
            if not is_reviewed:
                return _spent(trial, files, lambda: None)
            with station(trial.out) as page:
                return _spent(trial, files, lambda: page.evaluate(RELABEL, 0))
        finally:
            trial.send(signal.SIGTERM)


def _spent(trial: RealWatch, files: int, act) -> float:  # type: ignore[no-untyped-def]
    assert trial.process is not None
    before, first = processor_seconds(trial.process.pid), len(trial.expected)
    for number in range(first, first + files):
        trial.put(number)
    while len(trial.rows()) < len(trial.expected):
        act()
        time.sleep(1)
    return processor_seconds(trial.process.pid) - before


def main(times: int, files: int, rounds: int) -> None:
    """Measure all, and print it."""
    with tempfile.TemporaryDirectory(prefix="cartcls-review-") as folder:
        trial = begun(Path(folder), 20)
        with station(trial.out) as page:
            print(f"from key to kept: median of {times}: {1000 * from_key_to_kept(page, times):.0f} ms", flush=True)
            print(f"from file to page: median of {times}: {from_file_to_page(page, trial, times):.1f} s", flush=True)
        trial.send(signal.SIGTERM)
    spent: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for is_reviewed, seconds in spent.items():
            seconds.append(cost_of(files, is_reviewed))
            print(f"{'with' if is_reviewed else 'without'} a station: {seconds[-1]:.2f} s", file=sys.stderr, flush=True)
    alone, reviewed = (statistics.median(seconds) for seconds in spent.values())
    print(
        f"processor time of a watch, {files} files, medians of {rounds}: {alone:.2f} s alone, {reviewed:.2f} s with a"
        f" station and a label each second: ratio {reviewed / alone:.3f} (limit {LIMIT})"
    )
    raise SystemExit(reviewed / alone > LIMIT)


if __name__ == "__main__":
    given = [int(number) for number in sys.argv[1:]]
    main(*(given + [50, 400, 3][len(given) :]))
