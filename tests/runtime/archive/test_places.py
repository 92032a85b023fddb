import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pyarrow.fs
import pytest

from cartcls.runtime.archive import places
from cartcls.runtime.archive.places import File, Slide, find_slides, folder_of
from cartcls.runtime.errors import SlideError
from cartcls.runtime.images.discover import slide_name
from cartcls.runtime.images.reading import read_cell

SIZE = (64, 64)


@pytest.fixture
def archive(tmp_path: Path, slide: Path) -> Path:
    """Two years of slides, and much that is none."""
    root = tmp_path / "archive"
    for name in ("2019/17", "2020/17", "2020/=18%", "2020/@eaDir", "2020/report/thumbnails", "table"):
        (root / name).mkdir(parents=True)
        shutil.copy(slide / "cell-01.jpg", root / name)
    (root / "2020" / "report" / "cells.csv").write_text("seq,slide,path,path_encoded,\n")
    (root / "2020" / "empty").mkdir()
    shutil.copy(slide / "cell-02.jpg", root / "2020" / "17" / "as it is")  # an image by its first bytes
    (root / "2020" / "17" / "notes.txt").write_text("not an image")
    (root / "2020" / "17" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    return root


@pytest.fixture
def store(archive: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of the archive in a file system that is not the local one."""
    system = pyarrow.fs.SubTreeFileSystem(os.fspath(archive), pyarrow.fs.LocalFileSystem())
    monkeypatch.setattr(places, "_file_system", lambda uri: (system, uri.removeprefix("store://").rstrip("/")))
    return "store://"


def found(source: str, archive: Path) -> list[Slide]:
    return sorted(find_slides(source, archive / "table"), key=lambda slide: slide.place)


def test_each_folder_of_images_is_a_slide(archive: Path):
    slides = found(str(archive), archive)
    assert [os.path.relpath(slide.place, archive) for slide in slides] == ["2019/17", "2020/17", "2020/=18%"]
    assert (
        [slide.name for slide in slides]
        == [slide_name(Path(slide.place)) for slide in slides]
        == ["17", "17", "%3D18%25"]
    )
    assert len({slide.file for slide in slides}) == 3


def test_a_slide_is_the_same_whatever_folder_above_it_was_named(archive: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(archive)
    (archive / "latest").symlink_to(archive / "2020")
    for source in ("2020/17", str(archive / "2020" / "17"), "latest/17", (archive / "2020" / "17").as_uri()):
        (slide,) = found(source, archive)
        assert slide.file == found(str(archive / "2020"), archive)[0].file
        assert slide.source == str(archive / "2020" / "17")


def test_a_store_is_searched_and_read_as_a_folder_is(archive: Path, store: str):
    shutil.rmtree(archive / "table")  # in a store it would be a slide
    here, there = found(str(archive), archive), found(store, archive)
    assert [slide.path for slide in there] == [os.path.relpath(slide.place, archive) for slide in here]
    assert [slide.place for slide in there] == [f"store://{slide.path}" for slide in there]
    for slide, other in zip(here, there, strict=True):
        assert other.uri
        files = folder_of(slide).files()
        assert folder_of(other).files() == files
        for file in files:
            one, two = (folder_of(which).read(file, *SIZE, None) for which in (slide, other))
            assert (one.sha256, one.error, one.width) == (two.sha256, two.error, two.width)
            assert file.is_as(one.fingerprint)
            assert file.is_as(two.fingerprint)
    names = [file.name for file in folder_of(here[1]).files()]
    assert names == [b"as it is", b"cell-01.jpg", b"cut.jpg"]
    assert (
        read_cell(archive / "2020" / "17" / "cut.jpg", *SIZE).error
        == folder_of(there[1]).read(folder_of(there[1]).files()[2], *SIZE, None).error
    )


@pytest.mark.parametrize("source", ["{}/2019", "store://2019"])
def test_a_file_that_vanished_is_told_and_not_what_was_listed(archive: Path, source: str, store: str):
    (slide,) = found(source.format(archive), archive)
    (file,) = folder_of(slide).files()
    (archive / "2019" / "17" / "cell-01.jpg").unlink()
    reading = folder_of(slide).read(file, *SIZE, None)
    assert (reading.error, reading.incomplete, reading.sha256) == ("has vanished", True, None)
    assert not File(b"cell-01.jpg", 1, 2).is_as(reading.fingerprint)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{}/no-such", "is not a folder"),
        ("file://{}/no-such", "is not a folder"),
        ("{}/2020/report", "holds results of cartcls"),
        ("nosuch://bucket/slides", "cannot be reached: "),
    ],
)
def test_what_cannot_be_searched_is_told_in_one_line(archive: Path, source: str, reason: str):
    with pytest.raises(SlideError, match=reason) as error:
        list(find_slides(source.format(archive), archive / "table"))
    assert "\n" not in str(error.value)


def test_no_password_of_a_store_is_written_anywhere():
    slide = Slide("s3://bucket/17", "s3://key:secret@bucket/17?region=x", "bucket/17")
    assert "secret" not in f"{slide} {slide.source} {slide.file}"


def test_a_password_is_not_told_where_a_store_cannot_be_reached(tmp_path: Path):
    with pytest.raises(SlideError) as error:
        list(find_slides("nosuch://key:secret@bucket/17?token=secret", tmp_path))
    assert "secret" not in str(error.value)


def test_a_local_uri_is_the_folder(archive: Path):
    (archive / "2020" / "linked").symlink_to(archive / "2019")
    (archive / "2020" / "17" / os.fsdecode(b"\xff.jpg")).write_bytes(b"\xff\xd8\xff")
    assert found(archive.as_uri(), archive) == found(str(archive), archive)
    assert not any(slide.uri for slide in found(archive.as_uri(), archive))


def test_a_folder_that_cannot_be_listed_is_a_slide_that_cannot(archive: Path, monkeypatch: pytest.MonkeyPatch):
    scandir, locked = os.scandir, os.fsencode(archive / "2020" / "17")

    def refusing(path: bytes):  # type: ignore[no-untyped-def]
        if path == locked:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    slides = found(str(archive), archive)
    assert [os.path.relpath(slide.place, archive) for slide in slides] == ["2019/17", "2020/17", "2020/=18%"]
    with pytest.raises(SlideError, match="2020/17 cannot be read: Permission denied"):
        folder_of(slides[1]).files()


def test_a_slide_is_listed_without_the_folders_in_it(archive: Path, monkeypatch: pytest.MonkeyPatch):
    scandir, looked_at = os.scandir, []

    def looking(path: bytes):  # type: ignore[no-untyped-def]
        looked_at.append(os.fsdecode(path))
        return scandir(path)

    shutil.copy(archive / "2019" / "17" / "cell-01.jpg", archive)
    (archive / "linked").symlink_to(archive / "2019")
    (archive / "loop").symlink_to("loop")
    monkeypatch.setattr(os, "scandir", looking)
    assert [file.name for file in folder_of(Slide(str(archive))).files()] == [b"cell-01.jpg", b"loop"]
    assert looked_at == [str(archive)]


def test_an_object_without_a_suffix_that_cannot_be_read_is_listed(archive: Path):
    class Refusing:
        def open_input_stream(self, path: str) -> None:
            raise OSError("AWS Error ACCESS_DENIED")

    (info,) = pyarrow.fs.LocalFileSystem().get_file_info([str(archive / "2020" / "17" / "as it is")])
    assert places._is_image(Refusing(), info)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("uri", "reached"),
    [
        ("gs://bucket/17", "gs://bucket/17?retry_limit_seconds=60"),
        ("gs://bucket/17?scheme=http", "gs://bucket/17?scheme=http&retry_limit_seconds=60"),
        ("gs://bucket/17?retry_limit_seconds=9", "gs://bucket/17?retry_limit_seconds=9"),
        ("s3://bucket/17", "s3://bucket/17"),
    ],
)
def test_a_store_is_not_tried_for_a_quarter_of_an_hour(uri: str, reached: str, monkeypatch: pytest.MonkeyPatch):
    uris: list[str] = []
    monkeypatch.setattr(pyarrow.fs, "FileSystem", SimpleNamespace(from_uri=lambda uri: uris.append(uri) or (None, "")))
    places._file_system(uri)
    assert uris == [reached]
