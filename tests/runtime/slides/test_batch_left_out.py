"""What is no cell of a slide, and not in its report."""

import shutil
from pathlib import Path

import pytest
from bench import run
from fakes import FakeBackend
from scene import put

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.slides.batch import classify_slide

FOREIGN = {
    "NAS thumbnails": "@eaDir/cell-01.jpg/SYNOPHOTO_THUMB_XL.jpg",
    "recycle bin": "$RECYCLE.BIN/$R1.jpg",
    "rescuezilla/rescuezilla#667": "lost+found/#131073",
    "SimpleMobileTools/Simple-File-Manager#709": ".trashed-1700000000-x.jpg",
    "udacity/deep-learning-v2-pytorch#217": "__MACOSX/cell-01.jpg",
    "nova-video-player/aos-AVP#1308": "@Recently-Snapshot/GMT+01_2026-11-01_0100/cell-01.jpg",
    "drumnation/unsplash-smart-mcp-server#10": "cell-01.jpg_original",
    "minio/mc#1902": "x.jpg.part.minio",
}


def test_reports_inside_the_slide_are_no_images(slide: Path, tmp_path: Path, bundle: Bundle):
    folder = Path(shutil.copytree(slide, tmp_path / "slide"))
    run(folder, folder / "reports", bundle, FakeBackend())
    rows, _, _ = run(folder, folder / "reports", bundle, FakeBackend())
    assert len(rows) == 32


@pytest.mark.parametrize("name", FOREIGN.values(), ids=list(FOREIGN))
def test_what_is_no_cell_of_the_slide_is_not_counted(slide: Path, tmp_path: Path, bundle: Bundle, name: str):
    folder = tmp_path / "slide"
    for file in ("cell-01.jpg", "cell-02.jpg"):
        put(folder, file, (slide / file).read_bytes())
    put((folder / name).parent, Path(name).name, (slide / "cell-03.jpg").read_bytes())
    rows, summary, _ = run(folder, tmp_path / "out", bundle, FakeBackend())
    assert [row["path"] for row in rows] == ["cell-01.jpg", "cell-02.jpg"]
    assert summary.status["ok"] == 2


def test_files_that_are_no_images_are_counted_in_one_line(slide: Path, tmp_path: Path, bundle: Bundle):
    folder = tmp_path / "slide"
    put(folder, "cell", (slide / "cell-01.jpg").read_bytes())
    put(folder, "cell.jfif", (slide / "cell-02.jpg").read_bytes())
    for name in ("a.pdf", "a.lnk", "a.xmp", "a.tsv", "a.npy", "SYNCED", "b.pdf"):
        put(folder, name, b"something")
    put(folder, "c.heic", b"\0\0\0\x18ftypheic")
    said: list[str] = []
    with open_ledger(tmp_path / "out", bundle) as ledger:
        classifier = Classifier(bundle, FakeBackend())
        _, summary = classify_slide(folder, tmp_path / "out", classifier, ledger, notify=said.append)
    assert summary.status == {**summary.status, "ok": 2, "rejected": 1}  # the unsupported image keeps its row
    assert said[0] == "slide: left out: 7 files that are no images (.pdf, no suffix, .lnk, .npy, .tsv, .xmp)"
    assert [line.partition(": is")[0] for line in said[1:]] == ["slide: rejected: c.heic"]
