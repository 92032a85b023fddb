import os
from pathlib import Path

import pytest
from scene import put

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import OutputError, UsageError
from cartcls.runtime.images import discover
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.slides.choose import choose_slides


def chosen(folder: Path, one_slide: bool = False, each: bool = False) -> list[str]:
    slides = choose_slides([folder], folder.parent / "out", one_slide, each, said.append)
    return [path.relative_to(folder).as_posix() for path in slides]


said: list[str] = []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    said.clear()
    return tmp_path / "slides"


def report(slide: Path, out: Path, bundle: Bundle) -> None:
    """Let a folder have a report, as if it had held images."""
    with open_ledger(out, bundle) as ledger:
        ledger.add_slide(os.fsencode(slide.resolve()), f"{slide.parent.name}-{slide.name}")


@pytest.mark.parametrize(
    "images",
    [
        ["1.jpg"],
        ["1.jpg", "crops/2.jpg"],
        ["crops/1.jpg"],
        ["2026/crops/1.jpg", "2026/crops/white/2.jpg"],
        ["crops/1.jpg", "@eaDir/1.jpg/2.jpg", "$RECYCLE.BIN/3.jpg", ".cache/4.jpg", "notes/a.txt"],
    ],
)
def test_folders_inside_each_other_are_one_slide(folder: Path, images: list[str]):
    for image in images:
        put((folder / image).parent, Path(image).name, b"\xff")
    assert chosen(folder) == ["."]


@pytest.mark.parametrize(
    ("images", "named"),
    [
        (["17/1.jpg", "18/1.jpg"], r"2 folders side by side \(17, 18\)"),
        (["overview.jpg", "17/1.jpg", "18/1.jpg"], r"2 folders side by side \(17, 18\)"),
        (["2026/17/1.jpg", "2026/18/crops/1.jpg"], r"2 folders side by side \(2026/17, 2026/18\)"),
        (
            ["neutrophil/1.jpg", "monocyte/1.jpg", "platelet/1.jpg"],
            r"3 folders side by side \(monocyte, neutrophil, pl",
        ),
    ],
)
def test_folders_side_by_side_are_not_mixed_without_a_word(folder: Path, images: list[str], named: str):
    for image in images:
        put((folder / image).parent, Path(image).name, b"\xff")
    with pytest.raises(UsageError, match=rf"{named}.* add --each,.* add --one-slide$"):
        chosen(folder)
    assert chosen(folder, one_slide=True) == ["."]


def test_every_folder_is_a_slide_where_that_is_said(folder: Path, bundle: Bundle):
    for image in ("17/crops/1.jpg", "18/1.jpg", "@eaDir/1.jpg", "19/notes.txt"):
        put((folder / image).parent, Path(image).name, b"\xff")
    assert chosen(folder, each=True) == ["17", "18"]
    assert said == [f"{folder}: no image in 19", f"{folder}: left out: folders named @eaDir"]
    report(folder / "19", folder.parent / "out", bundle)
    assert chosen(folder, each=True) == ["17", "18", "19"]  # it has a report, so its images are gone
    put(folder / "18" / "a", "1.jpg", b"\xff")
    put(folder / "18" / "b", "1.jpg", b"\xff")
    with pytest.raises(UsageError, match=r"slides/18 holds images in 2 folders side by side \(a, b\)") as refusal:
        chosen(folder, each=True)
    assert f" run cartcls batch {folder}/18 --each --out {folder.parent}/out, and name" in str(refusal.value)
    assert chosen(folder, each=True, one_slide=True) == ["17", "18", "19"]
    put(folder, "loose.jpg", b"\xff")
    with pytest.raises(UsageError, match=r"1 image\(s\) beside its folders \(loose\.jpg\)"):
        chosen(folder, each=True)


def test_a_folder_without_images_is_an_error_where_it_never_had_one(folder: Path, bundle: Bundle):
    put(folder, "cells.pdf", b"%PDF")
    problem = r"slides holds no image \(left out: 1 file that is no image \(\.pdf\)\): name a folder of cell crops"
    with pytest.raises(OutputError, match=problem):
        chosen(folder)
    with pytest.raises(OutputError, match="holds no folder with images"):
        chosen(folder, each=True)
    other = folder.parent / "other" / "slides"
    report(other, folder.parent / "out", bundle)
    (folder.parent / "out" / "slides").mkdir()  # the report of another folder of that name
    with pytest.raises(OutputError, match=problem):
        chosen(folder)
    report(folder, folder.parent / "out", bundle)
    assert chosen(folder) == ["."]


def test_a_report_is_no_slide(folder: Path):
    put(folder, "cells.csv", b"seq,slide,path,path_encoded,label\n")
    put(folder / "thumbnails", "000001.jpg", b"\xff")
    with pytest.raises(OutputError, match="holds results of cartcls, not a slide"):
        chosen(folder)


def test_a_slide_is_listed_once_and_one_file_of_each_folder_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch):
    for number in range(3):
        put(folder / "17", f"{number}.ann", b"\xff")
        put(folder / "17" / "crops", f"{number}.ann", b"\xff")
    opened: list[bytes] = []
    monkeypatch.setattr(discover, "begins_like_an_image", lambda path: opened.append(path) or True)
    walked: list[bytes] = []
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda root, onerror: walked.append(root) or walk(root, onerror=onerror))
    for each, one_slide, files in ((True, False, 2), (False, False, 2), (True, True, 1)):
        walked.clear()
        opened.clear()
        chosen(folder, one_slide, each)
        assert walked == [os.fsencode(folder / "17" if each else folder)]
        assert len(opened) == files


def test_a_folder_with_two_names_is_one_slide(folder: Path):
    put(folder / "18", "1.jpg", b"\xff")
    (folder / "17-first").symlink_to("18")
    (folder / "latest").symlink_to("18")
    assert chosen(folder, each=True) == ["18"]
    assert said == [
        f"{folder / name} is the folder {folder / '18'}: it is classified once" for name in ("17-first", "latest")
    ]
    said.clear()
    named = [folder / "latest", folder / "18", folder / "18", folder / ".." / "slides" / "18"]
    assert choose_slides(named, folder.parent / "out", False, False, said.append) == [folder / "18"]
    assert len(said) == 2
    put(folder.parent / "more" / "19", "1.jpg", b"\xff")
    (folder.parent / "more" / "again").symlink_to(folder / "18")
    slides = choose_slides([folder.parent / "more", folder], folder.parent / "out", False, True, said.append)
    assert slides == [folder.parent / "more" / "19", folder / "18"]
