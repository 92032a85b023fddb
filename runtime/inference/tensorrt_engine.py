"""TensorRT engines: compiled from a bundle's graph, and loaded only if their build record matches.

Loading an engine executes code in it, and one that was built for another GPU, driver or version may crash or give
wrong answers. So a build record beside each engine says what it was built from, for and with; if anything differs, the
engine is rebuilt, never loaded.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import platformdirs

from ..bundle.bundle import INT8_MODEL, Bundle
from ..errors import BackendError, NotInstalledError, install
from ..files import replace_file, sweep, writing
from .backend import Progress, no_progress
from .cuda import Gpu

Precision = Literal["fp16", "fp32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp16", "fp32", "int8")

MAX_BATCH = 32
RECIPE = 1
RTX = "tensorrt_rtx"
ENGINES = "engines"
INSTALL = f"{install('tensorrt')} (any NVIDIA GPU), or '.[rtx]' (RTX GPUs)"


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


def load_tensorrt(ahead_of_time: bool = False) -> ModuleType:
    """Import `tensorrt`, else `tensorrt_rtx`; in reverse order to build for another machine's GPU.

    Raises:
        NotInstalledError: Neither is installed.
        BackendError: The libraries of one cannot be loaded.
    """
    problems = []
    for name in (RTX, "tensorrt") if ahead_of_time else ("tensorrt", RTX):
        try:
            return __import__(name)
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError, RuntimeError) as error:
            problems.append(f"{name} cannot be loaded ({error})")
    if problems:
        raise BackendError("; ".join(problems))
    raise NotInstalledError(f"TensorRT is not installed: {INSTALL}")


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


def engine_directory(bundle: Bundle) -> Path:
    """Folder of a bundle's engines: in the bundle, or in the user's cache if the bundle is read-only."""
    own = bundle.directory / ENGINES
    if os.access(own if own.is_dir() else bundle.directory, os.W_OK):
        return own
    return platformdirs.user_cache_path("cartcls") / ENGINES / bundle.sha256[:16]


def find_engine(directory: Path, wanted: BuildRecord) -> tuple[Engine | None, str]:
    """Find the latest engine whose build record matches, in any precision.

    Args:
        directory: Folder of the engines.
        wanted: Build record of an engine built here and now; its precision is ignored.

    Returns:
        The engine, or None and the reason why there is none that may be loaded; the reason is empty where there never
        was one.
    """
    records = [replace(wanted, precision=precision) for precision in PRECISIONS]
    files = {file: record for record in records for file in engine_files(directory, record)}
    there = sorted((file for file in files if file.exists()), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    reasons = []
    for file in there:
        engine, reason = _read_engine(file, files[file])
        if engine is not None:
            return engine, ""
        reasons.append(reason)
    return None, reasons[0] if reasons else ""


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
        sweep(engine.file.parent)
        replace_file(engine.file, engine.data)
        replace_file(_record_file(engine.file), (json.dumps(fields, indent=2) + "\n").encode())


def build_engine(
    trt: ModuleType,
    graph: bytes,
    record: BuildRecord,
    size: tuple[int, int],
    directory: Path,
    progress: Progress = no_progress,
) -> Engine:
    """Compile a graph.

    Args:
        trt: `tensorrt` or `tensorrt_rtx`.
        graph: ONNX file.
        record: What to build for; with no GPU's name, ahead of time for its compute capability (RTX only).
        size: Height and width of its input in pixels.
        directory: Folder of the engines; the timing cache lies there too.
        progress: Called with a phase of the build, the step done in it, and its steps.

    Raises:
        BackendError: TensorRT rejects the graph, or cannot build here.
    """
    log = _log(trt)
    try:
        builder = trt.Builder(log)
    except TypeError:  # raised by the bindings where there is no builder
        raise BackendError(f"{trt.__name__} {record.version} cannot build here: {log.problem()}") from None
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        problems = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise BackendError(f"{trt.__name__} {record.version} rejects the graph: {problems}")
    config = _config(trt, builder, record, size)
    config.progress_monitor = monitor = _monitor(trt, progress)
    cache = directory / f"{record.library}-{record.version}-{record.compute_capability}.timing"
    if record.library != RTX:  # which has none
        _use_timing_cache(config, cache)
    half_share = _half_share(trt, network)
    serialized = builder.build_serialized_network(network, config)
    if monitor.interrupted:
        raise KeyboardInterrupt
    if serialized is None:
        raise BackendError(f"{trt.__name__} {record.version} cannot build an engine: {log.problem()}")
    if record.library != RTX and (measured := config.get_timing_cache()) is not None:
        with suppress(OSError):  # it only makes the next build shorter
            directory.mkdir(parents=True, exist_ok=True)
            replace_file(cache, bytes(measured.serialize()))
    return Engine(bytes(serialized), record, half_share, engine_file(directory, record))


def _config(trt: ModuleType, builder: Any, record: BuildRecord, size: tuple[int, int]) -> Any:
    """For batches of 1 to `MAX_BATCH` images; float32 is not rounded to TF32."""
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    shapes = [(count, *size, 3) for count in (1, MAX_BATCH, MAX_BATCH)]
    profile.set_shape("image", *shapes)
    config.add_optimization_profile(profile)
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if record.library == RTX:
        config.num_compute_capabilities = 1
        target = "CURRENT" if record.gpu else record.compute_capability.upper()
        config.set_compute_capability(getattr(trt.ComputeCapability, target), 0)
    return config


def engine_file(directory: Path, record: BuildRecord) -> Path:
    """Path of the engine with such a build record: one for each library, precision and model of GPU."""
    model = f"-{hashlib.sha256(record.gpu.encode()).hexdigest()[:8]}" if record.gpu else ""
    return directory / f"{record.library}-{record.precision}-{record.compute_capability}{model}.engine"


def engine_files(directory: Path, wanted: BuildRecord) -> list[Path]:
    """Paths of engines that may match: one for this GPU, or one built ahead of time for its kind."""
    return [engine_file(directory, record) for record in (wanted, replace(wanted, gpu=""))]


def _record_file(file: Path) -> Path:
    return file.with_suffix(".json")


def _use_timing_cache(config: Any, file: Path) -> None:
    try:
        known = file.read_bytes()
    except OSError:
        known = b""
    for data in (known, b""):
        cache = config.create_timing_cache(data)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return


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
        """Keeps errors for the message; TensorRT's warnings do not help users."""

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
        """Forwards TensorRT's progress; an exception would end only these calls, not the build."""

        def __init__(self) -> None:
            super().__init__()
            self.steps: dict[str, int] = {}
            self.interrupted = False

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            """A phase begins."""
            with self.catching_interruption():
                self.steps[phase_name] = num_steps
                progress(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            """A step of a phase is done; says whether the build goes on."""
            with self.catching_interruption():
                progress(phase_name, step + 1, self.steps.get(phase_name, step + 1))
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            """A phase ends."""
            with self.catching_interruption():
                steps = self.steps.pop(phase_name, 0)
                progress(phase_name, steps, steps)

        @contextmanager
        def catching_interruption(self) -> Iterator[None]:
            """Remember Ctrl-C, which raises in a callback but must not leave it."""
            try:
                yield
            except KeyboardInterrupt:
                self.interrupted = True

    return Monitor()
