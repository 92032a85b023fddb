"""The commands, as a laboratory runs them, on the example slide."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from place import SLIDE, Place

COMMAND = (sys.executable, "-m", "cartcls.cli")
CELLS = len(list(SLIDE.glob("*.jpg")))


def step_end_to_end(place: Place) -> None:
    """`batch`, `watch` and `doctor`, all with the backend `tensorrt`."""
    place.attempt("doctor", lambda: _doctor(place))
    place.attempt("batch", lambda: _batch(place))
    place.attempt("watch", lambda: _watch(place))


def _doctor(place: Place) -> str:
    done = _run(place, "doctor", "--json", "--out", str(_fresh(place, "doctor")))
    findings = json.loads(done.stdout)
    for finding in findings:
        if finding["level"] == "ok" and finding["subject"] not in ("GPU", "engine", "bundle"):
            continue
        place.note(f"doctor: {finding['level']}, {finding['subject']}", f"{finding['text']} {finding['remedy']}")
    return f"exit code {done.returncode}"


def _batch(place: Place) -> str:
    out = _fresh(place, "batch")
    started = time.perf_counter()
    done = _run(place, "batch", str(SLIDE), "--out", str(out), "--backend", "tensorrt", "--json")
    seconds = time.perf_counter() - started
    place.check("batch: exit code", done.returncode == 0, f"{done.returncode}; {_last(done.stderr)}")
    (summary,) = json.loads(done.stdout)
    right = _right(Path(summary["report"]))
    place.check("batch: cells", summary["images"] == CELLS, f"{summary['images']} of {CELLS}")
    place.check("batch: right labels", right >= CELLS - 1, f"{right} of {CELLS}")
    backends = {row["backend"] for row in _rows(Path(summary["report"]))}
    place.check("batch: backend", backends == {"tensorrt"}, ", ".join(backends))
    return f"{seconds:.1f} s with its start"


def _watch(place: Place) -> str:
    """Cells come one after the other; then the service is stopped as systemd stops it."""
    capture, out = _fresh(place, "capture"), _fresh(place, "watch")
    (capture / "slide-01").mkdir()
    log = (place.state / "logs" / "watch.log").open("wb")
    arguments = ("watch", str(capture), "--out", str(out), "--backend", "tensorrt", "--json", "--poll", "0.2")
    started = time.perf_counter()
    service = subprocess.Popen([*COMMAND, *arguments, "--quiet", "0.5"], stdout=subprocess.PIPE, stderr=log)
    try:
        for image in sorted(SLIDE.glob("*.jpg")):
            shutil.copy(image, capture / "slide-01")
        rows = 0
        while rows < CELLS and service.poll() is None and place.left() > 10:
            time.sleep(0.2)
            rows = len(_rows(out / "slide-01"))
        seconds = time.perf_counter() - started
        service.send_signal(signal.SIGTERM)
        code = service.wait(max(place.left() - 2, 1))
    finally:
        service.kill()
        log.close()
    place.check("watch: cells", rows == CELLS, f"{rows} of {CELLS}, {_right(out / 'slide-01')} of them right")
    place.check("watch: exit code after SIGTERM", code == 0, str(code))
    return f"{seconds:.1f} s from its start to the last row"


def _run(place: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=place.left(), check=False, env=os.environ
    )
    print(done.stdout[-5000:], done.stderr[-5000:])
    return done


def _right(report: Path) -> int:
    with (SLIDE / "labels.csv").open(newline="", encoding="utf-8") as file:
        truth = {row["file"]: row["label"] for row in csv.DictReader(file)}
    return sum(truth[row["path"]] == row["label"] for row in _rows(report))


def _rows(report: Path) -> list[dict[str, str]]:
    table = report / "cells.csv"
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8-sig") as file:
        return [row for row in csv.DictReader(file) if row.get("label")]


def _fresh(place: Place, name: str) -> Path:
    folder = place.state / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _last(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]
