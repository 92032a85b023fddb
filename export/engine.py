"""From a bundle to a TensorRT engine, in the precision and for the GPU that was asked for."""

import time
from dataclasses import dataclass

from ..runtime.bundle.bundle import INT8_MODEL, Bundle
from ..runtime.errors import BackendError, BundleError, NotInstalledError, ParityError, install
from ..runtime.inference.backend import Progress
from ..runtime.inference.cuda import open_cuda
from ..runtime.inference.cuda_protocol import Gpu
from ..runtime.inference.engine_store import (
    RTX,
    Engine,
    Precision,
    build_record_for,
    engine_directory,
    save_engine,
)
from ..runtime.inference.parity import Check, answer_limit, compare, explain, is_half, read_reference
from ..runtime.inference.tensorrt_engine import build_engine, check_gpu, load_tensorrt
from ..runtime.inference.tensorrt_open import build_proven


@dataclass(frozen=True)
class EngineExport:
    """An engine, and what is known of its answers.

    Attributes:
        engine: The engine, saved.
        seconds: How long the build and the parity check took.
        half_share: Share of layers in half precision in the engine itself; None if unknown.
        check: Parity of the engine itself on the cells in the bundle; or, if it was built ahead of time for another
            GPU, of ONNX Runtime with half-precision rounding emulated.
    """

    engine: Engine
    seconds: float
    half_share: float | None
    check: Check


def export_engine(bundle: Bundle, precision: Precision, target: str | None, progress: Progress) -> EngineExport:
    """Compile a bundle's graph, and check its parity as far as this machine can.

    Args:
        bundle: The bundle.
        precision: `fp16` is the graph as it is, `int8` the 8-bit graph beside it.
        target: Compute capability such as `sm86` to build for ahead of time (TensorRT for RTX alone); None for the
            GPU of this machine.
        progress: See `build_engine`.

    Raises:
        BackendError: There is no TensorRT or no GPU, or the target cannot be built for.
        ParityError: The engine gives other answers than the model; it is not kept.
    """
    started = time.monotonic()
    trt = load_tensorrt(ahead_of_time=target is not None)
    graph = _graph(bundle, precision)
    if target is None:
        cuda = open_cuda()
        try:
            check_gpu(trt, cuda.gpu)
            engine, check, backend = build_proven(trt, cuda, bundle, precision, graph, progress)
            backend.release()
        finally:
            cuda.close()
        half_share = backend.half_share
    else:
        if trt.__name__ != RTX:
            raise NotInstalledError(f"only TensorRT for RTX builds for --target: {install('rtx')}")
        if not hasattr(trt.ComputeCapability, target.upper()):
            raise BackendError(f"{trt.__name__} {trt.__version__} does not build for {target}")
        check, half_share = _emulated(bundle, precision, graph), None
        if not check.passed:
            raise ParityError(f"the graph gives other answers than the model, so no engine is built: {explain(check)}")
        record = build_record_for(trt, bundle, precision, Gpu("", target, "", 0))
        engine = build_engine(trt, graph, record, (bundle.height, bundle.width), engine_directory(bundle), progress)
    save_engine(engine)
    return EngineExport(engine, time.monotonic() - started, half_share, check)


def _graph(bundle: Bundle, precision: Precision) -> bytes:
    if precision == "fp32":
        from .retype import to_float32  # needs onnx, which an edge device does not need

        return to_float32(bundle.model)
    if precision == "int8":
        return bundle.file(INT8_MODEL).read()
    if precision == "fp16" and not is_half(bundle):
        raise BundleError(f"the graph of {bundle.name} is float32: export its checkpoint with --fp16, or use --fp32")
    return bundle.model


def _emulated(bundle: Bundle, precision: Precision, graph: bytes) -> Check:
    from .parity import onnxruntime_infer
    from .retype import emulate_half

    if precision != "fp16":
        infer, runner = onnxruntime_infer(graph), "ONNX Runtime, not the engine itself"
    else:
        infer, runner = onnxruntime_infer(emulate_half(graph)), "float16 rounding emulated, not the engine itself"
    return compare(precision, runner, infer, read_reference(bundle), answer_limit(bundle, precision))
