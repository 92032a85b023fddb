import os
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from cartcls.runtime.images.discover import LONGEST_NAME, find_images, needs_encoding, readable_name, slide_name

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


def test_everything_that_may_be_an_image_is_found_in_order(tmp_path: Path):
    out = tmp_path / "reports"
    for name in ["b.jpg", ".hidden.jpg", "a.PNG", "deep/er/c.tif", "odd.webp", "no-suffix", "z.czi"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in [
        "labels.csv",
        "a.xml",
        ".DS_Store",
        "._b.jpg",
        "Thumbs.db",
        "notes.txt",
        "reports/x.jpg",
        ".git/y.jpg",
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "again").symlink_to(tmp_path)
    found = list(find_images(tmp_path, out))
    assert found == [
        b".hidden.jpg",
        b"a.PNG",
        b"again",
        b"b.jpg",
        b"deep/er/c.tif",
        b"no-suffix",
        b"odd.webp",
        b"z.czi",
    ]


def test_reports_of_another_run_are_no_images(tmp_path: Path):
    for name in ["a.jpg", "old/s/cells.csv", "old/s/summary.json", "old/s/thumbnails/000001.jpg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_images(tmp_path, tmp_path / "new")) == [b"a.jpg"]


def test_slide_names_fit_a_folder(tmp_path: Path):
    assert slide_name(Path("/data/Über slide")) == "Über slide"
    long = tmp_path / ("x" * 255)
    assert len(os.fsencode(slide_name(long))) < LONGEST_NAME + 20
    assert slide_name(long) != slide_name(tmp_path / ("x" * 254 + "y"))
    assert "/" not in slide_name(Path("/"))
