import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from reviewer import classify, corrections, make_slide
from scene import put

from cartcls.calibration.evaluate import evaluate
from cartcls.calibration.split import list_images
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import SHIPPED
from cartcls.runtime.images.discover import find_images
from cartcls.runtime.images.left_out import LeftOut, begins_like_an_image, is_left_out, is_output, is_report, kind_of
from cartcls.runtime.reports.corrections import correct
from cartcls.runtime.reports.export_reviewed import export_reviewed
from cartcls.runtime.slides.batch import check_slide

SYNCED = ".syncthing.x.jpg.tmp ~syncthing~x.jpg.tmp x.jpg.!sync x.SyncPart .x.jpg.~1a2b x.jpg.ocTransferId12.part"
COPIED = ".x.jpg.AbC123 x.jpg.AbC123 x.jpg.partial x.jpg.1a2b3c4d.partial x.jpg.filepart .in.x.jpg. x.jpg.ffs_tmp x.tmp"
DOWNLOADED = "x.jpg.part x.jpg.part.minio x.jpg.crdownload x.jpg.download x.jpg.aria2 .goutputstream-A1B2C3"
KEPT = "~$x.jpg x.jpg~ x.jpg.~1~ x.jpg_original x.tiff.bak .trashed-1700000000-x.jpg .pending-1-x.jpg .nfs0001 .#x.jpg"


@pytest.mark.parametrize("name", f"{SYNCED} {COPIED} {DOWNLOADED} {KEPT}".split())
def test_temporary_names_wait_until_they_are_renamed(name: str):
    assert kind_of(name.encode()) == "temporary"


@pytest.mark.parametrize(
    "name", ["x.jpg", "~x.jpg", "x~1.JPG", "x.jpg.png", "part.jpg", "x.part 2.tif", "x.heic", "x.jxl", "x.nd2", "x.gif"]
)
def test_images_are_images_whatever_else_is_in_their_name(name: str):
    assert kind_of(name.encode()) == "image"


@pytest.mark.parametrize("name", ["x.pdf", "x.LNK", "x.xmp", "x.tsv", "x.npy", "x.xlsx", "x.zip", "x.mp4", "x.sqlite"])
def test_files_that_lie_beside_images_are_not_opened(name: str):
    assert kind_of(name.encode()) == "no image"


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir",
        "#recycle",
        "#snapshot",
        "@Recycle",
        "@Recently-Snapshot",
        ".@__thumb",
        "~snapshot",
        ".snapshot",
        ".Trash-1000",
        "$RECYCLE.BIN",
        "RECYCLER",
        "lost+found",
        "__MACOSX",
        ".ipynb_checkpoints",
        "@GMT-2026.11.26-10.00.00",
        "found.000",
    ],
)
def test_folders_of_systems_hold_no_cells(name: str):
    assert is_left_out(name.encode())
    assert is_left_out(name.upper().encode())
    assert not is_left_out(b"1" + name.encode())


def test_system_volume_information_holds_no_cells_and_slides_do():
    assert is_left_out(b"System Volume Information")
    for name in (b"#12", b"@home", b"snapshot", b"thumbnails", b"crops", b"recycling"):
        assert not is_left_out(name)


def holds(folder: Path, kind: Callable[[bytes, list[bytes]], bool] = is_output) -> bool:
    return kind(os.fsencode(folder), os.listdir(os.fsencode(folder)))


def test_what_cartcls_writes_is_known_again(tmp_path: Path, data_dir: Path, classifier: Classifier, slide: Path):
    out = classify(make_slide(slide, tmp_path / "s"), classifier.bundle)
    assert holds(out)
    assert holds(out / "s", is_report)
    correct(out, corrections(out, (1, "monocyte")), "Ada")
    export_reviewed(out, tmp_path / "reviewed")
    evaluate(data_dir, list_images(data_dir)[:2], "two", tmp_path / "figures", classifier, lambda done, count: None)
    for folder in (tmp_path / "reviewed", tmp_path / "figures", SHIPPED):
        assert holds(folder), folder
    assert not holds(tmp_path / "reviewed", is_report)  # a data folder, if it is named itself
    (out / "s" / "summary.json").unlink()
    assert holds(out / "s")  # of a run that was killed
    table = (out / "s" / "cells.csv").read_text(encoding="utf-8-sig")
    (out / "s" / "cells.csv").write_text(table.replace(",", ";"), encoding="utf-8-sig")
    assert holds(out / "s")  # saved by a spreadsheet


@pytest.mark.parametrize(
    "files",
    [
        {"cells.csv": "name,class\n", "thumbnails/1.jpg": ""},
        {"cells.csv": "", "summary.json": '{"total": 7}'},
        {"summary.json": '{"total": 7}', "report.html": "<html>"},
        {"run.json": '{"operator": "Ada"}', "history.csv": "time,stage\n"},
    ],
)
def test_cells_beside_files_of_another_program_are_not_left_out(
    tmp_path: Path, cells: list[bytes], files: dict[str, str]
):
    put(tmp_path / "s" / "crops", "1.jpg", cells[0])
    for name, text in files.items():
        put((tmp_path / "s" / "crops" / name).parent, Path(name).name, text.encode())
    assert b"crops/1.jpg" in list(find_images(tmp_path / "s", None))
    check_slide(tmp_path / "s" / "crops", tmp_path / "out")


def saved(format: str, **options: object) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG2000"])
def test_an_image_is_known_by_its_first_bytes(tmp_path: Path, format: str):
    (tmp_path / "cell").write_bytes(saved(format))
    assert begins_like_an_image(os.fsencode(tmp_path / "cell"))


@pytest.mark.parametrize("data", [b"", b"BM is a text", b"II. chapter", b"%PDF-1.7", b"\0" * 200, b"\0\0\0 ftypisom"])
def test_other_files_are_known_by_their_first_bytes(tmp_path: Path, data: bytes):
    (tmp_path / "file").write_bytes(data)
    assert not begins_like_an_image(os.fsencode(tmp_path / "file"))


def test_a_link_gets_a_row_and_a_pipe_blocks_nothing(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    assert not begins_like_an_image(os.fsencode(tmp_path / "pipe"))
    assert begins_like_an_image(os.fsencode(tmp_path / "link"))
    assert not begins_like_an_image(os.fsencode(tmp_path / "none"))


def test_a_name_that_is_not_safe_to_show_is_not_shown(tmp_path: Path):
    (tmp_path / "x.\x1b[31m").touch()
    list(find_images(tmp_path, None, left_out=(left_out := LeftOut())))
    assert str(left_out) == "left out: 1 file that is no image (.%1B[31m)"
