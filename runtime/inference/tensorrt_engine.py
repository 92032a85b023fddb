"""TensorRT's builder: it compiles a bundle's graph to an engine."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import BackendError, NoGpuError, NotInstalledError
from ..files import replace_file
from .backend import MAX_BATCH, Progress, backend_error, no_progress
from .cuda_protocol import Gpu
from .engine_store import RTX, BuildRecord, Engine, engine_file

INSTALL = "pip install 'cartcls[tensorrt]' (any NVIDIA GPU) or 'cartcls[rtx]' (RTX GPUs)"
OLDER_DRIVER = (
    "install driver r580 or later; for an older one with CUDA 12, pip install tensorrt-rtx-cu12"
    " (or tensorrt-cu12) 'cuda-bindings>=12.9.1,<13'"
)
WORKSPACE_SHARE = 4  # a quarter of the GPU's memory, which a Jetson shares with all else


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


def check_gpu(trt: ModuleType, gpu: Gpu) -> None:
    """Check that the library knows the GPU: TensorRT for RTX knows only some.

    Raises:
        NoGpuError: It does not.
    """
    if trt.__name__ == RTX and gpu.compute_capability.upper() not in trt.ComputeCapability.__members__:
        raise NoGpuError(
            f"{trt.__name__} {trt.__version__} does not know {gpu.name} ({gpu.compute_capability}):"
            " pip install tensorrt in its place"
        )


def build_engine(
    trt: ModuleType,
    graph: bytes,
    record: BuildRecord,
    size: tuple[int, int],
    directory: Path,
    progress: Progress = no_progress,
    memory: int = 0,
) -> Engine:
    """Compile a graph.

    Args:
        trt: `tensorrt` or `tensorrt_rtx`.
        graph: ONNX file.
        record: What to build for; with no GPU's name, ahead of time for its compute capability (RTX only).
        size: Height and width of its input in pixels.
        directory: Folder of the engines; the timing cache lies there too.
        progress: Called with a phase of the build, the step done in it, and its steps.
        memory: Bytes of the GPU's memory, of which layers get a part to work in; 0 if unknown.

    Raises:
        BackendError: TensorRT rejects the graph, or cannot build here.
    """
    log = tensorrt_log(trt)
    log.clear()
    try:
        builder = trt.Builder(log)
    except TypeError:  # raised by the bindings where there is no builder
        raise tensorrt_error(trt, f"{trt.__name__} {record.version} cannot build here") from None
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        problems = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise BackendError(f"{trt.__name__} {record.version} rejects the graph: {problems}")
    config = _config(trt, builder, record, size)
    if memory:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, memory // WORKSPACE_SHARE)
    config.progress_monitor = monitor = _monitor(trt, progress)
    cache = directory / f"{record.library}-{record.version}-{record.compute_capability}.timing"
    if record.library != RTX:  # which has none
        _use_timing_cache(config, cache)
    half_share = _half_share(trt, network)
    serialized = builder.build_serialized_network(network, config)
    if monitor.interrupted:
        raise KeyboardInterrupt
    if serialized is None:
        raise tensorrt_error(trt, f"{trt.__name__} {record.version} cannot build an engine")
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


@cache
def tensorrt_log(trt: ModuleType) -> Any:
    """The library's one logger, for all of the process: TensorRT keeps the first, and its own prints to stdout."""

    class Log(trt.ILogger):
        """Keeps the latest errors for the message; TensorRT's warnings do not help users."""

        def __init__(self) -> None:
            super().__init__()
            self.errors: deque[str] = deque(maxlen=20)

        def log(self, severity: Any, message: str) -> None:
            """Called by TensorRT, from any thread."""
            if int(severity) <= int(trt.ILogger.ERROR):
                self.errors.append(message)

        def clear(self) -> None:
            """Forget the errors of what was done before."""
            self.errors.clear()

        def problem(self) -> str:
            """The first error, which is the cause of the others."""
            return self.errors[0].strip() if self.errors else "it gives no reason"

    return Log()


def tensorrt_error(trt: ModuleType, text: str, remedy: str = "") -> BackendError:
    """The error with TensorRT's own reason, and how to mend it."""
    problem = tensorrt_log(trt).problem()
    if "error: 35" in problem:  # CUDA's number for a driver that is too old
        remedy = OLDER_DRIVER
    return backend_error(f"{text}: {problem}; {remedy}" if remedy else f"{text}: {problem}")


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
