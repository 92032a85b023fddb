import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeBackend, FaultyBackend

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import BackendError
from cartcls.runtime.images.resize import Image
from cartcls.runtime.inference import classifier as classifiers
from cartcls.runtime.inference import worker
from cartcls.runtime.inference.backend import Backend, Outputs, no_progress
from cartcls.runtime.inference.predictions import Prediction, interpret
from cartcls.runtime.inference.worker import ANSWER_SECONDS, ChildBackend, open_in_child
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.ledger.records import Cell
from cartcls.runtime.slides.watch import AT_ONCE, Watch

Faulty = Callable[..., ChildBackend]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def begin(tmp_path: Path, said: list[str]) -> Iterator[Faulty]:
    """Begins a backend with a fault in a process of its own."""
    opened: list[ChildBackend] = []

    def begin(fault: str, logit_of_exact: float = 7.0, answer_seconds: float = 0.0, **given: Any) -> ChildBackend:
        answer_seconds = answer_seconds or (3.0 if fault == "hang" else 600.0)
        child, exact = partial(FaultyBackend, fault, tmp_path / "begun"), partial(FakeBackend, logit=logit_of_exact)
        opened.append(ChildBackend(child, exact, said.append, answer_seconds=answer_seconds, **given))
        return opened[-1]

    yield begin
    for child in opened:
        child.close()


def images(count: int) -> Image:
    pictures = np.zeros((count, 4, 4, 3), np.uint8)
    pictures[:, 0, 0, 0] = np.arange(count) * 40
    return pictures


def processes(tmp_path: Path) -> int:
    return len((tmp_path / "begun").read_text().split())


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("sticky", "CUDA_ERROR_ILLEGAL_ADDRESS: stays until the process ends: restarting the process"),
        ("crash", "the model's process has ended (exit code 9): restarting the process"),
        ("hang", "the model's process has not answered for 3 s: restarting the process"),
    ],
)
def test_what_only_a_new_process_mends_gets_one(begin: Faulty, said: list[str], tmp_path: Path, fault: str, line: str):
    child = begin(fault)
    for _ in range(3):
        assert (child.infer(images(4)).logits.argmax(1) == 1).all()
    assert said == [f"loaded with the fault {fault}", line, f"loaded with the fault {fault}"]
    assert processes(tmp_path) == 2


def large(count: int) -> Image:
    """More bytes than a connection holds."""
    return np.zeros((count, 400, 400, 3), np.uint8)


def stop(child: ChildBackend) -> None:
    """Stop the process, as a debugger or a full cgroup does, and wait until it has stopped."""
    pid = child._process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


def test_a_process_that_was_stopped_while_idle_is_replaced(begin: Faulty, said: list[str], tmp_path: Path):
    child = begin("none", answer_seconds=3.0)
    child.infer(large(4))
    stop(child)
    pool = ThreadPoolExecutor(1)
    try:
        answer = pool.submit(child.infer, large(4)).result(timeout=600)
    finally:
        child._process.kill()  # or it would be waited for, for ever
        pool.shutdown()
    assert (answer.logits.argmax(1) == 1).all()
    assert said[1] == "the model's process has not answered for 3 s: restarting the process"
    assert processes(tmp_path) == 2


def test_a_process_closes_its_backend_or_is_killed(begin: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "CLOSING_SECONDS", 600.0)
    child = begin("none")
    child.infer(images(4))
    child.close()
    assert (tmp_path / "begun.closed").exists()
    assert child._process.exitcode == 0
    monkeypatch.setattr(worker, "CLOSING_SECONDS", 0.1)
    stopped = begin("none")
    stop(stopped)
    stopped.close()
    assert stopped._process.exitcode == -signal.SIGKILL


def test_a_process_that_builds_an_engine_is_alive_and_draws_no_bar_in_a_watch(begin: Faulty, tmp_path: Path):
    alive: list[str] = []
    steps: list[tuple[str, int, int]] = []
    child = begin("sticky", alive=lambda: alive.append("yes"), progress=lambda *step: steps.append(step))
    assert (len(alive), steps) == (3, [("building", 1, 2)])  # a line, a step, and that it is ready
    for _ in range(2):
        child.infer(images(4))
    assert processes(tmp_path) == 2
    assert len(alive) == 3 + 2 + 3 + 1  # an answer and an error, another start, an answer
    assert steps == [("building", 1, 2)]


def test_a_new_process_may_have_less_memory(begin: Faulty, tmp_path: Path):
    child = begin("smaller")
    for _ in range(3):
        child.infer(images(4))
    assert processes(tmp_path) == 2


def test_where_it_fails_again_and_again_there_is_an_end(begin: Faulty, tmp_path: Path):
    with pytest.raises(BackendError, match="CUDA_ERROR_NO_DEVICE"):
        begin("always").infer(images(4))
    assert processes(tmp_path) == 1 + 3


def test_a_gpu_that_is_gone_is_the_error_of_a_new_process(begin: Faulty):
    child = begin("gone")
    child.infer(images(4))
    with pytest.raises(BackendError, match="no GPU is there"):
        child.infer(images(4))


def test_another_backend_than_before_is_not_taken_for_it(begin: Faulty, tmp_path: Path):
    child = begin("another")
    child.infer(images(4))
    with pytest.raises(BackendError, match="fake on none cannot be used any more"):
        child.infer(images(4))


def test_short_memory_makes_the_batches_smaller_and_loses_nothing(begin: Faulty, said: list[str], tmp_path: Path):
    child = begin("memory")
    child.infer(images(4))
    assert child.infer(images(5)).logits.shape == (5, 8)
    assert child.batch_size == 2
    assert "CUDA_ERROR_OUT_OF_MEMORY in cuMemAlloc: continuing with batches of 3" in said
    assert processes(tmp_path) == 1


def test_what_is_not_a_number_is_computed_on_the_cpu_and_marked(begin: Faulty, said: list[str]):
    child = begin("nan")
    assert child.infer(images(4)).recomputed is None
    outputs = child.infer(images(5))
    assert outputs.recomputed is not None
    assert outputs.recomputed.tolist() == [False, False, False, True, True]
    assert outputs.logits[:, 1].tolist() == [5, 5, 5, 7, 7]
    assert said[-1] == "fake gave not-a-number for 2 cells: recomputed on the CPU"


def watched(tmp_path: Path, slide: Path, bundle: Bundle, backend: Backend) -> list[Cell]:
    """Rows of the example slide, whatever ends the watch of it."""
    captures, out = tmp_path / "captures", tmp_path / "out"
    shutil.copytree(slide, captures / "s")
    with open_ledger(out, bundle) as ledger:
        watch = Watch(captures, out, Classifier(bundle, backend), ledger, AT_ONCE)
        with suppress(BackendError):
            while watch.step():
                pass
        return list(watch.slides[0].work.ledger.cells())


def harmed(rows: list[Cell], labels: dict[str, str], bundle: Bundle) -> list[str]:
    """Cells that a fault lost, doubled, or gave another label than the model's."""
    found = [f"{name} has no row" for name in labels.keys() - {row.path for row in rows}]
    found += [f"{row.path} is {row.label}" for row in rows if row.label != bundle.classes[1].name]
    return found + ([f"{len(rows)} rows"] if len(rows) != len(labels) else [])


@pytest.mark.parametrize("fault", ["sticky", "crash", "hang", "memory", "nan"])
def test_a_watch_loses_nothing_by_a_fault(
    begin: Faulty, tmp_path: Path, slide: Path, bundle: Bundle, labels: dict[str, str], fault: str
):
    rows = watched(tmp_path, slide, bundle, begin(fault, logit_of_exact=6.0))
    assert harmed(rows, labels, bundle) == []
    recomputed = [row for row in rows if row.status == "review"]
    assert bool(recomputed) == (fault == "nan")
    assert {row.status for row in rows} <= {"ok", "review"}
    assert all("recomputed on the CPU" in row.reason for row in recomputed)


@pytest.mark.parametrize("fault", ["sticky", "memory", "nan"])
def test_the_trial_of_faults_finds_a_model_in_the_process_of_the_watch(
    tmp_path: Path, slide: Path, bundle: Bundle, labels: dict[str, str], monkeypatch: pytest.MonkeyPatch, fault: str
):
    def believe(sources, readings, outputs: Outputs, *more) -> Iterator[Prediction]:  # type: ignore[no-untyped-def]
        return interpret(sources, readings, replace(outputs, logits=np.nan_to_num(outputs.logits)), *more)

    monkeypatch.setattr(classifiers, "interpret", believe)
    bare = FaultyBackend(fault, tmp_path / "begun", lambda line: None, no_progress)
    assert harmed(watched(tmp_path, slide, bundle, bare), labels, bundle)


def test_a_slow_machine_is_given_longer_and_is_no_hang(begin: Faulty, said: list[str], tmp_path: Path):
    child = begin("slow", answer_seconds=1.0)
    for _ in range(3):
        child.infer(images(4))
    assert said[1] == "the model's process has not answered for 1 s: restarting the process"
    assert 2 <= processes(tmp_path) <= 3  # and none for the second batch


@pytest.mark.slow
def test_a_hang_takes_no_minute(begin: Faulty):
    child = begin("hang", answer_seconds=ANSWER_SECONDS)
    started = time.monotonic()
    for _ in range(3):
        child.infer(images(4))
    assert 30 <= time.monotonic() - started < 60


def test_what_cannot_be_loaded_is_the_error_that_it_is_in_one_process(bundle: Bundle):
    with pytest.raises(BackendError, match="'abacus' is not a backend"):
        open_in_child(bundle, "abacus")


def test_the_shipped_bundle_answers_the_same_and_ends_with_the_service(
    bundle: Bundle, crops: Image, backend: FakeBackend
):
    with closing(open_in_child(bundle, "openvino")) as child:
        np.testing.assert_allclose(child.infer(crops[:2]).logits, backend.infer(crops[:2]).logits, atol=1e-3)
        process = child._process
        assert process.pid is not None
        os.kill(process.pid, signal.SIGTERM)  # systemd tells every process of a service
        assert child.infer(crops[:1]).logits.shape == (1, 8)
    assert not process.is_alive()
