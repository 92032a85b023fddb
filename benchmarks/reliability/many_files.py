"""Row 6: what `cartcls watch` costs when nothing happens in a folder with 100,000 known files.

    python benchmarks/reliability/many_files.py [FILES] [SECONDS]

Nothing else may run at the same time. SECONDS includes at least two checks of the files' times, which cost the most.
The mutant that scans without a pause must be found.
"""

import os
import statistics
import sys
import time
from pathlib import Path

from shared import Trial, finish, new_trial

from cartcls.runtime.bundle.bundle import load_bundle
from cartcls.runtime.images.decode import fingerprint
from cartcls.runtime.images.discover import find_images
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.ledger.records import Cell, Result, Run

SLIDES, LIMIT, SCAN_LIMIT = 20, 0.10, 1.0


def main(files: int, seconds: float) -> None:
    """Add the files to the ledger, and measure."""
    with new_trial(real=True) as trial:
        record_files(trial, files)
        scans = [scan(trial, files) for _ in range(5)]
        share = idle_share(trial, seconds)
    with new_trial("no-pause") as trial:
        record_files(trial, files // 10)
        mutant = idle_share(trial, 10)
    problems = [] if statistics.median(scans) <= SCAN_LIMIT else ["a scan takes too long"]
    problems += [] if share <= LIMIT else ["idle CPU is too much"]
    problems += [] if mutant > LIMIT else ["the mutant without a pause was NOT found"]
    finish(
        f"{files} known files: names listed in {statistics.median(scans):.2f} s, idle for {seconds:.0f} s with"
        f" {share:.1%} of a core; without a pause {mutant:.0%}",
        problems,
    )


def record_files(trial: Trial, files: int) -> None:
    """Create files, and record them in the ledger as reported."""
    with open_ledger(trial.out, load_bundle()) as ledger:
        for number in range(SLIDES):
            folder = trial.captures / f"slide-{number:02d}"
            folder.mkdir()
            slide = ledger.add_slide(os.fsencode(folder.resolve()), folder.name)
            slide.begin_run(Run(folder.name, str(folder), "", "", "", "", ""))
            names = [f"{index:06d}.jpg" for index in range(files // SLIDES)]
            for name in names:
                (folder / name).touch()
            slide.discover(name.encode() for name in names)
            known = slide.images()
            cells = [Cell(seq, name, "rejected", "is empty (0 bytes)", "") for seq, name in enumerate(names, 1)]
            slide.report(
                [
                    Result(known[cell.path.encode()], "rejected", fingerprint(folder / cell.path), [cell])
                    for cell in cells
                ]
            )


def scan(trial: Trial, files: int) -> float:
    """Seconds to list all names."""
    started = time.monotonic()
    assert len(list(find_images(trial.captures, trial.out))) == files
    return time.monotonic() - started


def idle_share(trial: Trial, seconds: float) -> float:
    """Share of a core that a watch takes, its model's process included, once all pages are written."""
    trial.start()
    pages = lambda: len(list(trial.out.glob("*/report.html"))) == SLIDES  # noqa: E731
    trial.until(pages, "pages are missing")
    time.sleep(5)
    assert trial.process is not None
    before, started = cpu_seconds(trial.process.pid), time.monotonic()
    time.sleep(seconds)
    share = (cpu_seconds(trial.process.pid) - before) / (time.monotonic() - started)
    trial.end()
    return share


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(cpu_seconds(int(child)) for child in children)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, float(sys.argv[2]) if len(sys.argv) > 2 else 150.0)
