from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from mosaic import HOME_DIAMETER, Mosaic, scaled

from cartcls.runtime.errors import ScaleError
from cartcls.runtime.fields.find import Found, find, in_reading_order
from cartcls.runtime.fields.stain import background
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.resize import Image

RANDOM = np.random.default_rng(0)
GLASS = (228, 225, 220)


def near(cells: tuple[Found, ...], middle: tuple[float, float], diameter: float = HOME_DIAMETER) -> list[Found]:
    return [one for one in cells if np.hypot(one.middle[0] - middle[0], one.middle[1] - middle[1]) < diameter]


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.34])
def test_each_cell_is_found_once_at_any_magnification(field: Mosaic, scale: float):
    made = scaled(field, scale)
    found = find(made.image, scale * HOME_DIAMETER)
    assert [len(near(found.cells, middle, scale * HOME_DIAMETER)) for middle in made.middles] == [1] * 12
    assert len(found.cells) == 12  # and no platelet
    assert not any(cell.at_edge for cell in found.cells)
    assert found.smudges == ()


def test_platelets_are_not_searched(slide: Path, labels: dict[str, str]):
    assert (labels["cell-14.jpg"], labels["cell-16.jpg"]) == ("platelet", "platelet")  # giant ones look like cells
    for name in ("cell-14.jpg", "cell-16.jpg"):
        image, _ = read_image(slide / name)
        assert not near(find(image, HOME_DIAMETER).cells, (image.shape[1] / 2, image.shape[0] / 2), 40)


def test_small_nuclei_are_cells_where_they_are_as_dense_as_late_erythroblasts():
    for colour, expected in (((45, 22, 90), 1), ((130, 85, 170), 0)):
        image = np.full((363, 360, 3), GLASS, np.uint8)
        for x, y in ((60, 60), (300, 70), (70, 290), (290, 300)):
            cv2.circle(image, (x, y), 37, (205, 165, 155), -1)
        cv2.circle(image, (180, 180), 22, colour, -1)  # 0.34 of a red cell's area
        assert len(find(image, HOME_DIAMETER).cells) == expected


def test_stain_and_light_may_differ(field: Mosaic):
    expected = len(find(field.image, HOME_DIAMETER).cells)
    for colour in ((0.7, 0.85, 1.0), (1.0, 0.9, 0.7), (0.6, 0.6, 0.6)):
        tinted = np.clip(field.image * np.array(colour), 0, 255).astype(np.uint8)
        assert len(find(tinted, HOME_DIAMETER).cells) == expected


def test_cells_that_the_border_cuts_say_so(field: Mosaic):
    x = int(field.middles[8][0])
    cut = find(field.image[:, x:], HOME_DIAMETER)
    (half,) = near(cut.cells, (25, field.middles[8][1]))
    assert half.at_edge
    whole = near(cut.cells, (field.middles[9][0] - x, field.middles[9][1]))
    assert [cell.at_edge for cell in whole] == [False]


def two_cells(slide: Path, labels: dict[str, str], apart: int) -> tuple[Image, list[tuple[float, float]]]:
    """Two lymphocytes whose middles are as many pixels apart, darker where they overlap."""
    names = [name for name, label in labels.items() if label == "lymphocyte"][:2]
    crops = [read_image(slide / name)[0] for name in names]
    empty = np.array(background(crops[0]))
    canvas = np.empty((500, 700, 3))
    canvas[:] = empty
    middles = [(350 - apart / 2, 250.0), (350 + apart / 2, 250.0)]
    for crop, (x, y) in zip(crops, middles, strict=True):
        (cell,) = near(find(crop, HOME_DIAMETER).cells, (180, 181))
        part = crop[cell.y : cell.y + cell.h, cell.x : cell.x + cell.w] * (empty / background(crop))
        top, left = int(y - cell.h / 2), int(x - cell.w / 2)
        window = canvas[top : top + cell.h, left : left + cell.w]
        np.minimum(window, part, out=window)
    return np.clip(canvas, 0, 255).astype(np.uint8), middles


def test_cells_that_touch_are_cut_apart(slide: Path, labels: dict[str, str]):
    image, middles = two_cells(slide, labels, 112)
    found = find(image, HOME_DIAMETER).cells
    assert len(found) == 2
    assert [len(near(found, middle, 40)) for middle in middles] == [1, 1]


def test_a_clump_that_cannot_be_cut_says_so():
    image = np.full((500, 700, 3), GLASS, np.uint8)
    cv2.ellipse(image, (350, 250), (120, 60), 0, 0, 360, (95, 50, 150), -1)
    (clump,) = find(image, HOME_DIAMETER).cells
    assert clump.joined


def test_smudges_are_listed_and_not_counted():
    image = np.full((700, 700, 3), GLASS, np.float32)
    star = np.zeros((700, 700), np.float32)
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    radii = 105 + 45 * np.sin(9 * angles)
    points = np.stack([350 + radii * np.cos(angles), 350 + radii * np.sin(angles)], axis=1)
    cv2.fillPoly(star, [points.astype(np.int32)], 1.0)
    weight = cv2.GaussianBlur(star, (0, 0), 14)[..., None]
    image += weight * (np.array((120, 75, 165)) - image)
    found = find(np.clip(image, 0, 255).astype(np.uint8), HOME_DIAMETER)
    assert (len(found.cells), len(found.smudges)) == (0, 1)


def odd() -> dict[str, Callable[[Image], Image]]:
    return {
        "empty glass": lambda field: np.clip(RANDOM.normal(GLASS, 2, (480, 640, 3)), 0, 255).astype(np.uint8),
        "one colour": lambda field: np.full((480, 640, 3), 200, np.uint8),
        "purple": lambda field: np.full((480, 640, 3), (90, 40, 140), np.uint8),
        "black": lambda field: np.zeros((480, 640, 3), np.uint8),
        "noise": lambda field: RANDOM.integers(0, 256, (480, 640, 3)).astype(np.uint8),
        "grey": lambda field: np.repeat(field[..., 1:2], 3, axis=2),
        "a line": lambda field: np.ascontiguousarray(np.tile(field[400:401], (1, 6, 1))[:, :10_000]),
        "a column": lambda field: np.ascontiguousarray(np.tile(field[:, 400:401], (8, 1, 1))[:10_000]),
    }


@pytest.mark.parametrize("change", odd().values(), ids=list(odd()))
def test_odd_fields_have_no_cells(field: Mosaic, change: Callable[[Image], Image]):
    assert find(change(field.image), HOME_DIAMETER).cells == ()


def test_fields_out_of_focus_or_thick_still_show_cells(field: Mosaic):
    soft = np.asarray(cv2.GaussianBlur(field.image, (0, 0), 6), np.uint8)
    thick = (field.image * 0.5).astype(np.uint8)
    assert len(find(soft, HOME_DIAMETER).cells) >= 12
    assert len(find(thick, HOME_DIAMETER).cells) >= 12


def test_a_large_clump_is_no_cell_and_does_not_take_for_ever():
    spots = cv2.resize(np.random.default_rng(0).random((40, 40)).astype(np.float32), (800, 800))
    image = np.full((800, 800, 3), GLASS, np.uint8)
    image[spots > 0.4] = (95, 50, 150)
    found = find(image, 20.0)
    assert any(smudge.w > 400 for smudge in found.smudges)
    assert all(cell.w < 200 for cell in found.cells)


def test_a_scale_that_cannot_be_is_refused(field: Mosaic):
    for diameter in (3.0, float("nan"), 5000.0):
        with pytest.raises(ScaleError, match="check --mpp"):
            find(field.image, diameter)


def test_reading_order_goes_by_rows():
    boxes = [Found(300, 12, 90, 90), Found(10, 220, 80, 80), Found(10, 30, 80, 80), Found(200, 200, 80, 80)]
    assert in_reading_order(boxes) == [boxes[2], boxes[0], boxes[1], boxes[3]]
    assert in_reading_order([]) == []
