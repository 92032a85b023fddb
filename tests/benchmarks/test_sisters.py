"""Boxes beside those drawn by hand."""

from pathlib import Path

import pytest
import sisters as bench
import torch

from cartcls.calibration.boxes import Box, read_boxes
from cartcls.calibration.groups import read_csv
from cartcls.calibration.split import read_split
from cartcls.train.models.marzahl import Marzahl


def test_the_boxes_drawn_by_hand_are_of_50_cells_of_report() -> None:
    paths = [line["path"] for line in read_csv(bench.HAND)]
    hand = read_boxes(bench.HAND, paths)
    assert len(hand) == 50
    assert set(hand) <= set(read_split(bench.SPLIT).paths("report"))
    assert len({path.split("/")[0] for path in hand}) == 8


def test_the_overlap_is_intersection_over_union() -> None:
    box = Box(10, 20, 40, 30)
    assert bench.overlap(box, box) == 1
    assert bench.overlap(box, Box(30, 20, 40, 30)) == pytest.approx(20 / 60)
    assert bench.overlap(box, Box(60, 20, 40, 30)) == 0
    assert bench.mean_overlap({"a": box}, {"a": box, "b": box}).startswith("0.500 ")  # one without a box


def test_boxes_of_a_network_are_in_pixels_of_the_picture(data_dir: Path) -> None:
    path = next(path for path in sorted(data_dir.rglob("*.jpg"))).relative_to(data_dir).as_posix()
    model = Marzahl(8).eval()
    last = model.box[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)  # the middle, half as wide and high
    box = bench.boxes_of(model, (64, 64), data_dir, [path])[path]
    assert box == Box(90, 90.75, 180, 181.5)
