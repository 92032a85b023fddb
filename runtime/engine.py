"""TensorRT engines: compiled from a bundle's graph, stamped, and loaded only where the stamp fits.

Loading an engine executes what it holds, and one that was built for another GPU, driver or version may crash or give
wrong answers. So an engine lies beside a stamp that says what it was built from, for and with; where anything
differs, it is built again, never loaded.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import platformdirs

from .backend import Progress, no_progress
from .bundle import Bundle
from .cuda import Gpu
from .errors import BackendError, NotInstalledError
from .files import replace_file

Precision = Literal["fp16", "fp32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp16", "fp32", "int8")

MAX_BATCH = 32
ENGINES = "engines"
TIMING_CACHE = "timing.cache"
INSTALL = "pip install 'cartcls[tensorrt]' (any NVIDIA GPU) or 'cartcls[rtx]' (RTX GPUs)"


@dataclass(frozen=True)
class Stamp:
    """What an engine was built from, for and with.

    Attributes:
        graph: SHA-256 of the bundle's ONNX graph, from which that of every precision is made.
        library: `tensorrt` or `tensorrt_rtx`.
        version: Its version.
        precision: `fp16`, `fp32` or `int8`.
        max_batch: Most images at once.
        compute_capability: Such as `sm86`.
        gpu: Name of the GPU; empty where it was built ahead of time, for any of that compute capability.
        driver: CUDA version of the driver; empty likewise.
    """

    graph: str
    library: str
    version: str
    precision: str
    max_batch: int
    compute_capability: str
    gpu: str
    driver: str

    def differences(self, wanted: "Stamp") -> list[str]:
        """What differs from the stamp that an engine would get here and now."""
        found, here = asdict(self), asdict(wanted)
        ahead_of_time = not self.gpu
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
        stamp: What it was built from, for and with.
        half_share: Share of layers with half-precision outputs, as they are typed in the graph.
        file: Where it lies.
    """

    data: bytes
    stamp: Stamp
    half_share: float
    file: Path


def load_tensorrt() -> ModuleType:
    """Import `tensorrt`, else `tensorrt_rtx`.

    Raises:
        NotInstalledError: Neither is installed.
        BackendError: The libraries of one cannot be loaded.
    """
    problems = []
    for name in ("tensorrt", "tensorrt_rtx"):
        try:
            return __import__(name)
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError, RuntimeError) as error:
            problems.append(f"{name} cannot be loaded ({error})")
    if problems:
        raise BackendError("; ".join(problems))
    raise NotInstalledError(f"TensorRT is not installed: {INSTALL}")


def stamp_for(trt: ModuleType, bundle: Bundle, precision: Precision, gpu: Gpu) -> Stamp:
    """The stamp that an engine gets which is built here and now."""
    return Stamp(
        graph=hashlib.sha256(bundle.model).hexdigest(),
        library=trt.__name__,
        version=str(trt.__version__),
        precision=precision,
        max_batch=MAX_BATCH,
        compute_capability=gpu.compute_capability,
        gpu=gpu.name,
        driver=gpu.driver,
    )


def engine_directory(bundle: Bundle) -> Path:
    """Where a bundle's engines lie: in its own folder, else, where that is read-only, in the user's cache."""
    own = bundle.directory / ENGINES
    if os.access(own if own.is_dir() else bundle.directory, os.W_OK):
        return own
    return platformdirs.user_cache_path("cartcls") / ENGINES / bundle.sha256[:16]


def find_engine(directory: Path, wanted: Stamp) -> tuple[Engine | None, str]:
    """Look for an engine that fits.

    Returns:
        The engine, or None and the reason why there is none that may be loaded; the reason is empty where there never
        was one.
    """
    file = engine_file(directory, wanted)
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"{file} cannot be read ({error.strerror})"
    try:
        record = json.loads(_stamp_file(file).read_bytes())
        sha256, half_share = record.pop("engine_sha256"), float(record.pop("half_share"))
        stamp = Stamp(**record)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None, f"{file} has no valid stamp"
    if hashlib.sha256(data).hexdigest() != sha256:
        return None, f"{file} is incomplete or was altered"
    if differences := stamp.differences(wanted):
        return None, ", ".join(differences)
    return Engine(data, stamp, half_share, file), ""


def newest_engine(directory: Path, wanted: Stamp) -> tuple[Engine | None, str]:
    """Look for the engine that was built last, in whatever precision; see `find_engine`."""
    stamps = [replace(wanted, precision=precision) for precision in PRECISIONS]
    files = {engine_file(directory, stamp): stamp for stamp in stamps}
    there = sorted((file for file in files if file.exists()), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    reasons = []
    for file in there:
        engine, reason = find_engine(directory, files[file])
        if engine is not None:
            return engine, ""
        reasons.append(reason)
    return None, reasons[0] if reasons else ""


def save_engine(engine: Engine) -> None:
    """Write an engine, then its stamp; half of it is never taken for an engine.

    Raises:
        BackendError: It cannot be written.
    """
    record = {
        **asdict(engine.stamp),
        "half_share": engine.half_share,
        "engine_sha256": hashlib.sha256(engine.data).hexdigest(),
    }
    try:
        engine.file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(engine.file, engine.data)
        replace_file(_stamp_file(engine.file), (json.dumps(record, indent=2) + "\n").encode())
    except OSError as error:
        raise BackendError(f"{engine.file} cannot be written: {error.strerror}") from None


def build_engine(
    trt: ModuleType,
    graph: bytes,
    stamp: Stamp,
    size: tuple[int, int],
    directory: Path,
    progress: Progress = no_progress,
) -> Engine:
    """Compile a graph.

    Args:
        trt: `tensorrt` or `tensorrt_rtx`.
        graph: ONNX file.
        stamp: What to build for; with no GPU's name, ahead of time for its compute capability (RTX only).
        size: Height and width of its input in pixels.
        directory: Folder of the engines; the timing cache lies there too.
        progress: Called with a phase of the build, the step done in it, and its steps.

    Raises:
        BackendError: TensorRT does not take the graph, or cannot build here.
    """
    log = _log(trt)
    builder = trt.Builder(log)
    if builder is None:
        raise BackendError(f"{trt.__name__} cannot build here: {log.problem()}")
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        problems = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise BackendError(f"{trt.__name__} {stamp.version} does not take the graph: {problems}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    shapes = [(count, *size, 3) for count in (1, MAX_BATCH, MAX_BATCH)]
    profile.set_shape("image", *shapes)
    config.add_optimization_profile(profile)
    config.progress_monitor = _monitor(trt, progress)
    if trt.__name__ == "tensorrt_rtx":
        config.num_compute_capabilities = 1
        target = "CURRENT" if stamp.gpu else stamp.compute_capability.upper()
        config.set_compute_capability(getattr(trt.ComputeCapability, target), 0)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
        cache = config.create_timing_cache(_read(directory / TIMING_CACHE))
        config.set_timing_cache(cache, ignore_mismatch=False)
    half_share = _half_share(trt, network)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise BackendError(f"{trt.__name__} {stamp.version} cannot build an engine: {log.problem()}")
    if trt.__name__ == "tensorrt":
        directory.mkdir(parents=True, exist_ok=True)
        replace_file(directory / TIMING_CACHE, bytes(config.get_timing_cache().serialize()))
    return Engine(bytes(serialized), stamp, half_share, engine_file(directory, stamp))


def engine_file(directory: Path, stamp: Stamp) -> Path:
    """Where the engine with such a stamp lies: one for each library, precision and kind of GPU."""
    return directory / f"{stamp.library}-{stamp.precision}-{stamp.compute_capability}.engine"


def _stamp_file(file: Path) -> Path:
    return file.with_suffix(".json")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _half_share(trt: ModuleType, network: Any) -> float:
    """Share of layers whose first output is typed half, of those whose output is half or float."""
    types = [
        network.get_layer(index).get_output(0).dtype
        for index in range(network.num_layers)
        if network.get_layer(index).num_outputs
    ]
    half, full = types.count(trt.float16), types.count(trt.float32)
    return half / max(half + full, 1)


def _log(trt: ModuleType) -> Any:
    class Log(trt.ILogger):
        """Keeps errors for the message; warnings of TensorRT mean nothing to the people who run this."""

        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            """Called by TensorRT, from any thread."""
            if int(severity) <= int(trt.ILogger.ERROR):
                self.errors.append(message)

        def problem(self) -> str:
            """The first error, which is the cause of the others."""
            return self.errors[0].strip() if self.errors else "it gives no reason"

    return Log()


def _monitor(trt: ModuleType, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Hands on what TensorRT tells of its phases."""

        def __init__(self) -> None:
            super().__init__()
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            """A phase begins."""
            self.steps[phase_name] = num_steps
            progress(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            """A step of a phase is done; the build goes on."""
            progress(phase_name, step + 1, self.steps.get(phase_name, step + 1))
            return True

        def phase_finish(self, phase_name: str) -> None:
            """A phase ends."""
            steps = self.steps.pop(phase_name, 0)
            progress(phase_name, steps, steps)

    return Monitor()
