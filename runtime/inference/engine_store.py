"""Engines on the disk: compiled from a bundle's graph, and loaded only if their build record matches.

Loading an engine executes code in it, and one that was built for another GPU, driver or version may crash or give
wrong answers. So a build record beside each engine says what it was built from, for and with; if anything differs, the
engine is rebuilt, never loaded.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Literal

import platformdirs

from ..bundle.bundle import INT8_MODEL, Bundle
from ..errors import BackendError
from ..files import replace_file, writing
from .backend import MAX_BATCH
from .cuda_protocol import Gpu

Precision = Literal["fp16", "fp32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp16", "fp32", "int8")

RECIPE = 2
RTX = "tensorrt_rtx"
ENGINES = "engines"


@dataclass(frozen=True)
class BuildRecord:
    """What an engine was built from, for and with.

    Attributes:
        graph: SHA-256 of the bundle's graph, from which that of every precision is made, and of the digest of its
            8-bit graph, if it has one.
        library: `tensorrt` or `tensorrt_rtx`.
        version: Its version.
        precision: `fp16`, `fp32` or `int8`.
        max_batch: Largest number of images at once.
        compute_capability: Such as `sm86`.
        gpu: Name of the GPU; empty where it was built ahead of time, for any of that compute capability.
        driver: Version of the driver; empty likewise.
        recipe: Version of the settings in `build_engine`.
    """

    graph: str
    library: str
    version: str
    precision: str
    max_batch: int
    compute_capability: str
    gpu: str
    driver: str
    recipe: int

    def differences(self, wanted: "BuildRecord") -> list[str]:
        """Differences from the build record of an engine built here and now."""
        found, here = asdict(self), asdict(wanted)
        ahead_of_time = self.library == RTX and not self.gpu
        ignored = {"gpu", "driver"} if ahead_of_time else set()
        return [
            f"{name.replace('_', ' ')} {found[name]} → {here[name]}"
            for name in found
            if name not in ignored and found[name] != here[name]
        ]


@dataclass(frozen=True)
class Engine:
    """A compiled graph.

    Attributes:
        data: What TensorRT serialised.
        record: What it was built from, for and with.
        half_share: Share of layers with half-precision outputs, as they are typed in the graph.
        file: Its path.
    """

    data: bytes
    record: BuildRecord
    half_share: float
    file: Path


def build_record_for(trt: ModuleType, bundle: Bundle, precision: Precision, gpu: Gpu) -> BuildRecord:
    """Build record of an engine built here and now."""
    int8_digest = bundle.manifest.files.get(INT8_MODEL, "")
    return BuildRecord(
        graph=hashlib.sha256(bundle.model + int8_digest.encode()).hexdigest(),
        library=trt.__name__,
        version=str(trt.__version__),
        precision=precision,
        max_batch=MAX_BATCH,
        compute_capability=gpu.compute_capability,
        gpu=gpu.name,
        driver=gpu.driver,
        recipe=RECIPE,
    )


def engine_directories(bundle: Bundle) -> list[Path]:
    """Where a bundle's engines may lie: in the bundle, and in the user's cache."""
    return [bundle.directory / ENGINES, platformdirs.user_cache_path("cartcls") / ENGINES / bundle.sha256[:16]]


def engine_directory(bundle: Bundle) -> Path:
    """Where this user's engines of a bundle go: into the bundle, or the user's cache if the bundle is read-only."""
    own, cache = engine_directories(bundle)
    return own if os.access(own if own.is_dir() else bundle.directory, os.W_OK) else cache


def find_engine(directories: Sequence[Path], wanted: BuildRecord) -> tuple[Engine | None, str]:
    """Find the latest engine whose build record matches, in any precision.

    Args:
        directories: Folders of engines.
        wanted: Build record of an engine built here and now; its precision is ignored.

    Returns:
        The engine, or None and the reason why there is none that may be loaded; the reason is empty where there never
        was one.
    """
    records = [replace(wanted, precision=precision) for precision in PRECISIONS]
    files = {file: record for folder in directories for record in records for file in engine_files(folder, record)}
    reasons = []
    for file in sorted(filter(_built, files), key=_built, reverse=True):
        engine, reason = _read_engine(file, files[file])
        if engine is not None:
            return engine, ""
        reasons.append(reason)
    return None, reasons[0] if reasons else ""


def _built(file: Path) -> int:
    """When a file was written, in ns; 0 if it is not there, or cannot be looked at."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _read_engine(file: Path, wanted: BuildRecord) -> tuple[Engine | None, str]:
    try:
        data = file.read_bytes()
        fields = json.loads(_record_file(file).read_bytes())
        sha256, half_share = fields.pop("engine_sha256"), float(fields.pop("half_share"))
        record = BuildRecord(**fields)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None, f"{file} has no valid build record, or cannot be read"
    if hashlib.sha256(data).hexdigest() != sha256:
        return None, f"{file} is incomplete or was altered"
    if differences := record.differences(wanted):
        return None, ", ".join(differences)
    return Engine(data, record, half_share, file), ""


def save_engine(engine: Engine) -> None:
    """Write an engine, then its build record, so that a part of an engine is never loaded.

    Raises:
        BackendError: It cannot be written.
    """
    fields = {
        **asdict(engine.record),
        "half_share": engine.half_share,
        "engine_sha256": hashlib.sha256(engine.data).hexdigest(),
    }
    with writing(engine.file, BackendError):
        engine.file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(engine.file, engine.data)
        replace_file(_record_file(engine.file), (json.dumps(fields, indent=2) + "\n").encode())


def engine_file(directory: Path, record: BuildRecord) -> Path:
    """Path of the engine with such a build record: one for each library, precision and model of GPU."""
    model = f"-{hashlib.sha256(record.gpu.encode()).hexdigest()[:8]}" if record.gpu else ""
    return directory / f"{record.library}-{record.precision}-{record.compute_capability}{model}.engine"


def engine_files(directory: Path, wanted: BuildRecord) -> list[Path]:
    """Paths of engines that may match: one for this GPU, or one built ahead of time for its kind."""
    return [engine_file(directory, record) for record in (wanted, replace(wanted, gpu=""))]


def _record_file(file: Path) -> Path:
    return file.with_suffix(".json")
