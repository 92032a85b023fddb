import os
import subprocess
import sys
from pathlib import Path

import pytest

from cartcls.runtime.errors import BackendError, CartclsError, DataError, OutputError
from cartcls.runtime.files import free_name, replace_file, replace_files, sweep, whole_folder, writing

KILLED = """
import os, sys
from pathlib import Path
from cartcls.runtime.files import whole_folder
folder, renames, rename = Path(sys.argv[1]), int(sys.argv[2]), Path.rename

def rename_and_die(self, target):
    global renames
    rename(self, target)
    renames -= 1
    if not renames:
        os._exit(9)

Path.rename = rename_and_die
with whole_folder(folder) as unfinished:
    (unfinished / "new").touch()
    if not renames:
        os._exit(9)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds a file `old`."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()
    return tmp_path / "folder"


def fill(folder: Path) -> None:
    with whole_folder(folder) as unfinished:
        (unfinished / "new").touch()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_folder_takes_the_place_of_the_older_one_and_of_all_that_was_in_it(folder: Path):
    with whole_folder(folder) as unfinished:
        (unfinished / "new").touch()
        assert names(folder) == ["old"]
    assert names(folder) == ["new"]
    assert names(folder.parent) == ["folder"]


def test_a_folder_is_made_where_there_was_none(tmp_path: Path):
    fill(tmp_path / "deep" / "folder")
    assert names(tmp_path / "deep" / "folder") == ["new"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_fails_while_it_is_filled_leaves_the_older_one(folder: Path, error: type[BaseException]):
    with pytest.raises(error), whole_folder(folder) as unfinished:
        (unfinished / "new").touch()
        raise error
    assert names(folder) == ["old"]
    assert names(folder.parent) == ["folder"]


def test_what_cannot_be_moved_into_its_place_leaves_the_older_one(folder: Path, monkeypatch: pytest.MonkeyPatch):
    rename = Path.rename

    def rename_only_older(path: Path, target: Path) -> Path:
        if path.name.startswith(".unfinished"):
            fail()
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_only_older)
    with pytest.raises(OSError, match="No space left"):
        fill(folder)
    assert names(folder) == ["old"]
    assert names(folder.parent) == ["folder"]


@pytest.mark.parametrize(("renames", "kept"), [(0, "old"), (1, "old"), (2, "new")])
def test_a_kill_at_any_moment_leaves_one_of_the_two_whole(folder: Path, renames: int, kept: str):
    killed = subprocess.run([sys.executable, "-c", KILLED, folder, str(renames)], check=False)
    assert killed.returncode == 9
    with pytest.raises(KeyboardInterrupt), whole_folder(folder):
        assert names(folder) == [kept]
        raise KeyboardInterrupt
    assert names(folder) == [kept]
    fill(folder)
    assert names(folder) == ["new"]
    assert not (folder.parent / ".old-folder").exists()


def test_a_folder_is_on_the_disk_before_it_has_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[list[str]] = []
    monkeypatch.setattr(os, "sync", lambda: seen.append(names(folder)))
    fill(folder)
    assert seen == [["old"]]


def test_a_file_is_replaced_once_it_is_whole_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "cells.csv"
    file.write_bytes(b"old")
    synced: list[tuple[int, bytes]] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append((os.fstat(number).st_size, file.read_bytes())))
    replace_file(file, b"newer")
    assert synced == [(5, b"old")]
    assert file.read_bytes() == b"newer"
    assert names(tmp_path) == ["cells.csv"]


def test_several_files_are_replaced_once_all_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = {tmp_path / name: b"new" for name in "abc"}
    seen: list[list[str]] = []
    monkeypatch.setattr(os, "fsync", lambda number: seen.append([name for name in names(tmp_path) if len(name) == 1]))
    replace_files(files)
    assert seen == [[], [], []]
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == files


def test_of_several_files_none_is_replaced_where_one_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = {tmp_path / name: b"new" for name in "abc"}
    for file in files:
        file.write_bytes(b"old")
    synced: list[int] = []

    def full_at_the_second(number: int) -> None:
        synced.append(number)
        if len(synced) == 2:
            fail()

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    with pytest.raises(OSError, match="No space left"):
        replace_files(files)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == dict.fromkeys("abc", b"old")


def test_where_the_second_of_several_files_cannot_be_renamed_nothing_unfinished_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    files, replaced, replace = {tmp_path / name: b"new" for name in "abc"}, list[Path](), Path.replace

    def full_at_the_second(path: Path, target: Path) -> None:
        replaced.append(target)
        if len(replaced) == 2:
            fail()
        replace(path, target)

    monkeypatch.setattr(Path, "replace", full_at_the_second)
    with pytest.raises(OSError, match="No space left"):
        replace_files(files)
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("where", ["os.fsync", "pathlib.Path.replace"])
def test_a_file_that_cannot_be_written_leaves_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
):
    file = tmp_path / "cells.csv"
    file.write_bytes(b"old")
    monkeypatch.setattr(where, fail)
    with pytest.raises(OSError, match="No space left"):
        replace_file(file, b"new")
    assert file.read_bytes() == b"old"
    assert names(tmp_path) == ["cells.csv"]


@pytest.mark.parametrize(
    ("kind", "then", "error", "message"),
    [
        (OutputError, "", OSError(28, "No space left"), "out/a cannot be written: No space left"),
        (DataError, "make room", OSError(28, "No space left"), "out/a cannot be written: No space left; make room"),
        (OutputError, "", OSError("of its own making"), "out/a cannot be written: of its own making"),
    ],
)
def test_what_cannot_be_written_says_why_and_what_follows(
    kind: type[CartclsError], then: str, error: OSError, message: str
):
    with pytest.raises(CartclsError) as raised, writing(Path("out/a"), kind, then):
        raise error
    assert (type(raised.value), str(raised.value)) == (kind, message)


def test_another_error_than_that_of_writing_stays_what_it_is():
    with pytest.raises(BackendError, match="no GPU"), writing("a report"):
        raise BackendError("no GPU")


def test_a_free_name_is_that_of_nothing_else(tmp_path: Path):
    path = tmp_path / "cells.csv.damaged"
    for name in ("cells.csv.damaged", "cells.csv.damaged-2", "cells.csv.damaged-3"):
        assert free_name(path).name == name
        free_name(path).symlink_to("nowhere")


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, running = f".unfinished-cells.csv-{ended.pid}", f".unfinished-cells.csv-{os.getppid()}"
    others = (".unfinished-notes", "cells.csv", f"unfinished-{ended.pid}")
    for name in (left, running, *others):
        (tmp_path / name).touch()
    folder = tmp_path / f".unfinished-bundle-{ended.pid}"
    (folder / "engines").mkdir(parents=True)
    sweep(tmp_path, tmp_path / "missing")
    assert set(names(tmp_path)) == {running, *others}
    sweep(tmp_path, locked=True)
    assert set(names(tmp_path)) == set(others)


def test_a_mount_point_is_refused_before_it_is_filled(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with pytest.raises(OutputError, match=r"it is a mount point.* name a folder in it"), writing(folder):
        fill(folder)
    assert names(folder) == ["old"]


def test_a_folder_is_swept_of_an_earlier_process_of_its_kind(folder: Path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folder.with_name(f".unfinished-folder-{ended.pid}").mkdir()
    fill(folder)
    assert names(folder.parent) == ["folder"]
