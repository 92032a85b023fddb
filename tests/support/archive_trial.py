"""A trial of an archive: something is killed in the middle, the same command goes on, and what is wrong is counted.

As a program: `archive_trial.py SLIDES TABLE BUNDLE ADDRESS [append | deadly]` runs an archive. `append` is the mutant
that writes rows as they come, under a new name each time; `deadly`: a file of the second slide ends what reads it.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow
from archives import problems
from msgspec import structs
from small_graph import small_graph

from cartcls.runtime.archive.stages import Job, _Chunk, read_slides, unpacked
from cartcls.runtime.bundle.bundle import MODEL, Bundle, write_bundle

HERE = "here"  # in the place of an address
PATIENCE = 600.0
SIZE = 64  # the checks of a picture need some


def write_small_bundle(bundle: Bundle, folder: Path) -> Path:
    """A bundle whose graph takes no time, and that is not calibrated."""
    manifest = structs.replace(
        bundle.manifest,
        calibration=None,
        input=structs.replace(bundle.manifest.input, width=SIZE, height=SIZE),
        precision=structs.replace(bundle.manifest.precision, cpu="f32"),
    )
    folder.mkdir(parents=True)
    write_bundle(folder, manifest, {MODEL: small_graph(len(bundle.classes), SIZE)})
    return folder


def put_slides(folder: Path, cells: list[bytes], slides: int, each: int) -> Path:
    """Slides of cells with bytes of their own: behind the end marker anything may follow."""
    for slide in range(slides):
        (folder / f"slide-{slide:02d}").mkdir(parents=True)
        for number in range(each):
            data = cells[number % len(cells)] + b"%d" % (slide * each + number)
            (folder / f"slide-{slide:02d}" / f"{number:03d}.jpg").write_bytes(data)
    return folder


class ArchiveTrial:
    """A process that archives slides."""

    def __init__(self, slides: Path, table: Path, bundle: Path, address: str = HERE, *mutants: str):
        self.slides, self.table = slides, table
        self._command = [sys.executable, __file__, *map(os.fspath, (slides, table, bundle)), address, *mutants]
        self._log = table.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Begin."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        return self._process

    def until_middle(self) -> None:
        """Wait until some slides are in the table."""
        process = self._process
        assert process is not None
        until(lambda: len(list(self.table.glob("[!._]*.parquet"))) > 2 or process.poll() is not None)
        assert process.poll() is None, f"it ended: {self._log.read_text()}"

    def finish(self, code: int = 0) -> str:
        """Wait for its end; what it said."""
        assert self._process is not None
        found, said = self._process.wait(PATIENCE), self._log.read_text()
        assert found == code, said
        return said

    def problems(self) -> list[str]:
        """What is lost, doubled or wrong in the table."""
        return problems(self.table, self.slides)

    def workers(self) -> list[int]:
        """Ray's processes that read files or run the model, among those that this one started."""
        assert self._process is not None
        return [pid for pid in descendants(self._process.pid) if command_of(pid).startswith("ray::Map")]


def until(condition: Callable[[], bool]) -> None:
    """Wait for something.

    Raises:
        AssertionError: It did not come.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kill(pid: int) -> None:
    """`kill -9`; a process that has ended already is fine."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def command_of(pid: int) -> str:
    """Command line of a process; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    """Processes that a process started, and those that these started."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [pid]
    for parent in found:
        found += [child for child, of in parents.items() if of == parent]
    return found[1:]


def main(slides: str, table: str, bundle: str, address: str, *mutants: str) -> None:
    """Run an archive."""
    from cartcls.runtime.archive import archive as module
    from cartcls.runtime.bundle.bundle import load_bundle

    if "append" in mutants:
        _append(module)
    if "deadly" in mutants:
        module.read_slides = deadly
    joined = None if address == HERE else address
    done = module.archive([slides], Path(table), load_bundle(Path(bundle)), "openvino", joined, notify=print)
    print(done)
    if done.failed:
        sys.exit(1)


def deadly(table: pyarrow.Table, job: Job) -> Iterator[pyarrow.Table]:
    """Read slides; a file of the second one ends the process each time."""
    for read in read_slides(table, job):
        (chunk,) = unpacked(read)
        assert isinstance(chunk, _Chunk)
        if chunk.task == 1 and chunk.files:
            os.kill(os.getpid(), signal.SIGKILL)
        yield read


def _append(module) -> None:  # type: ignore[no-untyped-def]
    """Let every answer be written at once, into a file of its own."""
    work, take = module._Work, module._Work._take

    def appending(self, task, answer):  # type: ignore[no-untyped-def]
        rows = module.SlideRows(len(answer.cells))
        rows.add(answer)
        name = uuid.uuid4().hex
        file = module.Slide.file
        module.Slide.file = property(lambda slide: f"{name}.parquet")
        self._finish(task, rows)
        module.Slide.file = file
        take(self, task, answer)

    work._take = appending


if __name__ == "__main__":
    main(*sys.argv[1:])
