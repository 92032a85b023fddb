import os
from pathlib import Path

import pytest

from cartcls.runtime.compiled_store import CompiledStore

KEPT = 3


def allocate(size: int) -> memoryview:
    return memoryview(bytearray(size))


def test_what_was_saved_is_loaded(tmp_path: Path):
    store = CompiledStore(tmp_path / "new", KEPT)
    file = store.file("graph", ["1.0"])
    assert store.load(file, allocate) is None
    store.save(file, b"compiled")
    assert store.load(file, allocate) == b"compiled"
    assert store.load(CompiledStore(tmp_path / "new", KEPT).file("graph", ["1.0"]), allocate) == b"compiled"


def test_another_graph_or_version_is_another_file(tmp_path: Path):
    store = CompiledStore(tmp_path, KEPT)
    files = {store.file(digest, [version]) for digest in ("graph", "other") for version in ("1.0", "1.1")}
    assert len(files) == 4


@pytest.mark.parametrize("changed", [b"", b"short", slice(-1), b"x"])
def test_a_file_that_is_not_whole_is_not_loaded(tmp_path: Path, changed: bytes | slice):
    store = CompiledStore(tmp_path, KEPT)
    file = store.file("graph", [])
    store.save(file, b"compiled")
    whole = file.read_bytes()
    file.write_bytes(whole[changed] if isinstance(changed, slice) else whole + changed if changed == b"x" else changed)
    assert store.load(file, allocate) is None


def test_those_that_were_not_used_for_the_longest_time_are_removed(tmp_path: Path):
    store = CompiledStore(tmp_path, KEPT)
    files = [store.file("graph", [number]) for number in range(KEPT + 1)]
    for age, file in enumerate(files[:KEPT]):
        store.save(file, b"compiled")
        os.utime(file, ns=(age, age))
    assert store.load(files[0], allocate)  # used now
    store.save(files[KEPT], b"compiled")
    assert sorted(tmp_path.iterdir()) == sorted({*files} - {files[1]})


def test_a_folder_that_cannot_be_written_keeps_nothing():
    store = CompiledStore(Path("/proc/nowhere"), KEPT)
    file = store.file("graph", [])
    store.save(file, b"compiled")
    assert store.load(file, allocate) is None
