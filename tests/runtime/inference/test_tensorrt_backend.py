"""The TensorRT backend on a driver that only pretends, and does everything as late as a real one may."""

import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import BackendError, ParityError
from cartcls.runtime.inference import tensorrt_backend
from cartcls.runtime.inference.cuda import Bytes, Gpu
from cartcls.runtime.inference.parity import Reference
from cartcls.runtime.inference.tensorrt_backend import TensorRTBackend, open_tensorrt
from cartcls.runtime.inference.tensorrt_engine import MAX_BATCH, RECIPE, BuildRecord, Engine, engine_file

GPU = Gpu("Pretended GPU", "sm86", "13.0", 1 << 34)
SHAPES = {"logits": (8,), "cams": (8, 12, 12), "features": (512,)}
POSITIONS = 12 * 12
INSPECTED = json.dumps(
    {
        "Layers": [
            {"Name": "a", "Outputs": [{"Format/Datatype": "Row major linear FP16 format"}]},
            {"Name": "b", "Outputs": [{"Format/Datatype": "Half"}]},
            {"Name": "c", "Outputs": [{"Format/Datatype": "Float"}]},
            {"Name": "d", "Outputs": []},
        ]
    }
)


class LateCuda:
    """Work on the stream is done when somebody waits for an event behind it, and not before."""

    gpu = GPU
    stream = 7

    def __init__(self, fail_at: int = 10**9):
        self.memory: dict[int, Bytes] = {}
        self.pins: list[Bytes] = []
        self.queue: list[Callable[[], None]] = []
        self.calls: list[str] = []
        self.fail_at = fail_at
        self.closed = False

    def allocate(self, size: int) -> int:
        if len(self.memory) == self.fail_at:
            raise BackendError("out of memory")
        address = 1000 * (len(self.memory) + 1)
        self.memory[address] = np.full(size, 255, np.uint8)
        return address

    def free(self, address: int) -> None:
        assert not self.queue, "memory is given back while the stream uses it"
        del self.memory[address]

    def pinned(self, size: int) -> Bytes:
        self.pins.append(np.full(size, 255, np.uint8))
        return self.pins[-1]

    def unpin(self, memory: Bytes) -> None:
        assert not self.queue, "memory is given back while the stream uses it"
        self.pins = [pin for pin in self.pins if pin is not memory]

    def copy_in(self, address: int, source: Bytes) -> None:
        self.calls.append("in")
        assert any(np.shares_memory(source, pin) for pin in self.pins)
        self.queue.append(lambda: self.memory[address].__setitem__(slice(0, source.nbytes), source))

    def copy_out(self, target: Bytes, address: int) -> None:
        self.calls.append("out")
        assert any(np.shares_memory(target, pin) for pin in self.pins)
        self.queue.append(lambda: target.__setitem__(slice(None), self.memory[address][: target.nbytes]))

    def record(self) -> Any:
        done: list[bool] = []
        self.queue.append(lambda: done.append(True))
        return done

    def wait(self, event: Any) -> None:
        self.calls.append("wait")
        while not event:
            self.queue.pop(0)()

    def close(self) -> None:
        assert not self.memory
        self.closed = True


class Context:
    def __init__(self, cuda: LateCuda, works: int = 10**9):
        self.cuda, self.works = cuda, works
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "image"
        assert 1 <= shape[0] <= MAX_BATCH
        self.shape = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == self.cuda.stream
        addresses, shape, memory = dict(self.addresses), self.shape, self.cuda.memory

        def work() -> None:
            images = memory[addresses["image"]][: math.prod(shape)].reshape(shape)
            for name, answer in answers(images).items():
                data = np.ascontiguousarray(answer).view(np.uint8).ravel()
                memory[addresses[name]][: data.size] = data

        self.cuda.calls.append("run")
        self.cuda.queue.append(work)
        self.works -= 1
        return self.works >= 0


def answers(images: np.ndarray) -> dict[str, np.ndarray]:
    """Something of the right shape that differs from image to image."""
    means = images.reshape(len(images), -1).mean(1, dtype=np.float64).astype(np.float32)
    means = {"logits": means, "cams": means / POSITIONS, "features": means}
    return {
        name: np.broadcast_to(means[name].reshape(-1, *[1] * len(shape)), (len(images), *shape)).copy()
        for name, shape in SHAPES.items()
    }


def pretended(cuda: LateCuda, works: int = 10**9, context: bool = True, loads: bool = True, runs: bool = True) -> Any:
    """A module like `tensorrt`, whose engine works so many times."""
    names = ["image", *SHAPES]
    mode = SimpleNamespace(INPUT=0, OUTPUT=1)
    engine = SimpleNamespace(
        num_io_tensors=len(names),
        get_tensor_name=lambda index: names[index],
        get_tensor_mode=lambda name: mode.INPUT if name == "image" else mode.OUTPUT,
        get_tensor_shape=lambda name: (-1, *SHAPES[name]),
        create_execution_context=lambda: Context(cuda, works) if context else None,
        create_engine_inspector=lambda: SimpleNamespace(get_engine_information=lambda kind: INSPECTED),
    )

    def runtime(log: object) -> SimpleNamespace:
        if not runs:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return SimpleNamespace(deserialize_cuda_engine=lambda data: engine if loads else None)

    logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
    return SimpleNamespace(
        __name__="tensorrt",
        __version__="10.0",
        Logger=logger,
        Runtime=runtime,
        TensorIOMode=mode,
        LayerInformationFormat=SimpleNamespace(JSON=1),
    )


@pytest.fixture
def engine(tmp_path) -> Engine:  # type: ignore[no-untyped-def]
    record = BuildRecord("0" * 64, "tensorrt", "10.0", "fp16", MAX_BATCH, "sm86", GPU.name, GPU.driver, RECIPE)
    return Engine(b"engine", record, 1.0, tmp_path / "a.engine")


@pytest.mark.parametrize("count", [1, MAX_BATCH, MAX_BATCH + 1, 5 * MAX_BATCH + 3])
def test_every_image_gets_its_own_answer(bundle: Bundle, engine: Engine, count: int):
    cuda = LateCuda()
    backend = TensorRTBackend(pretended(cuda), cuda, engine, bundle)
    images = np.zeros((count, bundle.height, bundle.width, 3), np.uint8)
    images += (np.arange(count, dtype=np.uint8) % 251)[:, None, None, None]
    for _ in range(2):  # buffers are reused
        outputs = backend.infer(images)
        expected = answers(images)
        assert np.array_equal(outputs.logits, expected["logits"])
        assert np.array_equal(outputs.features, expected["features"])
        assert outputs.cams is not None
        assert np.array_equal(outputs.cams, expected["cams"])
    backend.close()


def test_the_next_batch_is_on_its_way_before_the_last_is_waited_for(bundle: Bundle, engine: Engine):
    cuda = LateCuda()
    backend = TensorRTBackend(pretended(cuda), cuda, engine, bundle)
    backend.infer(np.zeros((3 * MAX_BATCH, bundle.height, bundle.width, 3), np.uint8))
    one = ["in", "run", *["out"] * len(SHAPES)]
    assert cuda.calls == [*one, *one, "wait", *one, "wait", "wait"]
    backend.close()


def test_memory_is_as_large_as_a_batch_and_all_of_it_is_given_back(bundle: Bundle, engine: Engine):
    cuda = LateCuda()
    backend = TensorRTBackend(pretended(cuda), cuda, engine, bundle)
    outputs = sum(4 * math.prod(shape) for shape in SHAPES.values())
    a_batch = MAX_BATCH * (bundle.height * bundle.width * 3 + outputs)
    assert sum(memory.nbytes for memory in cuda.memory.values()) == 2 * a_batch
    assert sum(pin.nbytes for pin in cuda.pins) == 2 * a_batch
    backend.close()
    assert (cuda.memory, cuda.pins, cuda.closed) == ({}, [], True)


@pytest.mark.parametrize("fail_at", range(8))
def test_a_failed_allocation_leaves_nothing_behind(bundle: Bundle, engine: Engine, fail_at: int):
    cuda = LateCuda(fail_at)
    with pytest.raises(BackendError, match="out of memory"):
        TensorRTBackend(pretended(cuda), cuda, engine, bundle)
    assert (cuda.memory, cuda.pins, cuda.closed) == ({}, [], True)


@pytest.mark.parametrize(
    ("broken", "says"),
    [({"loads": False}, "cannot be loaded"), ({"context": False}, "memory"), ({"runs": False}, "cannot run on")],
)
def test_an_engine_that_does_not_load_is_a_clear_error(bundle: Bundle, engine: Engine, broken: dict, says: str):  # type: ignore[type-arg]
    cuda = LateCuda()
    with pytest.raises(BackendError, match=says):
        TensorRTBackend(pretended(cuda, **broken), cuda, engine, bundle)
    assert cuda.closed


@pytest.mark.parametrize("works", [0, 1, 2])
def test_a_failed_run_is_an_error_and_memory_still_comes_back(bundle: Bundle, engine: Engine, works: int):
    cuda = LateCuda()
    backend = TensorRTBackend(pretended(cuda, works), cuda, engine, bundle)
    images = np.zeros((3 * MAX_BATCH, bundle.height, bundle.width, 3), np.uint8)
    for _ in range(2):  # it may be asked again
        with pytest.raises(BackendError, match="TensorRT failed on Pretended GPU"):
            backend.infer(images)
    backend.close()
    assert (cuda.memory, cuda.pins, cuda.closed) == ({}, [], True)


def test_the_engine_tells_what_it_runs_in_half_precision(bundle: Bundle, engine: Engine):
    cuda = LateCuda()
    backend = TensorRTBackend(pretended(cuda), cuda, engine, bundle)
    assert backend.half_share == pytest.approx(2 / 3)
    backend.close()


def test_a_missing_engine_is_built_once_and_a_changed_driver_builds_it_again(
    bundle: Bundle, engine: Engine, tmp_path, monkeypatch: pytest.MonkeyPatch
):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    cuda = LateCuda()
    trt = pretended(cuda)
    monkeypatch.setattr(tensorrt_backend, "load_tensorrt", lambda: trt)
    monkeypatch.setattr(tensorrt_backend, "open_cuda", lambda: cuda)

    def build(trt, graph, record, size, directory, progress):  # type: ignore[no-untyped-def]
        assert (graph, size) == (bundle.model, (bundle.height, bundle.width))
        return Engine(b"built", record, 1.0, engine_file(directory, record))

    images = np.arange(2, dtype=np.uint8)[:, None, None, None] + np.zeros((1, bundle.height, bundle.width, 3), np.uint8)
    logits = answers(images)["logits"].copy()
    reference = Reference(images, np.zeros(2, np.int64), logits, np.zeros(8, np.float32))
    monkeypatch.setattr(tensorrt_backend, "build_engine", build)
    monkeypatch.setattr(tensorrt_backend, "read_reference", lambda bundle: reference)
    mine = replace(bundle, directory=tmp_path)
    said: list[str] = []
    reference.logits[0, 3] += 1
    with pytest.raises(ParityError, match="other answers than the model and is not kept"):
        open_tensorrt(mine, said.append)
    assert not (tmp_path / "engines").exists()
    assert (cuda.memory, cuda.pins, cuda.closed) == ({}, [], True)
    reference.logits[0, 3] -= 1
    said.clear()
    with pytest.raises(BackendError, match=r"no engine matches \(none was built\): run `cartcls export`"):
        open_tensorrt(mine, said.append, build=False)
    assert cuda.closed
    open_tensorrt(mine, said.append).close()
    open_tensorrt(mine, said.append).close()
    assert said == ["building an engine (fp16) for Pretended GPU"]
    cuda.gpu = replace(GPU, driver="13.2")
    with pytest.raises(BackendError, match=r"no engine matches \(driver 13.0 → 13.2\)"):
        open_tensorrt(mine, said.append, build=False)
    open_tensorrt(mine, said.append).close()
    assert said[1:] == ["building an engine (fp16) for Pretended GPU again: driver 13.0 → 13.2"]
