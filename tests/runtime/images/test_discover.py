import os
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from cartcls.runtime.images import discover
from cartcls.runtime.images.discover import (
    LONGEST_NAME,
    find_images,
    images_directly_in,
    needs_encoding,
    readable_name,
    slide_name,
    sub_folders,
)
from cartcls.runtime.images.left_out import LeftOut

HOSTILE = [
    b"=cmd|' /C calc'!A0.jpg",
    b"+1.jpg",
    b"-1.jpg",
    b"@sum.jpg",
    b"line\nbreak.jpg",
    b"tab\t.jpg",
    b"<img src=x onerror=alert(1)>.jpg",
    "right\u202eto-left.jpg".encode(),
    b"esc\x1b[31m.jpg",
    b"\xff\xfe.jpg",
    b"100%25.jpg",
    b"100%\xff.jpg",
    "Zelle für Müller.jpg".encode(),
    b"x" * 251 + b".jpg",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_round_trip_and_are_safe_to_show(name: bytes):
    text = readable_name(name)
    assert (unquote_to_bytes(text) if needs_encoding(name) else text.encode()) == name
    assert text.isprintable()
    assert text[0] not in "=+-@"


def test_ordinary_names_stay_as_they_are():
    spaces = "at 9.41\u202fAM.png", "細胞\u30001.jpg", "no\xa0break.jpg"  # of screenshots, of Japanese
    for name in ("Zelle für Müller/a-1 (2).jpg", "50 % stained.jpg", *spaces):
        assert readable_name(name.encode()) == name
        assert not needs_encoding(name.encode())


def write(folder: Path, *names: str, data: bytes = b"") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def test_everything_that_may_be_an_image_is_found_in_order(tmp_path: Path, cells: list[bytes]):
    write(tmp_path, "b.jpg", "a.PNG", "deep/er/c.tif", "odd.webp", "x.JFIF", "z.czi", "z.avif", "empty", "_SUCCESS")
    write(tmp_path, "no-suffix", "12.5", "cell.dat", data=cells[0])
    write(
        tmp_path, "labels.csv", "a.xml", ".DS_Store", "._b.jpg", "Thumbs.db", "notes.txt", ".hidden.jpg", ".git/y.jpg"
    )
    write(tmp_path, "reports/x.jpg")
    (tmp_path / "again").symlink_to(tmp_path)
    left_out = LeftOut()
    found = list(find_images(tmp_path, tmp_path / "reports", left_out=left_out))
    images = "12.5 a.PNG again b.jpg cell.dat deep/er/c.tif no-suffix odd.webp x.JFIF z.avif z.czi"
    assert found == images.encode().split()
    assert str(left_out) == (
        "left out: 5 files that are no images (no suffix, .csv, .txt, .xml), 1 hidden or temporary file,"
        " folders named .git"
    )


def test_a_file_without_a_suffix_is_not_opened_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, "known", "other")
    opened: list[bytes] = []
    monkeypatch.setattr(discover, "begins_like_an_image", lambda path: opened.append(os.path.basename(path)))
    assert list(find_images(tmp_path, None, known={b"known"})) == [b"known"]
    assert opened == [b"other"]


def test_a_file_that_is_no_image_is_opened_again_only_if_it_changed_or_may_still_be_written(
    tmp_path: Path, cells: list[bytes], monkeypatch: pytest.MonkeyPatch
):
    opened: list[bytes] = []
    begins = discover.begins_like_an_image
    monkeypatch.setattr(
        discover, "begins_like_an_image", lambda path: opened.append(os.path.basename(path)) or begins(path)
    )
    write(tmp_path, "old.ann", "changed.ann", "new.ann", data=b"1 2 3")
    write(tmp_path, "empty.ann")
    for name in ("old.ann", "changed.ann", "empty.ann"):
        os.utime(tmp_path / name, (1e9, 1e9))
    before = LeftOut()
    assert not list(find_images(tmp_path, None, left_out=before))
    assert len(opened) == 4
    write(tmp_path, "changed.ann", data=cells[0])
    for _ in range(2):
        opened.clear()
        left_out = LeftOut()
        assert list(find_images(tmp_path, None, left_out=left_out, before=before)) == [b"changed.ann"]
        assert sorted(opened) == [b"changed.ann", b"empty.ann", b"new.ann"]
        assert str(left_out) == "left out: 3 files that are no images (.ann)"
        before = left_out


def test_folders_of_a_folder_are_those_that_are_searched(tmp_path: Path):
    write(tmp_path, "b/1.jpg", "a/1.jpg", "@eaDir/1.jpg", "old/s/cells.csv", "mine/bundle.json", "out/x", "loose.jpg")
    write(tmp_path, "mine/bundle.json.sha256", "old/ledger.sqlite", "notes.txt")
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    left_out = LeftOut()
    folders = sub_folders(tmp_path, tmp_path / "out", left_out)
    assert [path.name for path in folders] == ["a", "b", "linked"]
    assert images_directly_in(tmp_path, left_out) == [b"loose.jpg"]
    assert str(left_out) == "left out: 1 file that is no image (.txt), folders named @eaDir, mine, old"


def test_slide_names_fit_a_folder(tmp_path: Path):
    assert slide_name(Path("/data/Über slide")) == "Über slide"
    long = tmp_path / ("x" * 255)
    assert len(os.fsencode(slide_name(long))) < LONGEST_NAME + 20
    assert slide_name(long) != slide_name(tmp_path / ("x" * 254 + "y"))
    assert "/" not in slide_name(Path("/"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CON", "%43ON"),
        ("aux", "%61ux"),
        ("Lpt1.2026", "%4Cpt1.2026"),
        ("trail.", "trail%2E"),
        ("trail ", "trail%20"),
        ('a:b*c?"<d>|\\', "a%3Ab%2Ac%3F%22%3Cd%3E%7C%5C"),
        ("console", "console"),
        ("com10", "com10"),
        ("S.1", "S.1"),
    ],
)
def test_slide_names_fit_a_folder_of_windows(tmp_path: Path, name: str, expected: str):
    assert slide_name(tmp_path / name) == expected
