"""Checks what a run needs on this machine; says what is missing and how to fix it."""

import importlib.metadata
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .bundle.bundle import Bundle, load_bundle
from .errors import BackendError, BundleError
from .files import why_away
from .inference.choose import open_openvino
from .inference.cuda import NO_GPU, open_cuda, why_no_gpu
from .inference.cuda_protocol import Gpu, check_copies
from .inference.engine_store import build_record_for, engine_directories, find_engine
from .inference.openvino_backend import has_bfloat16
from .inference.proof import build_subject, recall
from .inference.tensorrt_engine import INSTALL, OLDER_DRIVER, check_gpu, load_tensorrt
from .mounts import file_system, is_network
from .verified import last_verified

Level = Literal["ok", "note", "warning", "failure"]

LOW_DISK = 2 * 1024**3
PACKAGES = ("openvino", "tensorrt", "tensorrt-rtx", "onnxruntime-gpu", "cuda-bindings", "pycuda")


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        level: `ok` (it was tried, and works), `note` (a fact), `warning` (works with a drawback) or `failure`.
        subject: What was checked.
        text: What was found.
        remedy: How to fix it; empty if there is nothing to fix.
    """

    level: Level
    subject: str
    text: str
    remedy: str = ""


def examine(bundle_dir: Path, capture_dir: Path | None, out: Path) -> list[Finding]:
    """Check Python, backends, GPU, bundle, engine, and the folders that a run would use."""
    findings = [_python(), *_packages()]
    gpu, finding = _gpu()
    findings += [finding, _openvino(gpu)]
    try:
        bundle = load_bundle(bundle_dir)
    except BundleError as error:
        findings.append(Finding("failure", "bundle", str(error), "reinstall cartcls, or copy the bundle again"))
    else:
        findings += [_bundle(bundle), _on_the_cpu(bundle, gpu), _verified(bundle), _engine(bundle, gpu)]
    findings += _folder("reports", _nearest(out), writes=True)
    if capture_dir is not None:
        findings += _folder("captures", capture_dir, writes=False)
    return findings


def _python() -> Finding:
    return Finding("note", "python", f"{platform.python_version()} on {platform.platform()}")


def _packages() -> Iterator[Finding]:
    yield Finding("note", "cartcls", importlib.metadata.version("cartcls"))
    for name in PACKAGES:
        try:
            yield Finding("note", name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            continue


def _gpu() -> tuple[Gpu | None, Finding]:
    try:
        cuda = open_cuda()
    except BackendError as error:
        reason = why_no_gpu()
        if reason == NO_GPU:
            return None, Finding("note", "GPU", reason)
        remedy = OLDER_DRIVER if "insufficient" in str(error) else "install the driver" if reason else INSTALL
        return None, Finding("warning", "GPU", f"none usable: {reason or error}", remedy)
    gpu = cuda.gpu
    try:
        check_copies(cuda)
    except BackendError as error:
        return gpu, Finding("warning", "GPU", f"{gpu.name}: {error}", "free its memory, or restart the machine")
    finally:
        cuda.close()
    memory = f"{gpu.memory / 1024**3:.0f} GiB"
    return gpu, Finding("ok", "GPU", f"{gpu.name}, {gpu.compute_capability}, {memory}, driver {gpu.driver}")


def _openvino(gpu: Gpu | None) -> Finding:
    try:
        bfloat16 = has_bfloat16()
    except BackendError as error:
        return Finding("warning" if gpu else "failure", "CPU", str(error), "pip install openvino")
    about = "bfloat16" if bfloat16 else "no bfloat16, so about half as fast as newer processors"
    return Finding("ok", "CPU", f"{os.cpu_count()} cores, {about}")


def _bundle(bundle: Bundle) -> Finding:
    text = f"{bundle.name} {bundle.sha256[:12]}, {len(bundle.classes)} classes, {bundle.width}x{bundle.height}"
    if bundle.calibrated:
        return Finding("ok", "bundle", f"{text}, calibrated, all digests match")
    return Finding("warning", "bundle", f"{text}, all digests match, {bundle.problem}", "review every cell yourself")


def _on_the_cpu(bundle: Bundle, gpu: Gpu | None) -> Finding:
    """Whether OpenVINO can load the model, and how many parts of a batch it runs side by side on this processor."""
    try:
        backend = open_openvino(bundle)
    except BackendError as error:
        return Finding("warning" if gpu else "failure", "model on the CPU", str(error), "pip install openvino")
    streams, precision = backend.streams, backend.precision
    backend.close()
    return Finding("ok", "model on the CPU", f"{precision}; {streams} at a time, as OpenVINO chose for this processor")


def _verified(bundle: Bundle) -> Finding:
    """Which bundle was compared with a laboratory's own reference."""
    last = last_verified()
    if last is None:
        return Finding("note", "verification", "no bundle was compared with a reference here: cartcls compare does so")
    slides = "1 slide" if last.slides == 1 else f"{last.slides} slides"
    what = f"{slides} and {last.cells} cells, with {last.reference}, {last.compared_at}"
    if last.bundle_sha256 == bundle.sha256:
        return Finding("ok", "verification", f"this bundle was compared: {what}")
    other = f"another bundle was verified than the one in use: {last.bundle} {last.bundle_sha256[:12]} ({what})"
    return Finding("warning", "verification", other, "compare reports of this bundle with a reference: cartcls compare")


def _engine(bundle: Bundle, gpu: Gpu | None) -> Finding:
    if gpu is None:
        return Finding("note", "engine", "none needed: no GPU")
    try:
        trt = load_tensorrt()
        check_gpu(trt, gpu)
    except BackendError as error:
        return Finding("warning", "engine", str(error), INSTALL)
    directories = engine_directories(bundle)
    wanted = build_record_for(trt, bundle, "fp16", gpu)
    engine, reason = find_engine(directories, wanted)
    if engine is not None:
        return Finding("ok", "engine", f"{engine.file}, {len(engine.data) / 1e6:.0f} MB, its build record matches")
    refused = recall(bundle, build_subject(wanted))
    if refused is not None and not refused.passed:
        text = f"one was built and refused, because its answers are not the model's: {refused.text}"
        return Finding("warning", "engine", text, "another backend is used; cartcls export builds it again")
    text = f"none in {' or '.join(map(str, directories))} matches: {reason or 'none was built yet'}"
    return Finding("warning", "engine", text, "run cartcls export, or the next run builds it, in minutes")


def _folder(subject: str, folder: Path, writes: bool) -> Iterator[Finding]:
    if reason := why_away(folder):
        remedy = "bring its disk or share back, or give this user the permission"
        yield Finding("failure", subject, f"{folder} cannot be reached: {reason}", remedy)
        return
    if not folder.is_dir():
        yield Finding("failure", subject, f"{folder} is not a folder", "create it, or name another")
        return
    kind = file_system(folder) or "unknown file system"
    problem = _try(lambda: _write(folder)) if writes else _try(lambda: os.listdir(folder))
    if problem:
        what = "written to" if writes else "read"
        yield Finding("failure", subject, f"{folder} cannot be {what}: {problem}", "give this user the permission")
    elif is_network(kind):
        share = f"{folder} is on a network share ({kind})"
        if writes:
            yield Finding("warning", subject, f"{share}: its ledger is kept on this machine")
        else:
            yield Finding("note", subject, f"{share}: a file is read after 10 s without a change, in place of 2")
    else:
        yield Finding("ok", subject, f"{folder} ({kind})")
    with suppress(OSError):  # it went away: that was told
        free = shutil.disk_usage(folder).free
        if writes and free < LOW_DISK:
            yield Finding("warning", subject, f"only {free / 1024**2:.0f} MiB free", "free some space")


def _write(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"cartcls")


def _try(action: Callable[[], object]) -> str:
    try:
        action()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists, or that cannot be looked at."""
    folder = folder.absolute()
    while not why_away(folder) and not folder.exists():
        folder = folder.parent
    return folder
