import dataclasses
import json
import os
from pathlib import Path
from types import ModuleType

import pytest

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import BackendError
from cartcls.runtime.inference import engine_store
from cartcls.runtime.inference.cuda_protocol import Gpu
from cartcls.runtime.inference.engine_store import (
    BuildRecord,
    Engine,
    build_record_for,
    engine_directories,
    engine_directory,
    find_engine,
    save_engine,
)

GPU = Gpu("NVIDIA RTX A2000", "sm86", "13.0", 12 * 1024**3)


@pytest.fixture
def record(bundle: Bundle) -> BuildRecord:
    trt = ModuleType("tensorrt_rtx")
    trt.__version__ = "1.7"  # type: ignore[attr-defined]
    return build_record_for(trt, bundle, "fp16", GPU)


@pytest.fixture
def saved(tmp_path: Path, record: BuildRecord) -> Engine:
    engine = Engine(b"engine" * 1000, record, 0.9, engine_store.engine_file(tmp_path / "engines", record))
    save_engine(engine)
    return engine


def test_an_engine_whose_build_record_matches_is_used(saved: Engine, record: BuildRecord):
    assert find_engine([saved.file.parent], record) == (saved, "")


def test_there_is_no_reason_where_there_never_was_an_engine(tmp_path: Path, record: BuildRecord):
    assert find_engine([tmp_path], record) == (None, "")


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
    found, said = find_engine([saved.file.parent], dataclasses.replace(record, **change))
    assert found is None
    assert said.startswith(reason)
    assert "," not in said  # nothing else differs


def test_engines_of_another_gpu_or_library_lie_beside(saved: Engine, record: BuildRecord):
    for change in ({"compute_capability": "sm89"}, {"gpu": "NVIDIA RTX A4000"}, {"library": "tensorrt"}):
        assert find_engine([saved.file.parent], dataclasses.replace(record, **change)) == (None, "")


def test_the_engine_that_was_built_last_is_taken_if_its_build_record_matches(saved: Engine, record: BuildRecord):
    directory = saved.file.parent
    full = dataclasses.replace(record, precision="fp32")
    newer = Engine(b"float32", full, 0, engine_store.engine_file(directory, full))
    save_engine(newer)
    later = saved.file.stat().st_mtime_ns + 10**9
    os.utime(newer.file, ns=(later, later))
    assert find_engine([directory], record) == (newer, "")
    newer.file.write_bytes(b"float")
    assert find_engine([directory], record) == (saved, "")
    saved.file.unlink()
    assert find_engine([directory], record) == (None, f"{newer.file} is incomplete or was altered")
    assert find_engine([directory / "none"], record) == (None, "")


def test_only_tensorrt_for_rtx_builds_for_gpus_that_it_does_not_see(tmp_path: Path, record: BuildRecord):
    for library, found in (("tensorrt_rtx", True), ("tensorrt", False)):
        ahead = dataclasses.replace(record, library=library, gpu="", driver="")
        save_engine(Engine(b"ahead", ahead, 0.9, engine_store.engine_file(tmp_path, ahead)))
        assert (find_engine([tmp_path], dataclasses.replace(record, library=library))[0] is not None) == found


def test_half_written_altered_and_foreign_engines_are_never_loaded(saved: Engine, record: BuildRecord):
    directory, record_file = saved.file.parent, saved.file.with_suffix(".json")

    def reason() -> str:
        found, said = find_engine([directory], record)
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
    assert find_engine([directory], record)[0] == saved


def test_a_write_that_fails_leaves_the_older_engine(
    saved: Engine, record: BuildRecord, monkeypatch: pytest.MonkeyPatch
):
    def full(file: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(engine_store, "replace_file", full)
    with pytest.raises(BackendError, match="cannot be written: No space left"):
        save_engine(dataclasses.replace(saved, data=b"newer"))
    assert find_engine([saved.file.parent], record)[0] == saved


def test_engines_go_to_the_users_cache_where_the_bundle_is_read_only_and_are_found_in_both(
    bundle: Bundle, record: BuildRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mine = dataclasses.replace(bundle, directory=tmp_path / "bundle")
    mine.directory.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    own, cache = engine_directories(mine)
    assert engine_directory(mine) == own == mine.directory / "engines"
    monkeypatch.setattr(engine_store.os, "access", lambda path, mode: False)
    assert engine_directory(mine) == cache
    assert bundle.sha256[:16] in cache.parts
    for directory in (own, cache):  # the one that was built last is taken
        engine = Engine(str(directory).encode(), record, 0.9, engine_store.engine_file(directory, record))
        save_engine(engine)
        later = own.stat().st_mtime_ns + (directory == cache) * 10**9
        os.utime(engine.file, ns=(later, later))
        assert find_engine([own, cache], record) == (engine, "")


def test_a_folder_that_cannot_be_looked_at_holds_no_engine(
    saved: Engine, record: BuildRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stat = Path.stat

    def refuse(path: Path, **given: bool) -> os.stat_result:
        if "locked" in path.parts:
            raise PermissionError(13, "Permission denied")
        return stat(path, **given)

    monkeypatch.setattr(Path, "stat", refuse)
    assert find_engine([tmp_path / "locked", saved.file.parent], record) == (saved, "")
