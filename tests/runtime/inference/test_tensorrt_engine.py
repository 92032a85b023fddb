import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import BackendError
from cartcls.runtime.inference import tensorrt_engine as engines
from cartcls.runtime.inference.cuda import Gpu
from cartcls.runtime.inference.tensorrt_engine import (
    BuildRecord,
    Engine,
    build_engine,
    build_record_for,
    engine_directory,
    find_engine,
    save_engine,
)

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
SIZE = (363, 360)
GPU = Gpu("NVIDIA RTX A2000", "sm86", "13.0", 12 * 1024**3)


@pytest.fixture
def record(bundle: Bundle) -> BuildRecord:
    return build_record_for(trt, bundle, "fp16", GPU)


@pytest.fixture
def saved(tmp_path: Path, record: BuildRecord) -> Engine:
    engine = Engine(b"engine" * 1000, record, 0.9, engines.engine_file(tmp_path / "engines", record))
    save_engine(engine)
    return engine


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
    found, reason = find_engine(tmp_path, build_record_for(trt, bundle, "fp16", here))
    assert (found, reason) == (engine, "")


def test_an_engine_whose_build_record_matches_is_used(saved: Engine, record: BuildRecord):
    assert find_engine(saved.file.parent, record) == (saved, "")


def test_there_is_no_reason_where_there_never_was_an_engine(tmp_path: Path, record: BuildRecord):
    assert find_engine(tmp_path, record) == (None, "")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"driver": "13.2"}, "driver 13.0 → 13.2"),
        ({"recipe": 99}, "recipe "),
        ({"version": "99.0"}, "version "),
        ({"graph": "0" * 64}, "graph "),
        ({"max_batch": 64}, "max batch 32 → 64"),
    ],
)
def test_what_changed_is_named_and_the_engine_not_loaded(saved: Engine, record: BuildRecord, change: dict, reason: str):  # type: ignore[type-arg]
    found, said = find_engine(saved.file.parent, dataclasses.replace(record, **change))
    assert found is None
    assert said.startswith(reason)
    assert "," not in said  # nothing else differs


def test_engines_of_another_gpu_or_library_lie_beside(saved: Engine, record: BuildRecord):
    for change in ({"compute_capability": "sm89"}, {"gpu": "NVIDIA RTX A4000"}, {"library": "tensorrt"}):
        assert find_engine(saved.file.parent, dataclasses.replace(record, **change)) == (None, "")


def test_the_engine_that_was_built_last_is_taken_if_its_build_record_matches(saved: Engine, record: BuildRecord):
    directory = saved.file.parent
    full = dataclasses.replace(record, precision="fp32")
    newer = Engine(b"float32", full, 0, engines.engine_file(directory, full))
    save_engine(newer)
    later = saved.file.stat().st_mtime_ns + 10**9
    os.utime(newer.file, ns=(later, later))
    assert find_engine(directory, record) == (newer, "")
    newer.file.write_bytes(b"float")
    assert find_engine(directory, record) == (saved, "")
    saved.file.unlink()
    assert find_engine(directory, record) == (None, f"{newer.file} is incomplete or was altered")
    assert find_engine(directory / "none", record) == (None, "")


def test_only_tensorrt_for_rtx_builds_for_gpus_that_it_does_not_see(tmp_path: Path, record: BuildRecord):
    for library, found in (("tensorrt_rtx", True), ("tensorrt", False)):
        ahead = dataclasses.replace(record, library=library, gpu="", driver="")
        save_engine(Engine(b"ahead", ahead, 0.9, engines.engine_file(tmp_path, ahead)))
        assert (find_engine(tmp_path, dataclasses.replace(record, library=library))[0] is not None) == found


def test_half_written_altered_and_foreign_engines_are_never_loaded(saved: Engine, record: BuildRecord):
    directory, record_file = saved.file.parent, saved.file.with_suffix(".json")

    def reason() -> str:
        found, said = find_engine(directory, record)
        assert found is None
        return said

    saved.file.write_bytes(saved.data[:-1])
    assert "incomplete or was altered" in reason()
    saved.file.write_bytes(saved.data[:-1] + b"x")
    assert "incomplete or was altered" in reason()
    saved.file.write_bytes(saved.data)
    fields = json.loads(record_file.read_text())
    for text in ("", "{", "[]", "null", json.dumps({**fields, "more": 1}), json.dumps({"graph": fields["graph"]})):
        record_file.write_text(text)
        assert "no valid build record" in reason()
    record_file.unlink()
    assert "no valid build record" in reason()
    save_engine(saved)
    assert find_engine(directory, record)[0] == saved


def test_a_write_that_fails_leaves_the_older_engine(
    saved: Engine, record: BuildRecord, monkeypatch: pytest.MonkeyPatch
):
    def full(file: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(engines, "replace_file", full)
    with pytest.raises(BackendError, match="cannot be written: No space left"):
        save_engine(dataclasses.replace(saved, data=b"newer"))
    assert find_engine(saved.file.parent, record)[0] == saved


def test_engines_go_to_the_users_cache_where_the_bundle_is_read_only(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mine = dataclasses.replace(bundle, directory=tmp_path)
    assert engine_directory(mine) == tmp_path / "engines"
    monkeypatch.setattr(engines.os, "access", lambda path, mode: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert bundle.sha256[:16] in engine_directory(mine).parts
    assert tmp_path / "engines" != engine_directory(mine)


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

    with pytest.raises(BackendError, match=r"tensorrt .* cannot build here: CUDA initialization failure"):
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
