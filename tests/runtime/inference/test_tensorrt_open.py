"""How an engine is found, built, proven and refused, on a GPU that only pretends."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_gpu import FakeGpu, installed
from fake_tensorrt import RTX_VERSION, VERSIONS, FakeTensorRT

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import BackendError, NoEngineError, NoGpuError, ParityError
from cartcls.runtime.inference import choose, cuda, engine_store
from cartcls.runtime.inference.backend import BATCHES
from cartcls.runtime.inference.choose import open_backend
from cartcls.runtime.inference.cuda_protocol import Gpu
from cartcls.runtime.inference.engine_store import Engine, build_record_for, engine_file, save_engine
from cartcls.runtime.inference.tensorrt_open import open_tensorrt

AHEAD = Gpu("", "sm86", "", 0)


@pytest.fixture
def trt(request: pytest.FixtureRequest) -> Iterator[FakeTensorRT]:
    """A machine with a GPU and TensorRT; 10.3 where no version is named."""
    trt = FakeTensorRT(getattr(request, "param", "10.3.0"), FakeGpu())
    with installed(trt.gpu, "pycuda", trt):
        yield trt
    assert trt.gpu.is_free
    assert trt.gpu.depth() == 0


def read_only(bundle: Bundle, patch: pytest.MonkeyPatch) -> None:
    """This user may not write to the bundle; root may always."""
    access = os.access
    patch.setattr(
        engine_store.os, "access", lambda path, mode: bundle.directory not in (path, path.parent) and access(path, mode)
    )


def ahead_of_time(trt: FakeTensorRT, bundle: Bundle) -> Engine:
    """An engine that was built where no such GPU was, and never ran."""
    record = build_record_for(trt, bundle, "fp16", AHEAD)
    engine = Engine(bundle.model, record, 0.9, engine_file(bundle.directory / "engines", record))
    save_engine(engine)
    return engine


def start(bundle: Bundle, build: bool = True) -> list[str]:
    """Open and close; what was said."""
    said: list[str] = []
    open_tensorrt(bundle, said.append, build=build).close()
    return said


@pytest.mark.parametrize("trt", VERSIONS, indirect=True)
def test_an_engine_is_built_proven_and_found_again_with_every_version(small: Bundle, trt: FakeTensorRT):
    with pytest.raises(NoEngineError, match=r"no engine matches \(none was built\): run `cartcls export`"):
        start(small, build=False)
    assert start(small) == ["building an engine (fp16) for A GPU"]
    assert set(trt.shapes) == set(BATCHES)
    assert (trt.builds, trt.limits) == (1, [(1 << 33) // 4])
    ran = len(trt.shapes)
    assert start(small, build=False) == []
    assert (trt.builds, len(trt.shapes)) == (1, ran)


def test_another_driver_builds_it_again(small: Bundle, trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch):
    start(small)
    monkeypatch.setattr(cuda, "driver_version", lambda version: "580.95.05")
    with pytest.raises(NoEngineError, match=r"no engine matches \(driver CUDA 12.9 → 580.95.05\)"):
        start(small, build=False)
    assert start(small) == ["building an engine (fp16) for A GPU again: driver CUDA 12.9 → 580.95.05"]


@pytest.mark.parametrize("trt", [RTX_VERSION], indirect=True)
def test_an_engine_built_ahead_of_time_is_proven_once_for_each_gpu_and_driver(
    small: Bundle, trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
):
    engine = ahead_of_time(trt, small)
    says = [f"checking the answers of {engine.file.name} on A GPU"]
    assert start(small, build=False) == says
    assert set(trt.shapes) == set(BATCHES)
    assert start(small, build=False) == []
    monkeypatch.setattr(cuda, "driver_version", lambda version: "580.95.05")
    assert start(small, build=False) == says
    assert start(small, build=False) == []
    assert trt.builds == 0


@pytest.mark.parametrize("trt", [RTX_VERSION], indirect=True)
def test_one_that_gives_other_answers_is_refused_and_that_is_remembered(small: Bundle, trt: FakeTensorRT):
    engine, ran, trt.sign = ahead_of_time(trt, small), 0, -1
    for _ in range(2):
        with pytest.raises(
            ParityError, match=rf"{engine.file} gives other answers .*; to check it again, remove .*json"
        ):
            start(small)
        ran = len(trt.shapes)
    assert (trt.builds, ran) == (0, len(trt.shapes))


def test_a_refused_build_is_remembered_and_auto_goes_on_with_the_reason(
    small: Bundle, trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
):
    trt.sign = -1
    monkeypatch.setattr(choose, "open_openvino", lambda bundle: "the CPU")
    for build in (True, True, False):  # a service starts again and again
        said: list[str] = []
        assert open_backend(small, "auto", said.append, build=build) == "the CPU"
        assert "tensorrt: the engine gives other answers than the model and is not kept" in said[-1]
    assert trt.builds == 1
    with pytest.raises(ParityError, match="to build it again, run `cartcls export`"):
        open_backend(small, "tensorrt")
    assert not list(small.directory.rglob("*.engine"))


@pytest.mark.parametrize("trt", [RTX_VERSION], indirect=True)
def test_an_engine_beside_a_bundle_that_is_read_only_is_used(
    small: Bundle, trt: FakeTensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    start(small)  # an administrator
    for file in (small.directory / "engines").glob("parity-*"):
        file.unlink()
    read_only(small, monkeypatch)
    before = sorted(small.directory.rglob("*"))
    assert len(start(small, build=False)) == 1  # the check
    assert start(small, build=False) == []
    assert (trt.builds, sorted(small.directory.rglob("*"))) == (1, before)
    assert {file.suffix for file in (tmp_path / "cache").rglob("*.*")} == {".json"}


@pytest.mark.parametrize("trt", [RTX_VERSION], indirect=True)
def test_the_kernels_of_each_size_are_kept_as_soon_as_they_are_compiled(small: Bundle, trt: FakeTensorRT):
    backend = open_tensorrt(small, lambda line: None)
    (kernels,) = (small.directory / "engines").glob("*.kernels")  # before anybody closes it
    assert kernels.read_bytes() == b"[1, 8, 32]"
    backend.close()
    trt.compiled.clear()
    start(small)
    assert trt.compiled == set(BATCHES)  # as they were read, for none was run


def test_a_gpu_that_tensorrt_for_rtx_does_not_know_is_a_reason_for_the_next_backend(
    small: Bundle, monkeypatch: pytest.MonkeyPatch
):
    trt = FakeTensorRT(RTX_VERSION, FakeGpu())
    trt.gpu.capability = (9, 0)
    monkeypatch.setattr(choose, "open_openvino", lambda bundle: "the CPU")
    said: list[str] = []
    with installed(trt.gpu, "cuda-bindings", trt):
        with pytest.raises(NoGpuError, match=r"tensorrt_rtx .* does not know A GPU \(sm90\)"):
            open_backend(small, "tensorrt")
        assert open_backend(small, "auto", said.append) == "the CPU"
    assert "does not know A GPU" in said[0]


def test_what_cannot_be_written_is_built_and_checked_again(
    small: Bundle, trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
):
    read_only(small, monkeypatch)
    monkeypatch.setattr(engine_store.platformdirs, "user_cache_path", lambda name: Path("/proc/nowhere"))
    said = start(small)
    assert said[0].startswith("building an engine")
    assert any("parity is checked again at the next start" in line for line in said)
    assert any("the next start builds the engine again" in line for line in said)


@pytest.mark.parametrize("call", ["deserialize_cuda_engine", "build_serialized_network"])
def test_a_start_that_fails_closes_the_gpu_with_the_reason(small: Bundle, trt: FakeTensorRT, call: str):
    fails = trt.fails
    trt.fails = lambda name: (name == call and trt.tell("Error Code 1: because") is None) or fails(name)  # type: ignore[method-assign]
    with pytest.raises(BackendError, match="Error Code 1: because"):
        start(small)
    assert ("cuStreamSynchronize") in [name for name, _ in trt.gpu.calls]
