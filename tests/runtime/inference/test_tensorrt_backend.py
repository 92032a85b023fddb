"""The TensorRT backend on a GPU that only pretends: strict about threads, memory and streams, and late."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fake_gpu import LIBRARIES, FakeGpu, installed
from fake_tensorrt import RTX_VERSION, VERSIONS, FakeTensorRT
from small_graph import SIZE, expected, small_graph

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import BackendError
from cartcls.runtime.inference.backend import BATCHES, MAX_BATCH, OUTPUTS, Outputs, padded
from cartcls.runtime.inference.cuda import CudaBindings, PyCuda, open_cuda
from cartcls.runtime.inference.engine_store import RECIPE, BuildRecord, Engine
from cartcls.runtime.inference.tensorrt_backend import SETS, Buffers, TensorRTBackend

Images = npt.NDArray[np.uint8]
Answers = dict[str, npt.NDArray[np.float32]]
MANY = 2 * SETS * MAX_BATCH + 1


@pytest.fixture(scope="session")
def images() -> Images:
    return np.random.default_rng(2).integers(0, 256, (MANY, SIZE, SIZE, 3), np.uint8)


@pytest.fixture
def engine(small: Bundle, tmp_path: Path) -> Engine:
    record = BuildRecord("0" * 64, "tensorrt", "10.0", "fp16", MAX_BATCH, "sm86", "A GPU", "CUDA 12.9", RECIPE)
    return Engine(small.model, record, 1.0, tmp_path / "a.engine")


@contextmanager
def opened(
    trt: FakeTensorRT, engine: Engine, bundle: Bundle, library: str = "pycuda", kind: type = TensorRTBackend
) -> Iterator[TensorRTBackend]:
    """The backend on such a machine; all that it took is given back at the end."""
    with installed(trt.gpu, library):
        cuda = open_cuda()
        try:
            backend = kind(trt, cuda, engine, bundle)
        except BaseException:
            cuda.close()
            raise
        try:
            yield backend
        finally:
            backend.close()
        assert trt.gpu.depth() == 0
        assert trt.gpu.is_free


def in_pool(gpu: FakeGpu, backend: TensorRTBackend, images: Images) -> Outputs:
    """Infer as the commands do, in a pool's thread; no context is left there, at which PyCUDA would abort."""
    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(backend.infer, images).result()
        finally:
            assert pool.submit(gpu.depth).result() == 0


@pytest.fixture(scope="session")
def right(images: Images, bundle: Bundle) -> Answers:
    return expected(small_graph(len(bundle.classes)), images)


def same(outputs: Outputs, right: Answers, count: int = MANY) -> bool:
    """Whether these are the right outputs of the first images, and no others."""
    found = {name: array for name in OUTPUTS if (array := getattr(outputs, name)) is not None}
    assert found.keys() == right.keys()
    return all(np.allclose(found[name], right[name][:count], atol=1e-3) for name in right)


def test_boxes_and_attention_are_passed_on(small: Bundle, engine: Engine, images: Images):
    model, trt = small_graph(len(small.classes), further=True), FakeTensorRT("10.3.0", FakeGpu())
    with opened(trt, replace(engine, data=model), small) as backend:
        answers = expected(model, images)
        assert {"boxes", "attention"} < answers.keys()
        assert same(backend.infer(images), answers)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_size_of_batch_is_right_in_a_thread_of_a_pool(
    small: Bundle,
    engine: Engine,
    images: Images,
    right: Answers,
    capfd: pytest.CaptureFixture[str],
    library: str,
    version: str,
):
    trt = FakeTensorRT(version, FakeGpu())
    with opened(trt, engine, small, library) as backend:
        opening = len(trt.gpu.calls)
        for count in range(1, 2 * MAX_BATCH + 2):
            assert same(in_pool(trt.gpu, backend, images[:count]), right, count), count
        threads = {thread for _, thread in trt.gpu.calls[opening:]}
        assert same(backend.infer(images), right)
    assert threading.get_ident() not in threads
    assert set(trt.shapes) == set(BATCHES)
    assert capfd.readouterr().out == ""


def test_the_shipped_graph_classifies_as_on_the_cpu(
    bundle: Bundle, small: Bundle, engine: Engine, crops: Images, classifier: Classifier
):
    mine = replace(bundle, directory=small.directory)
    trt = FakeTensorRT("11.4.0.106", FakeGpu())
    with opened(trt, replace(engine, data=bundle.model), mine, "pycuda") as backend:
        found = list(Classifier(mine, backend).predict(crops[:7]))
    assert [prediction.label for prediction in found] == [one.label for one in classifier.predict(crops[:7])]
    assert trt.shapes == [8]


@pytest.mark.parametrize("reason", ["Error Code 2: OutOfMemory (Requested size was 4 bytes.)", ""])
@pytest.mark.parametrize(("library", "version"), [("pycuda", "10.3.0"), ("cuda-bindings", RTX_VERSION)])
def test_whatever_call_fails_once_the_answers_are_right_or_there_is_a_reason(
    small: Bundle,
    engine: Engine,
    images: Images,
    right: Answers,
    capfd: pytest.CaptureFixture[str],
    library: str,
    version: str,
    reason: str,
):
    failed, call = 0, 0
    while True:
        trt = FakeTensorRT(version, FakeGpu(fails=call))
        trt.reason = reason
        problems: list[BackendError] = []
        with noting(problems), opened(trt, engine, small, library) as backend:
            for count in (MANY, MAX_BATCH + 1, MAX_BATCH + 1):
                with noting(problems):
                    assert same(in_pool(trt.gpu, backend, images[:count]), right, count), call
        assert trt.gpu.is_free
        assert len(problems) <= 1, call
        assert all("memory" in str(problem).lower() or "no reason" in str(problem) for problem in problems)
        failed += len(problems)
        if call >= len(trt.gpu.calls):
            break
        call += 1
    assert capfd.readouterr().out == ""
    print(f"{library}, {version}: {call} calls, {failed} of them an error where they fail")
    assert call > 100


@contextmanager
def noting(problems: list[BackendError]) -> Iterator[None]:
    try:
        yield
    except BackendError as problem:
        problems.append(problem)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("version", ["10.0.1", "11.4.0.106", RTX_VERSION])
def test_where_memory_is_short_all_of_it_is_allocated_smaller(
    small: Bundle, engine: Engine, images: Images, right: Answers, library: str, version: str
):
    said: list[str] = []

    def told(*given: object) -> TensorRTBackend:
        return TensorRTBackend(*given, said.append)  # type: ignore[arg-type]

    image, outputs = SIZE * SIZE * 3, 4 * (8 + 8 + 5)
    for largest, needed in ((8, 8000), (1, 1000)):
        trt = FakeTensorRT(version, FakeGpu(memory=needed + SETS * largest * (image + outputs)))
        said.clear()
        with opened(trt, engine, small, library, told) as backend:  # type: ignore[arg-type]
            assert backend.batch_size == SETS * largest
            assert same(in_pool(trt.gpu, backend, images), right)
        assert set(trt.shapes) <= set(BATCHES[: BATCHES.index(largest) + 1])
        assert said[-1].endswith(f"continuing with batches of {largest}")
    with (
        pytest.raises(BackendError, match="out of memory"),
        opened(FakeTensorRT(version, FakeGpu(memory=100)), engine, small, library),
    ):
        pass


class WrongStream(PyCuda):
    """Copies out on a stream that nobody waits for."""

    def copy_out(self, target: Images, address: int) -> None:
        self._call(self._driver.memcpy_dtoh_async, target, address, type("Default", (), {"handle": 0}))


class WrongStreamIn(CudaBindings):
    """Copies in on a stream that does not come before the run."""

    def copy_in(self, address: int, source: Images) -> None:
        self._call(self._runtime.cudaMemcpyAsync, address, source.ctypes.data, source.nbytes, 1, 0)


class ReusedEarly(TensorRTBackend):
    """Has one set of buffers for two batches."""

    def _allocate(self, stack) -> Buffers:  # type: ignore[no-untyped-def]
        first = self.__dict__.setdefault("_only", super()._allocate(stack))
        return Buffers(first.host, first.device)


class NeverWaits(TensorRTBackend):
    """Reads the outputs before they are there."""

    def _collect(self, buffers: Buffers, first: int, arrays) -> None:  # type: ignore[no-untyped-def]
        done, waits = buffers.done, self._cuda.wait
        self._cuda.wait = lambda event: None  # type: ignore[method-assign]
        super()._collect(buffers, first, arrays)
        self._cuda.wait = waits  # type: ignore[method-assign]
        waits(done)


@pytest.mark.parametrize(
    ("library", "cuda", "backend"),
    [
        ("pycuda", WrongStream, TensorRTBackend),
        ("cuda-bindings", WrongStreamIn, TensorRTBackend),
        ("pycuda", PyCuda, ReusedEarly),
        ("cuda-bindings", CudaBindings, NeverWaits),
    ],
)
def test_these_checks_find_a_wrong_stream_and_a_buffer_that_is_used_too_early(
    small: Bundle,
    engine: Engine,
    images: Images,
    right: Answers,
    library: str,
    cuda: type,
    backend: type[TensorRTBackend],
):
    trt = FakeTensorRT("10.3.0", FakeGpu())
    with installed(trt.gpu, library):
        mutant = backend(trt, cuda(), engine, small)
        assert not same(in_pool(trt.gpu, mutant, images), right)


def test_a_context_that_is_not_current_is_found(small: Bundle, engine: Engine, images: Images):
    class NotCurrent(PyCuda):
        def _call(self, function, *arguments):  # type: ignore[no-untyped-def]
            return function(*arguments)

    trt = FakeTensorRT("10.3.0", FakeGpu())
    with installed(trt.gpu, "pycuda"), pytest.raises(AssertionError, match="no context is current"):
        NotCurrent().allocate(1)


def test_what_the_real_bindings_do_not_take_is_found():
    trt = FakeTensorRT("11.4.0.106", FakeGpu())
    context = trt.strict("IExecutionContext", set_input_shape=lambda name, shape: True)
    assert context.set_input_shape("image", (1, 2))
    with pytest.raises(TypeError, match="incompatible function arguments"):
        context.set_input_shape("image", dimensions=(1, 2))
    with pytest.raises(TypeError, match="incompatible function arguments"):
        context.set_input_shape("image")
    with pytest.raises(AttributeError, match="IExecutionContext has no execute_async_v4"):
        context.execute_async_v4(0)
    with pytest.raises(AttributeError, match="FP16"):
        vars(trt)["BuilderFlag"].FP16  # noqa: B018


def test_the_next_batch_is_on_its_way_before_the_last_is_waited_for(small: Bundle, engine: Engine, images: Images):
    trt = FakeTensorRT("10.3.0", FakeGpu())
    with opened(trt, engine, small) as backend:
        del trt.gpu.calls[:]
        backend.infer(images[: 3 * MAX_BATCH])
        names = {"cuMemcpyHtoDAsync": "in", "execute_async_v3": "run", "cuEventSynchronize": "wait"}
        told = [names[name] for name, _ in trt.gpu.calls if name in names]
    assert told == ["in", "run", "in", "run", "wait", "in", "run", "wait", "wait"]


@pytest.mark.parametrize("layout", ["10", "11"])
def test_the_engine_tells_what_it_runs_in_half_precision_in_both_layouts(small: Bundle, engine: Engine, layout: str):
    with opened(FakeTensorRT("11.4.0.106", FakeGpu(), layout), engine, small) as backend:
        assert backend.half_share == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"loads": False}, "cannot be loaded: Error Code 6: The engine plan file is not compatible; remove it"),
        ({"runs": False}, "cannot run on A GPU: CUDA initialization failure with error: 35; install driver r580"),
    ],
)
def test_an_engine_that_does_not_load_is_an_error_with_its_reason(
    small: Bundle, engine: Engine, broken: dict[str, Any], says: str, capfd: pytest.CaptureFixture[str]
):
    trt = FakeTensorRT("10.3.0", FakeGpu(), **broken)
    with pytest.raises(BackendError, match=says), opened(trt, engine, small):
        pass
    assert trt.gpu.is_free
    assert capfd.readouterr().out == ""


def test_batches_are_padded_to_sizes_that_were_proven():
    assert [padded(count) for count in (1, 2, 8, 9, 32)] == [1, 8, 8, 32, 32]
