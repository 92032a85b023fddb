import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from tiffs import of_tifffile

from cartcls.runtime.errors import ImageError, IncompleteError
from cartcls.runtime.images.decode import decode
from cartcls.runtime.images.tiff_pages import full_size, microns_per_pixel

Pixels = npt.NDArray[np.uint8]
Deep = npt.NDArray[np.uint16]


def blurred(pixels: Pixels, sigma: float) -> Pixels:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma) if sigma else pixels, np.uint8)


def ome(pixels: Pixels | Deep, axes: str, **metadata: object) -> bytes:
    return of_tifffile(
        pixels,
        ome=True,
        photometric="rgb" if axes.endswith("S") else "minisblack",
        metadata={"axes": axes, **metadata},
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_the_full_size_of_a_pyramid_is_read(pixels: Pixels, order: str, big: bool):
    for tile in (None, (64, 64)):
        data = of_tifffile(pixels, pixels[::2, ::2], pixels[::4, ::4], bigtiff=big, byteorder=order, tile=tile)
        assert (decode(data).pixels == pixels).all()
        assert full_size(io.BytesIO(data)).size == (360, 363)


def test_the_full_size_may_come_after_its_thumbnail(pixels: Pixels):
    data = bytearray(of_tifffile(pixels[::4, ::4], pixels))
    first, second = (data.index(b"\xfe\0\4\0\1\0\0\0" + bytes([kind])) for kind in (0, 1))
    data[first + 8], data[second + 8] = 1, 0
    assert (decode(bytes(data)).pixels == pixels).all()


def test_smaller_copies_in_a_slide_of_aperio_are_not_marked(pixels: Pixels):
    pages = pixels, pixels[::4, ::4], pixels[::2, ::2]
    assert (decode(of_tifffile(*pages, subfiletype=0, first="Aperio Image Library v12.0")).pixels == pixels).all()
    with pytest.raises(ImageError, match="holds 3 pictures of different sizes"):
        decode(of_tifffile(*pages, subfiletype=0, first="of a camera"))


def test_levels_below_the_picture_are_left_out(pixels: Pixels):
    """Those of an OME-TIFF lie in directories of their own, below that of the picture."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True) as writer:
        writer.write(pixels, subifds=1, photometric="rgb", tile=(64, 64), metadata={"axes": "YXS"})
        writer.write(pixels[::2, ::2], subfiletype=1, photometric="rgb", tile=(64, 64))
    assert (decode(file.getvalue()).pixels == pixels).all()


@pytest.mark.parametrize("kind", ["8 bits", "16 bits"])
def test_ome_of_one_plane_is_read(pixels: Pixels, kind: str):
    scaled = pixels if kind == "8 bits" else pixels.astype(np.uint16) * 257
    for made, axes, expected in (
        (scaled, "YXS", pixels),
        (scaled[:, :, 0], "YX", pixels[:, :, :1]),
        (scaled[None, None, None], "TCZYXS", pixels),
    ):
        assert (decode(ome(made, axes)).pixels == expected).all()


@pytest.mark.parametrize("sharp", [0, 2, 4])
@pytest.mark.parametrize("kind", ["8 bits", "16 bits"])
def test_the_sharpest_plane_of_a_stack_is_taken(pixels: Pixels, sharp: int, kind: str):
    stack = np.stack([blurred(pixels, abs(z - sharp)) for z in range(5)])
    data = ome(stack if kind == "8 bits" else stack.astype(np.uint16) * 257, "ZYXS")
    assert (decode(data).pixels == pixels).all()
    grey = ome(stack[..., 1], "ZYX")
    assert (decode(grey).pixels == pixels[:, :, 1:2]).all()


@pytest.mark.parametrize("kind", ["8 bits", "16 bits"])
def test_channels_that_are_said_to_be_red_green_and_blue_are_colours(pixels: Pixels, kind: str):
    scaled = pixels if kind == "8 bits" else pixels.astype(np.uint16) * 257
    channels = np.ascontiguousarray(scaled.transpose(2, 0, 1))
    named = ome(channels, "CYX", Channel={"Name": ["Red", "Green", "Blue"]})
    assert (decode(named).pixels == pixels).all()
    turned = ome(channels[::-1], "CYX", Channel={"Color": [65535, 16711935, -16776961]})
    assert (decode(turned).pixels == pixels).all()
    stack = np.stack([channels // 2, channels], axis=1)  # channels, focus
    assert (decode(ome(stack, "CZYX", Channel={"Name": ["r", "g", "b"]})).pixels == pixels).all()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: ome(np.stack([p, p]), "TYXS"), "holds 2 times: export one of them"),
        (lambda p: ome(p.transpose(2, 0, 1), "CYX"), "holds 3 channels that are not said to be red, green and blue"),
        (
            lambda p: ome(p.transpose(2, 0, 1)[:2], "CYX", Channel={"Name": ["DAPI", "FITC"]}),
            r"holds 2 channels \(DAPI, FITC\) that are not said",
        ),
        (
            lambda p: ome(np.zeros((20, 2900, 2900), np.uint8), "ZYX"),
            "holds 20 planes, together more than 150 megapixels: export the sharpest",
        ),
        (lambda p: ome(np.zeros((101, 4, 4), np.uint8), "ZYX"), "holds 101 planes, more than 100"),
        (lambda p: of_tifffile(p, first="ImageJ=1.53t\nimages=3\nslices=3\n"), "holds 3 pictures, as ImageJ writes"),
        (
            lambda p: of_tifffile(p[:, :, 0], p[:, :, 1], p[:, :, 2], subfiletype=0),
            "3 grey pictures, like the channels",
        ),
        (lambda p: of_tifffile(p, p, subfiletype=0), "holds 2 pictures: save each cell as a file of its own"),
    ],
)
def test_what_is_not_one_picture_is_named(pixels: Pixels, make: Callable[[Pixels], bytes], reason: str):
    with pytest.raises(ImageError, match=reason) as caught:
        decode(make(pixels))
    assert not isinstance(caught.value, IncompleteError)


def test_several_positions_are_named(pixels: Pixels):
    def written(*names: str) -> bytes:
        file = io.BytesIO()
        with tifffile.TiffWriter(file, ome=True) as writer:
            for name in names:
                writer.write(pixels, photometric="rgb", metadata={"axes": "YXS", "Name": name})
        return file.getvalue()

    with pytest.raises(ImageError, match="holds 2 images or positions: export each as a file of its own"):
        decode(written("A1", "A2"))
    assert (decode(written("slide", "label image", "macro image")).pixels == pixels).all()


def test_no_cut_stack_is_taken(pixels: Pixels):
    data = ome(np.stack([blurred(pixels, 3), pixels]), "ZYXS")
    for cut in range(0, len(data) - 400, 40_009):
        with pytest.raises(IncompleteError):
            decode(data[:cut])


@pytest.mark.parametrize(
    ("options", "microns"),
    [
        ({"resolution": (1e5, 1e5), "resolutionunit": "CENTIMETER"}, 0.1),
        ({"resolution": (254_000, 254_000), "resolutionunit": "INCH"}, 0.1),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (10, 10), "resolutionunit": "NONE"}, None),
        ({"resolution": (1e5, 2e5), "resolutionunit": "CENTIMETER"}, None),
        ({"resolution": (1e7, 1e7), "resolutionunit": "CENTIMETER"}, None),
        ({"imagej": True, "resolution": (10, 10), "metadata": {"unit": "um"}}, 0.1),
        ({"imagej": True, "resolution": (10, 10), "metadata": {"unit": "pixel"}}, None),
        ({"ome": True, "metadata": {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}}, 0.25),
        ({"ome": True, "metadata": {"axes": "YXS", "PhysicalSizeX": 97.0, "PhysicalSizeXUnit": "nm"}}, 0.097),
        ({"ome": True, "metadata": {"axes": "YXS", "PhysicalSizeX": 1.5, "PhysicalSizeXUnit": "µm"}}, None),
        ({"ome": True, "metadata": {"axes": "YXS", "PhysicalSizeX": 1.0, "PhysicalSizeXUnit": "pixel"}}, None),
        ({}, None),
    ],
)
def test_the_size_of_a_pixel_is_read_where_it_can_be_a_microscopes(
    pixels: Pixels, options: dict[str, Any], microns: float | None
):
    found = microns_per_pixel(io.BytesIO(of_tifffile(pixels, **options)))
    assert found == (None if microns is None else pytest.approx(microns, rel=1e-3))
