import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from cartcls.calibration.boxes import Box, check_inside, find_boxes, read_boxes, write_boxes
from cartcls.calibration.split import list_images
from cartcls.runtime.bundle.bundle import load_bundle
from cartcls.runtime.errors import DataError
from cartcls.runtime.images.decode import read_image
from cartcls.train.commands import app

HEAD = "path,x,y,width,height\n"
PATHS = ["a/1.png", "b/2.png"]


def written(folder: Path, *lines: str, head: str = HEAD) -> Path:
    file = folder / "boxes.csv"
    file.write_text(head + "".join(f"{line}\n" for line in lines))
    return file


def test_boxes_come_back_as_they_were_written_without_those_of_other_images(tmp_path: Path):
    boxes = {"b/2.png": Box(0, 2.5, 3, 4), "a/1.png": Box(5, 6, 7, 8), "c/3.png": Box(1, 1, 1, 1)}
    write_boxes(tmp_path / "new" / "boxes.csv", boxes)
    read = read_boxes(tmp_path / "new" / "boxes.csv", PATHS)
    assert list(read.items()) == [(path, boxes[path]) for path in PATHS]


def test_paths_may_be_windows_own(tmp_path: Path):
    assert read_boxes(written(tmp_path, "a\\1.png,0,0,1,1"), ["a/1.png"]) == {"a/1.png": Box(0, 0, 1, 1)}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["a/1.png,0,0,1,1"], r"no box for 1 image\(s\) \(b/2\.png\): add a line"),
        (["a/1.png,0,0,1,1", "b/2.png,0,0,1,1", "b/2.png,0,0,2,2"], r"names 1 image\(s\) twice \(b/2\.png\)"),
        (["a/1.png,-1,0,1,1", "b/2.png,0,0,0,1"], r"2 image\(s\) is none \(a/1\.png, b/2\.png\)"),
        (["a/1.png,0,0,1,x", "b/2.png,0,nan,1,inf"], r"2 image\(s\) is none \(a/1\.png, b/2\.png\)"),
        (["a/1.png,0,0"], r"line 2: give it 5 values"),
        ([], "it needs the columns path, x, y, width, height"),
    ],
)
def test_what_is_wrong_with_a_file_of_boxes_is_said_in_one_line(tmp_path: Path, lines: list[str], said: str):
    with pytest.raises(DataError, match=said) as error:
        read_boxes(written(tmp_path, *lines), PATHS)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_has_other_columns_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"No such file.*: make it with `cartcls train boxes`"):
        read_boxes(tmp_path / "none.csv", PATHS)
    with pytest.raises(DataError, match="it needs the columns path"):
        read_boxes(written(tmp_path, "a/1.png,0,0,1,1", head="path,x,y,w,h\n"), PATHS)


def test_a_box_may_touch_the_border_and_not_cross_it():
    boxes = {"a/1.png": Box(10, 10, 30, 20), "b/2.png": Box(0, 0, 40, 30)}
    check_inside(Path("boxes.csv"), boxes, dict.fromkeys(PATHS, (40, 30)))
    with pytest.raises(DataError, match=r"boxes\.csv: 1 box\(es\) reach outside the picture \(b/2\.png, 39x30\)"):
        check_inside(Path("boxes.csv"), boxes, {"a/1.png": (40, 30), "b/2.png": (39, 30)})


def test_the_cell_in_the_middle_is_found_at_any_size_of_the_crops(data_dir: Path, tmp_path: Path):
    paths = list_images(data_dir)
    boxes = found(data_dir, paths)
    for path, box in boxes.items():
        assert box.x < 180 < box.x + box.width, path
        assert box.y < 181 < box.y + box.height, path
        smallest, largest = (40, 110) if path.startswith("platelet/") else (60, 280)
        assert smallest < min(box.width, box.height) <= max(box.width, box.height) < largest, path
    for path in paths:
        image, _ = read_image(data_dir / path)
        (tmp_path / path).parent.mkdir(exist_ok=True)
        cv2.imwrite(str((tmp_path / path).with_suffix(".png")), cv2.resize(image, (180, 182))[..., ::-1])
    halves = found(tmp_path, [str(Path(path).with_suffix(".png")) for path in paths])
    for box, half in zip(boxes.values(), halves.values(), strict=True):
        assert (half.width, half.height) == pytest.approx((box.width / 2, box.height / 2), rel=0.2)


def found(data_dir: Path, paths: list[str]) -> dict[str, Box]:
    boxes = {
        path: box for path, box in find_boxes(data_dir, paths, load_bundle().home_scale).items() if isinstance(box, Box)
    }
    assert list(boxes) == paths
    return boxes


def test_a_cell_beside_the_middle_is_not_the_crops(data_dir: Path, tmp_path: Path):
    path = next(path for path in list_images(data_dir) if path.startswith("lymphocyte/"))
    image, _ = read_image(data_dir / path)
    cv2.imwrite(str(tmp_path / "beside.png"), np.roll(image, 110, axis=1)[..., ::-1])
    answers = find_boxes(tmp_path, ["beside.png"], load_bundle().home_scale)
    assert answers == {"beside.png": "no cell is found in its middle"}


def test_a_platelet_may_lie_a_little_beside_the_middle(data_dir: Path, tmp_path: Path):
    path = next(path for path in list_images(data_dir) if path.startswith("platelet/"))
    image, _ = read_image(data_dir / path)
    middle = found(data_dir, [path])[path]
    for shift in (45, 90):
        cv2.imwrite(str(tmp_path / f"{shift}.png"), np.roll(image, shift, axis=1)[..., ::-1])
    answers = find_boxes(tmp_path, ["45.png", "90.png"], load_bundle().home_scale)
    box = answers["45.png"]
    assert isinstance(box, Box)
    assert (box.x, box.y, box.width) == pytest.approx((middle.x + 45, middle.y, middle.width), abs=8)
    assert answers["90.png"] == "no cell is found in its middle"


def test_crops_without_a_box_are_named_and_left_out(data_dir: Path, split_file: Path, tmp_path: Path):
    copy = Path(shutil.copytree(data_dir, tmp_path / "cells"))
    (copy / "ig" / "broken.jpg").write_bytes(b"junk")
    cv2.imwrite(str(copy / "ig" / "empty.png"), np.full((363, 360, 3), 230, np.uint8))
    out = tmp_path / "boxes.csv"
    done = CliRunner().invoke(app, ["boxes", str(copy), "--out", str(out)])
    assert done.exit_code == 0
    assert "ig/broken.jpg: is not a JPEG" in done.stderr
    assert "ig/empty.png: no cell is found in its middle" in done.stderr
    cells = list_images(data_dir)
    assert len(read_boxes(out, cells)) == 32
    done = CliRunner().invoke(app, ["boxes", str(data_dir), "--split", str(split_file), "--out", str(out)])
    assert "24 crops: looking" in done.stderr
    with pytest.raises(DataError, match="no box for 8 image"):  # of each class one is in `report`
        read_boxes(out, cells)
