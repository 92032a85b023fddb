"""The networks that tell more than a label, from an empty folder to a report, as a user types it."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest

from cartcls.runtime.bundle.bundle import load_bundle
from cartcls.runtime.bundle.manifest import Further
from cartcls.runtime.reports.table import BOX

EXAMPLES = Path(__file__).parents[2] / "examples"


def labelled(folder: Path) -> None:
    """Class folders of all example cells but platelets, which have no box."""
    for name in ("slide-01", "tests/slide-01"):
        with (EXAMPLES / name / "labels.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["label"] != "platelet":
                    target = folder / row["label"] / f"{name.replace('/', '-')}-{row['file']}"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(EXAMPLES / name / row["file"], target)


def cartcls(folder: Path, line: str) -> str:
    code = "from cartcls.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *line.split()], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "further", "pictures"), [("marzahl", "boxes", 1), ("apl_sa", "attention", 3)])
def test_it_comes_from_an_empty_folder_to_a_report(tmp_path: Path, arch: str, further: Further, pictures: int):
    labelled(tmp_path / "cells")
    cartcls(tmp_path, "train split cells --out cells.csv")
    boxes = ""
    if further == "boxes":
        cartcls(tmp_path, "train boxes cells --split cells.csv --out boxes.csv")
        boxes = "--boxes boxes.csv"
    cartcls(tmp_path, f"train fit cells --split cells.csv {boxes} --out run --arch {arch} --sizes 64x64:2")
    cartcls(tmp_path, "export run/best.ckpt --out made")
    bundle = load_bundle(tmp_path / "made")
    assert (bundle.manifest.source.arch, bundle.manifest.outputs) == (arch, (further,))
    shutil.copytree(EXAMPLES / "slide-01", tmp_path / "slide-01")
    assert cartcls(tmp_path, "batch slide-01 --bundle made --out out").endswith("out/slide-01/report.html\n")
    report = tmp_path / "out" / "slide-01"
    with (report / "cells.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 64 and all(row["label"] for row in rows)
    assert all((name in rows[0]) == bundle.has_boxes for name in BOX)
    for row in rows if bundle.has_boxes else ():
        x, y, w, h = (int(row[name]) for name in BOX)
        assert 0 <= x < x + w <= int(row["width"]) and 0 <= y < y + h <= int(row["height"])
    with PIL.Image.open(report / rows[0]["thumbnail"]) as picture:
        assert picture.width == pytest.approx(pictures * 180 * 360 / 363, abs=3)
    page = (report / "report.html").read_text(encoding="utf-8")
    assert ("<b>box</b>" in page, "<b>spatial attention</b>" in page) == (bundle.has_boxes, bundle.has_attention)
