from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from mosaic import HOME_DIAMETER, Mosaic, scaled
from tiffs import of_tifffile

from cartcls.runtime.errors import ImageError, ScaleError
from cartcls.runtime.fields import tiles
from cartcls.runtime.fields.cut import cut
from cartcls.runtime.fields.find import WORK, Found, find
from cartcls.runtime.fields.scale import red_cell_diameter
from cartcls.runtime.fields.tiles import cut_in, diameter_in, find_in, overview
from cartcls.runtime.images.decode import Fingerprint
from cartcls.runtime.images.picture import WholePicture, open_picture
from cartcls.runtime.images.resize import Image

CORE = round(tiles.AROUND * HOME_DIAMETER)  # the least side of a core, which is what it is here


@pytest.fixture(autouse=True)
def small_cores(monkeypatch: pytest.MonkeyPatch):
    """So that a field of twelve cells has several."""
    monkeypatch.setattr(tiles, "CORE", 1)


def picture_of(image: Image) -> WholePicture:
    return WholePicture(np.ascontiguousarray(image), "", Fingerprint(0, 0, 0, 0))


def shifted(field: Mosaic, x: int, y: int) -> Image:
    """The field, with more of itself at its left and upper sides, or less."""
    wide = cv2.copyMakeBorder(field.image, max(0, y), 0, max(0, x), 0, cv2.BORDER_REFLECT_101)
    return np.asarray(wide[max(0, -y) :, max(0, -x) :], np.uint8)


def sides(cells: Sequence[Found]) -> list[tuple[int, int, int, int]]:
    return [(cell.x, cell.y, cell.x + cell.w, cell.y + cell.h) for cell in cells]


def test_tiles_give_what_the_whole_field_gives(field: Mosaic):
    made = scaled(field, WORK / HOME_DIAMETER)  # which is searched as it is, so that no pixel differs
    whole, found = find(made.image, WORK), find_in(picture_of(made.image), WORK, whole=0)
    assert made.image.shape[1] > 2 * 2 * tiles.AROUND * WORK  # several tiles
    assert np.abs(np.subtract(sides(found.cells), sides(whole.cells))).max() <= 1
    flags = [(cell.at_edge, cell.joined) for cell in whole.cells]
    assert [(cell.at_edge, cell.joined) for cell in found.cells] == flags
    assert np.abs(np.subtract(found.empty, whole.empty)).max() <= 1


@pytest.mark.parametrize("cell", [1, 5, 10])
@pytest.mark.parametrize("gap", [-40.0, -1.0, -0.5, 0.0, 0.5, 1.0, 40.0])
def test_a_cell_on_the_border_of_tiles_is_found_once(field: Mosaic, cell: int, gap: float):
    """At the corner of four of them, with its box's middle at the border or next to it."""
    box = min(
        find(field.image, HOME_DIAMETER).cells, key=lambda one: np.hypot(*np.subtract(one.middle, field.middles[cell]))
    )
    x, y = (round(CORE + gap - side) for side in box.middle)
    image = shifted(field, x, y)
    whole, found = find(image, HOME_DIAMETER), find_in(picture_of(image), HOME_DIAMETER, whole=0)
    assert len(found.cells) == len(whole.cells)
    near = [one for one in found.cells if np.hypot(*np.subtract(one.middle, (CORE, CORE))) < HOME_DIAMETER]
    (own,) = near
    assert abs(own.w - box.w) < 0.3 * HOME_DIAMETER
    assert not own.at_edge


def test_only_the_border_of_the_picture_cuts_cells(field: Mosaic):
    x, y = (round(side) for side in field.middles[5])
    image = field.image[y:, x:]
    found = find_in(picture_of(image), HOME_DIAMETER, whole=0)
    assert [cell.at_edge for cell in found.cells] == [cell.at_edge for cell in find(image, HOME_DIAMETER).cells]
    assert any(cell.at_edge for cell in found.cells)


def test_cells_are_in_reading_order(field: Mosaic):
    """Also those of a row that the border of tiles divides."""
    row = find(field.image, HOME_DIAMETER).cells[4:8]
    top = round(np.median([cell.middle[1] for cell in row])) - CORE
    whole, found = (
        find(field.image[top:], HOME_DIAMETER),
        find_in(picture_of(field.image[top:]), HOME_DIAMETER, whole=0),
    )
    assert len({cell.middle[1] < CORE for cell in whole.cells[:4]}) == 2
    for cell, other in zip(found.cells, whole.cells, strict=True):
        assert np.hypot(*np.subtract(cell.middle, other.middle)) < 0.3 * HOME_DIAMETER


def test_a_tile_without_cells_has_the_limits_of_the_others(field: Mosaic):
    glass = np.full((field.image.shape[0], 2 * CORE, 3), field.image[0, 0], np.uint8)
    noise = np.random.default_rng(0).integers(-6, 7, glass.shape)
    image = np.hstack([field.image, np.clip(glass + noise, 0, 255).astype(np.uint8)])
    assert len(find_in(picture_of(image), HOME_DIAMETER, whole=0).cells) == 12


@pytest.mark.parametrize("rest", [1, 2, 30])
def test_a_narrow_rest_at_the_border_is_searched_too(field: Mosaic, rest: int):
    image = field.image[: 3 * CORE + rest, : 4 * CORE + rest]
    whole, found = find(image, HOME_DIAMETER), find_in(picture_of(image), HOME_DIAMETER, whole=0)
    assert len(found.cells) == len(whole.cells) > 5


def test_smudges_are_found_once_too(field: Mosaic):
    image = field.image.copy()
    cv2.ellipse(
        image, (CORE, 300), (round(2.4 * HOME_DIAMETER), round(1.6 * HOME_DIAMETER)), 0, 0, 360, (110, 60, 150), -1
    )
    whole, found = find(image, HOME_DIAMETER), find_in(picture_of(image), HOME_DIAMETER, whole=0)
    assert len(whole.smudges) == len(found.smudges) == 1


def test_small_pictures_are_searched_as_a_whole(field: Mosaic):
    assert find_in(picture_of(field.image), HOME_DIAMETER) == find(field.image, HOME_DIAMETER)
    assert diameter_in(picture_of(field.image)) == red_cell_diameter(field.image)


def test_a_scale_that_does_not_fit_is_refused(field: Mosaic):
    for diameter in (3.0, 5000.0):
        with pytest.raises(ScaleError):
            find_in(picture_of(field.image), diameter, whole=0)
    assert find_in(picture_of(field.image[:15]), HOME_DIAMETER, whole=0).cells == ()


def test_the_red_cells_of_some_parts_give_the_scale(field: Mosaic, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiles, "LOOK", 700)
    found = diameter_in(picture_of(field.image), whole=0)
    height, width = field.image.shape[:2]
    places = [(x, y) for y in (0, (height - 700) // 2, height - 700) for x in (0, (width - 700) // 2, width - 700)]
    parts = [red_cell_diameter(field.image[y : y + 700, x : x + 700]) for x, y in places]
    assert found == np.median([diameter for diameter in parts if diameter])
    assert found == pytest.approx(HOME_DIAMETER, rel=0.13)
    glass = np.full((900, 900, 3), 230, np.uint8)
    assert diameter_in(picture_of(glass), whole=0) is None


@pytest.mark.parametrize("diameter", [40.0, HOME_DIAMETER, 200.0])
def test_crops_are_those_of_the_whole_field(field: Mosaic, diameter: float):
    empty, size = (250.0, 225.0, 200.0), (HOME_DIAMETER, 360, 363)
    height, width = field.image.shape[:2]
    for x, y in ((-30, -30), (width - 50, 100), (300, height - 41), (401, 333)):
        cell = Found(x, y, 81, 80)
        expected = cut(field.image, cell, diameter, empty, *size)
        assert (cut_in(picture_of(field.image), cell, diameter, empty, *size) == expected).all()


def test_an_overview_has_the_mean_of_the_pixels(field: Mosaic, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiles, "LOOK", 500)
    image, times = overview(picture_of(field.image), 200)
    assert max(image.shape[:2]) <= 200
    height, width = image.shape[:2]
    assert (height, width) == (field.image.shape[0] // times, field.image.shape[1] // times)
    blocks = field.image[: height * times, : width * times].reshape(height, times, width, times, 3)
    assert np.abs(blocks.mean(axis=(1, 3)) - image).max() <= 0.51
    same, one = overview(picture_of(field.image[:1000, :1600]))
    assert one == 1
    assert (same == field.image[:1000, :1600]).all()
    narrow, _ = overview(picture_of(np.zeros((5000, 2, 3), np.uint8)))
    assert narrow.shape[:2] == (1250, 1)


def test_the_cells_of_a_tiled_tiff_are_those_of_its_pixels(field: Mosaic, tmp_path: Path):
    path = tmp_path / "large.tif"
    data = of_tifffile(field.image, tile=(256, 256), compression="zlib")
    path.write_bytes(data)
    expected = find_in(picture_of(field.image), HOME_DIAMETER, whole=0)
    with open_picture(path, whole=1000) as picture:
        assert find_in(picture, HOME_DIAMETER, whole=0) == expected
        crop = cut_in(picture, expected.cells[3], HOME_DIAMETER, expected.empty, HOME_DIAMETER, 360, 363)
        assert (
            crop == cut(field.image, expected.cells[3], HOME_DIAMETER, expected.empty, HOME_DIAMETER, 360, 363)
        ).all()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(500) + data[middle + 500 :])
    with open_picture(path, whole=1000) as picture:
        with pytest.raises(ImageError, match="damaged"):
            find_in(picture, HOME_DIAMETER, whole=0)
        with pytest.raises(ImageError, match="damaged"):
            overview(picture)
