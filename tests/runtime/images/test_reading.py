import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from cartcls.runtime.images import decode as decoding
from cartcls.runtime.images import reading as readings
from cartcls.runtime.images.adjust import Adjustment, adjust
from cartcls.runtime.images.decode import RawFile, fingerprint, read_image
from cartcls.runtime.images.quality import measure
from cartcls.runtime.images.reading import read_cell
from cartcls.runtime.images.resize import Image, stretch
from cartcls.runtime.images.thumbnail import shrink

SIZE = 120, 121


@pytest.fixture
def cell(slide: Path, tmp_path: Path) -> Path:
    """A copy of a real cell."""
    file = tmp_path / "cell.jpg"
    file.write_bytes((slide / "cell-01.jpg").read_bytes())
    return file


def test_a_cell_is_read_once_for_all_that_needs_it(cell: Path):
    pixels, sha256 = read_image(cell)
    found = read_cell(cell, *SIZE)
    assert found.image is not None and found.small is not None and found.quality is not None
    np.testing.assert_array_equal(found.image, stretch(pixels, *SIZE))
    np.testing.assert_array_equal(found.small, shrink(pixels))
    assert found.quality.measures == measure(found.image, pixels.shape[1], pixels.shape[0]).measures
    assert (found.width, found.height) == (pixels.shape[1], pixels.shape[0])
    assert (found.fingerprint, found.sha256) == (fingerprint(cell), sha256)
    assert (found.error, found.incomplete) == ("", False)


def test_only_the_model_gets_the_adjusted_picture(cell: Path):
    adjustment = Adjustment(0.6, ((0.9, 0.1, 0.0), (0.1, 0.8, 0.0), (0.0, 0.0, 1.2)))
    for source in (cell, read_image(cell)[0]):
        raw, found = read_cell(source, *SIZE), read_cell(source, *SIZE, adjustment)
        assert found.image is not None and raw.image is not None
        np.testing.assert_array_equal(found.image, adjust(raw.image, adjustment))
        assert (found.image != raw.image).any()
        np.testing.assert_array_equal(found.small, raw.small)
        assert found.quality is not None and raw.quality is not None
        assert found.quality.measures == raw.quality.measures
        np.testing.assert_array_equal(found.quality.stain, raw.quality.stain)


@pytest.mark.parametrize("kind", [str, bytes])
def test_pixels_and_paths_of_any_type_give_the_same(cell: Path, kind: type[str] | type[bytes]):
    by_path, by_pixels = read_cell(kind(cell), *SIZE), read_cell(read_image(cell)[0], *SIZE)
    assert by_path.image is not None and by_pixels.image is not None
    np.testing.assert_array_equal(by_path.image, by_pixels.image)
    assert (by_path.width, by_path.height) == (by_pixels.width, by_pixels.height)
    assert (by_pixels.fingerprint, by_pixels.sha256, by_pixels.error) == (None, None, "")


@pytest.mark.parametrize(
    ("pixels", "shown"),
    [
        (np.zeros((4, 5, 3), np.float32), "float32 (4, 5, 3)"),
        (np.zeros((4, 5, 3), np.uint16), "uint16 (4, 5, 3)"),
        (np.zeros((4, 5), np.uint8), "uint8 (4, 5)"),
        (np.zeros((4, 5, 4), np.uint8), "uint8 (4, 5, 4)"),
        (np.zeros((2, 4, 5, 3), np.uint8), "uint8 (2, 4, 5, 3)"),
        (np.zeros((0, 5, 3), np.uint8), "uint8 (0, 5, 3)"),
    ],
)
def test_pixels_of_another_form_are_refused_with_theirs(pixels: npt.NDArray[np.generic], shown: str):
    found = read_cell(pixels, *SIZE)  # pyright: ignore[reportArgumentType]
    assert found.error.startswith(f"is {shown}: ")
    assert (found.image, found.small, found.incomplete) == (None, None, False)


def test_a_file_that_is_not_there_may_come_back(tmp_path: Path):
    found = read_cell(tmp_path / "none.jpg", *SIZE)
    assert (found.error, found.incomplete, found.fingerprint, found.image) == ("has vanished", True, None, None)


def test_a_file_that_vanishes_before_it_is_read_says_so(cell: Path, monkeypatch: pytest.MonkeyPatch):
    def vanish(path: bytes) -> RawFile:
        cell.unlink()
        return decoding.read_file(path)

    monkeypatch.setattr(readings, "read_file", vanish)
    found = read_cell(cell, *SIZE)
    assert (found.error, found.incomplete, found.image, found.sha256) == ("has vanished", True, None, None)


def test_a_file_that_changes_before_it_is_read_is_known_by_the_bytes_that_were_read(
    cell: Path, slide: Path, monkeypatch: pytest.MonkeyPatch
):
    def change(path: bytes) -> RawFile:
        cell.write_bytes((slide / "cell-02.jpg").read_bytes())
        return decoding.read_file(path)

    before = fingerprint(cell)
    monkeypatch.setattr(readings, "read_file", change)
    found = read_cell(cell, *SIZE)
    assert found.fingerprint == fingerprint(cell) != before
    assert found.sha256 == hashlib.sha256((slide / "cell-02.jpg").read_bytes()).hexdigest()


def test_what_is_no_image_keeps_what_is_known_of_its_bytes(cell: Path):
    cell.write_bytes(cell.read_bytes()[:5000])
    found = read_cell(cell, *SIZE)
    assert "incomplete" in found.error
    assert (found.incomplete, found.image, found.width) == (True, None, None)
    assert found.sha256 == hashlib.sha256(cell.read_bytes()).hexdigest()
    assert found.fingerprint == fingerprint(cell)


def test_what_is_never_taken_is_known_by_itself_and_is_not_incomplete(cell: Path):
    vendor, link = cell.with_name("cell.czi"), cell.with_name("link.jpg")
    vendor.write_bytes(b"ZISRAWFILE")
    link.symlink_to(cell)
    for file, reason in ((vendor, "Zeiss CZI"), (link, "symbolic link")):
        found = read_cell(file, *SIZE)
        assert reason in found.error
        assert (found.incomplete, found.fingerprint) == (False, fingerprint(file))
    assert fingerprint(link) != fingerprint(cell)


@pytest.mark.parametrize(("width", "alone"), [(2000, False), (2001, True)])
def test_a_large_image_is_decoded_and_used_while_no_other_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, alone: bool
):
    locked: list[bool] = []

    def spy(image: Image, width: int, height: int) -> Image:
        locked.append(decoding._LARGE.locked())
        return stretch(image, width, height)

    monkeypatch.setattr(readings, "stretch", spy)
    PIL.Image.new("1", (width, 2000)).save(tmp_path / "large.png")
    assert read_cell(tmp_path / "large.png", *SIZE).error == ""
    assert locked == [alone]
    assert not decoding._LARGE.locked()


def test_a_large_image_that_is_damaged_does_not_keep_the_others_waiting(tmp_path: Path):
    PIL.Image.new("1", (3000, 3000)).save(tmp_path / "large.png")
    (tmp_path / "large.png").write_bytes((tmp_path / "large.png").read_bytes()[:-20])
    assert read_cell(tmp_path / "large.png", *SIZE).incomplete
    assert not decoding._LARGE.locked()
