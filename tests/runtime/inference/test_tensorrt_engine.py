import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest
import record_signatures
from fake_tensorrt import VERSIONS, signatures

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import BackendError
from cartcls.runtime.inference import tensorrt_engine as engines
from cartcls.runtime.inference.cuda_protocol import Gpu
from cartcls.runtime.inference.engine_store import BuildRecord, build_record_for, find_engine, save_engine
from cartcls.runtime.inference.tensorrt_engine import build_engine

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
SIZE = (290, 290)
GPU = Gpu("NVIDIA RTX A2000", "sm86", "13.0", 12 * 1024**3)


@pytest.fixture
def record(bundle: Bundle) -> BuildRecord:
    return build_record_for(trt, bundle, "fp16", GPU)


@pytest.mark.parametrize("target", ["sm86", "sm89"])
def test_the_shipped_graph_compiles_ahead_of_time(bundle: Bundle, record: BuildRecord, tmp_path: Path, target: str):
    ahead = dataclasses.replace(record, compute_capability=target, gpu="", driver="")
    phases: dict[str, tuple[int, int]] = {}
    started = time.perf_counter()
    engine = build_engine(
        trt, bundle.model, ahead, SIZE, tmp_path, lambda phase, step, steps: phases.__setitem__(phase, (step, steps))
    )
    print(f"{target}: {len(engine.data) / 1e6:.1f} MB in {time.perf_counter() - started:.1f} s")
    assert 0.5 < len(engine.data) / len(bundle.model) < 1.5  # in float32 it would be twice as large
    assert engine.half_share > 0.7
    assert phases
    assert all(step == steps for step, steps in phases.values())
    save_engine(engine)
    here = dataclasses.replace(GPU, compute_capability=target, name="any of its kind")
    found, reason = find_engine([tmp_path], build_record_for(trt, bundle, "fp16", here))
    assert (found, reason) == (engine, "")


def test_the_recorded_signatures_are_those_of_the_installed_bindings():
    if trt.__version__ not in VERSIONS:
        pytest.skip(f"{trt.__version__} is not recorded")
    assert record_signatures.read(trt) == signatures(trt.__version__)


def test_an_interruption_ends_the_build_as_an_interruption(bundle: Bundle, record: BuildRecord, tmp_path: Path):
    def interrupt(phase: str, step: int, steps: int) -> None:
        raise KeyboardInterrupt

    ahead = dataclasses.replace(record, gpu="", driver="")
    with pytest.raises(KeyboardInterrupt):
        build_engine(trt, bundle.model, ahead, SIZE, tmp_path, interrupt)


def test_a_library_that_cannot_build_says_why(record: BuildRecord, tmp_path: Path):
    class Fake:
        __name__ = "tensorrt"
        ILogger = trt.ILogger

        @staticmethod
        def Builder(log: Any) -> None:
            log.log(trt.ILogger.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    with pytest.raises(BackendError, match=r"tensorrt .* cannot build here: CUDA .* 35; install driver r580"):
        build_engine(Fake(), b"", record, SIZE, tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("accepted", [0, 1, 2])
def test_a_timing_cache_that_does_not_fit_is_begun_anew(tmp_path: Path, accepted: int):
    offered: list[bytes] = []

    class Config:
        def create_timing_cache(self, data: bytes) -> bytes | None:
            return None if accepted == 2 and data else data

        def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
            assert not ignore_mismatch
            offered.append(cache)
            return accepted == 0 or not cache

    (tmp_path / "cache").write_bytes(b"old")
    engines._use_timing_cache(Config(), tmp_path / "cache")
    assert offered == {0: [b"old"], 1: [b"old", b""], 2: [b""]}[accepted]


def test_a_graph_that_tensorrt_does_not_take_is_a_clear_error(record: BuildRecord, tmp_path: Path):
    ahead = dataclasses.replace(record, gpu="", driver="")
    with pytest.raises(BackendError, match=r"tensorrt_rtx .* rejects the graph"):
        build_engine(trt, b"junk", ahead, SIZE, tmp_path)
