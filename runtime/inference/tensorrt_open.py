"""Opens a bundle's TensorRT engine: finds it or builds it, and checks its parity on the GPU that is here."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from types import ModuleType

from ..bundle.bundle import Bundle
from ..errors import BackendError, NoEngineError, ParityError
from .backend import Progress, no_progress
from .cuda import open_cuda
from .cuda_protocol import Cuda
from .engine_store import (
    Engine,
    Precision,
    build_record_for,
    engine_directories,
    engine_directory,
    find_engine,
    save_engine,
)
from .parity import Check, explain, is_half
from .proof import build_subject, prove, recall, remember, require_parity, subject_of
from .tensorrt_backend import TensorRTBackend
from .tensorrt_engine import build_engine, check_gpu, load_tensorrt

Notify = Callable[[str], None]


def open_tensorrt(
    bundle: Bundle, notify: Notify, progress: Progress = no_progress, build: bool = True
) -> TensorRTBackend:
    """Load the latest engine of a bundle whose build record matches; build one if none does.

    Args:
        bundle: Bundle to run.
        notify: Called with the reason why an engine is built.
        progress: See `build_engine`.
        build: Whether an engine may be built; it takes minutes.

    Raises:
        NoEngineError: No engine matches, and none may be built.
        BackendError: There is no GPU or no TensorRT.
        ParityError: The engine gives other answers than the model, now or as remembered.
    """
    trt = load_tensorrt()
    cuda = open_cuda()
    try:
        check_gpu(trt, cuda.gpu)
        precision: Precision = "fp16" if is_half(bundle) else "fp32"
        wanted = build_record_for(trt, bundle, precision, cuda.gpu)
        engine, reason = find_engine(engine_directories(bundle), wanted)
        if engine is not None:
            return _open_proven(trt, cuda, engine, bundle, notify)
        refused = recall(bundle, build_subject(wanted))
        if refused and not refused.passed:
            raise ParityError(f"{_REFUSED}: {refused.text}; to build it again, run `cartcls export`")
        if not build:
            raise NoEngineError(f"no engine matches ({reason or 'none was built'}): run `cartcls export`")
        notify(f"building an engine ({precision}) for {cuda.gpu.name}" + (f" again: {reason}" if reason else ""))
        engine, _, backend = build_proven(trt, cuda, bundle, precision, bundle.model, progress, notify)
        try:
            save_engine(engine)
        except BackendError as error:
            notify(f"the next start builds the engine again: {error}")
        return backend
    except BaseException:
        cuda.close()
        raise


_REFUSED = "the engine gives other answers than the model and is not kept"


def build_proven(
    trt: ModuleType,
    cuda: Cuda,
    bundle: Bundle,
    precision: Precision,
    graph: bytes,
    progress: Progress = no_progress,
    notify: Notify = lambda line: None,
) -> tuple[Engine, Check, TensorRTBackend]:
    """Build an engine for the GPU, and check its parity on the labelled cells in the bundle.

    Args:
        trt: `tensorrt` or `tensorrt_rtx`.
        cuda: The GPU.
        bundle: The bundle.
        precision: Of the engine.
        graph: The bundle's graph, retyped for that precision.
        progress: See `build_engine`.
        notify: Called with messages for the user.

    Returns:
        The engine, not saved yet; its parity; and it, loaded.

    Raises:
        BackendError: It cannot be built or loaded here.
        BundleError: The bundle has no labelled cells.
        ParityError: It gives other answers than the model; that is remembered.
    """
    record = build_record_for(trt, bundle, precision, cuda.gpu)
    size, directory = (bundle.height, bundle.width), engine_directory(bundle)
    with cuda.current():
        engine = build_engine(trt, graph, record, size, directory, progress, cuda.gpu.memory)
    backend = TensorRTBackend(trt, cuda, engine, bundle, notify)
    try:
        check = _check(backend, engine, bundle)
        remember(bundle, build_subject(record), check, notify)
        if not check.passed:
            raise ParityError(f"{_REFUSED}: {explain(check)}")
        remember(bundle, _engine_subject(backend, engine, cuda), check, notify)
    except BaseException:
        backend.release()
        raise
    return engine, check, backend


def _open_proven(trt: ModuleType, cuda: Cuda, engine: Engine, bundle: Bundle, notify: Notify) -> TensorRTBackend:
    backend = TensorRTBackend(trt, cuda, engine, bundle, notify)

    def check() -> Check:
        notify(f"checking the answers of {engine.file.name} on {cuda.gpu.name}")
        return _check(backend, engine, bundle)

    try:
        require_parity(bundle, _engine_subject(backend, engine, cuda), check, notify)
    except ParityError as error:
        backend.release()
        raise ParityError(f"{engine.file} gives other answers than the model: {error}") from None
    except BaseException:
        backend.release()
        raise
    return backend


def _check(backend: TensorRTBackend, engine: Engine, bundle: Bundle) -> Check:
    runner = f"{engine.record.library} on {backend.device}"
    return prove(backend.infer, bundle, engine.record.precision, runner)


def _engine_subject(backend: TensorRTBackend, engine: Engine, cuda: Cuda) -> str:
    digest = hashlib.sha256(engine.data).hexdigest()
    return subject_of("engine", digest, engine.record.version, asdict(cuda.gpu), backend.batch_size)
