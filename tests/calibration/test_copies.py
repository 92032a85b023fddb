import unicodedata
from pathlib import Path

import pytest
from scene import put

from cartcls.calibration.copies import first_of_each, without_copies
from cartcls.runtime.errors import DataError


@pytest.fixture
def paths(tmp_path: Path, cells: list[bytes]) -> list[str]:
    """Cells of two classes, one of them twice, and two that cannot be read."""
    for number, name in ((0, "a/1.jpg"), (0, "a/2.jpg"), (1, "a/3.jpg"), (2, "b/1.jpg")):
        put((tmp_path / name).parent, Path(name).name, cells[number])
    put(tmp_path / "a", "4.jpg", b"")
    put(tmp_path / "b", "4.jpg", b"")
    return ["a/1.jpg", "a/2.jpg", "a/3.jpg", "a/4.jpg", "b/1.jpg", "b/4.jpg"]


def test_the_first_of_each_stands_for_its_copies(tmp_path: Path, paths: list[str]):
    assert first_of_each(tmp_path, paths) == {path: path for path in paths} | {"a/2.jpg": "a/1.jpg"}
    said: list[str] = []
    assert without_copies(tmp_path, paths, said.append) == [path for path in paths if path != "a/2.jpg"]
    assert said == ["left out: 1 copy of other images, byte for byte"]


def test_an_image_in_two_classes_is_refused_and_both_are_named(tmp_path: Path, paths: list[str], cells: list[bytes]):
    put(tmp_path / "b", "2.jpg", cells[0])
    put(tmp_path / "b", "3.jpg", cells[1])
    with pytest.raises(
        DataError, match=r"a/1\.jpg and b/2\.jpg have the same bytes, in two classes \(and 1 more\): rem"
    ):
        first_of_each(tmp_path, [*paths, "b/2.jpg", "b/3.jpg"])


def test_a_class_folder_in_letters_of_another_system_is_the_same_class(tmp_path: Path, cells: list[bytes]):
    paths = [f"{unicodedata.normalize(form, 'Zölle')}/{form}.jpg" for form in ("NFC", "NFD")]
    for path in paths:
        put((tmp_path / path).parent, Path(path).name, cells[0])
    assert first_of_each(tmp_path, paths) == dict.fromkeys(paths, paths[0])
