"""The Ray cluster: started on this machine, or joined; and how its processors are shared."""

import logging
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import ray
import ray._private.worker
import ray.data
from ray._raylet import GcsClient  # pyright: ignore[reportAttributeAccessIssue]
from ray.exceptions import RayError

from ..errors import BackendError
from ..files import UNFINISHED, sweep, writing

OBJECT_STORE = 512 << 20  # bytes for crops that wait for the model, where Ray is started here
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
LOCAL = {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
REACHED_WITHIN = 10.0  # seconds
FINEST = 10_000  # parts of a CPU that Ray counts


@dataclass(frozen=True)
class Shares:
    """How the processors of a cluster are shared.

    Attributes:
        workers: How many processes run the model.
        cpus: CPUs that each of them takes, for Ray's count.
        gpus: GPUs likewise.
        reader: CPUs that one task takes that reads files.
        warning: What is to be said of it; empty where there are enough.
    """

    workers: int
    cpus: float
    gpus: float
    reader: float

    warning: str = ""


def share(nodes: Sequence[tuple[float, float]], workers: int | None, gpu: bool) -> Shares:
    """Share processors, so that any machine has room for a task that reads files, were all models on it.

    Models that took every CPU, be it after the loss of a machine, would wait for ever for files that no task can read.
    So each counts as little as it must: Ray's count limits what it starts, not what a process uses.

    Args:
        nodes: CPUs and GPUs of each machine.
        workers: How many processes are to run the model; None for one per GPU, or one per machine where there is none.
        gpu: Whether the model may use a GPU.

    Raises:
        BackendError: The cluster has no CPU, or too few for so many.
    """
    cpus, gpus = [cpus for cpus, _ in nodes if cpus > 0], sum(gpus for _, gpus in nodes) if gpu else 0
    if not cpus:
        raise BackendError("the cluster has no CPU, which reading files needs: start its machines with --num-cpus")
    count = workers or int(gpus) or len(cpus)
    reader = min(1.0, min(cpus) / 2)
    taken = min(1.0, int(FINEST * (min(cpus) - reader) / count) / FINEST)
    if not taken:
        raise BackendError(f"the cluster is too small for {count} model processes: ask for fewer with --workers")
    few = (
        f"{sum(cpus):g} CPUs are few for {count} model processes and for reading files: each of them gets a part of one"
    )
    return Shares(count, taken, min(1.0, gpus / count) if gpus else 0.0, reader, few if sum(cpus) <= count else "")


def nodes() -> list[tuple[float, float]]:
    """CPUs and GPUs of each machine of the cluster."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(resources.get("CPU", 0.0), resources.get("GPU", 0.0)) for resources in found]


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Join a Ray cluster, or start one on this machine and stop it; SIGTERM ends it as Ctrl-C does.

    Args:
        address: Of a cluster to join; None to start one.

    Raises:
        BackendError: It cannot be joined or started.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if address:
        _check_reached(address)
    folder, before = None if address else _new_folder(), signal.getsignal(signal.SIGTERM)
    try:
        _connect(address, folder)
        _silence()
        signal.signal(signal.SIGTERM, _interrupt)  # Ray has put its own there
        yield
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, before)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _check_reached(address: str) -> None:
    """Check that a cluster answers there: Ray itself would try for minutes, and then end the process."""
    if found := re.fullmatch(r"(ray://)?\[?(.+?)\]?:(\d+)", address):
        try:
            socket.create_connection((found[2], int(found[3])), timeout=REACHED_WITHIN).close()
            if not found[1]:
                with _without_stderr():
                    GcsClient(address=address)
        except (OSError, OverflowError, RayError) as error:
            raise BackendError(f"the Ray cluster at {address} cannot be joined: {error}") from None


def _new_folder() -> Path:
    """A folder for what Ray writes; what killed runs left of theirs is removed."""
    parent = Path(tempfile.gettempdir())
    sweep(parent)
    folder = parent / f"{UNFINISHED}ray-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)  # of one that had this number: in a container each may have it
    with writing(folder, BackendError):
        folder.mkdir(mode=0o700)
    return folder


def _connect(address: str | None, folder: Path | None) -> None:
    options = {} if address else {**LOCAL, "_temp_dir": os.fspath(folder or "")}
    try:
        with _without_stderr():
            ray.init(address or "local", logging_level=logging.CRITICAL, log_to_driver=False, **options)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        if address:
            raise BackendError(f"the Ray cluster at {address} cannot be joined: {reason}") from None
        shorter = "; set TMPDIR to a folder with a shorter path" if "AF_UNIX path length" in reason else ""
        raise BackendError(f"Ray cannot be started on this machine: {reason}{shorter}") from None


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Drop what Ray's own code in C++ says while it starts: what is wrong comes as an exception."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _silence() -> None:
    """Let Ray Data say nothing of its own; what matters comes as errors."""
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ray._private.worker.print_to_stdstream = _drop  # has Ray print to stdout, whatever `log_to_driver` says
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.issue_detectors_config.detectors = []


def _drop(data: object, ignore_prefix: bool = False) -> None:
    pass


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
