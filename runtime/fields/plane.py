"""A small picture of a field, by which it is compared with other fields of its slide.

Only the finest detail counts: round bodies of one size lie on each other nearly anywhere, but their rims do not.
"""

import struct
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from ..images.resize import Image

WORK = 12.0  # diameter of a red cell in pixels of a plane
FINE = 0.12  # sigma in diameters: what is left of a plane blurred that much is no detail
TEXTURE = 1.0  # standard deviation of the detail in levels: a field with less shows nothing to compare
LIMIT = 100  # of the detail, at its standard deviation: else a nucleus would outweigh all red cells

HEADER = struct.Struct("<IId")  # width and height of the field, scale


@dataclass(frozen=True, eq=False)
class Plane:
    """A small picture of a field, by which it is compared with others.

    Attributes:
        pixels: Green channel, uint8, (height · scale, width · scale).
        width: Of the field in pixels.
        height: Of the field in pixels.
        scale: Pixels of the plane per pixel of the field.
    """

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int
    scale: float

    def pack(self) -> bytes:
        """The plane without loss: 20 bytes, then a PNG."""
        _, png = cv2.imencode(".png", self.pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        return HEADER.pack(self.width, self.height, self.scale) + png.tobytes()

    @classmethod
    def unpack(cls, data: bytes) -> "Plane":
        """The plane of which `pack` made these bytes.

        Raises:
            ValueError: They are cut short or damaged.
        """
        png = np.frombuffer(data[HEADER.size :], np.uint8)
        pixels = cv2.imdecode(png, cv2.IMREAD_GRAYSCALE) if png.size else None
        if pixels is None:
            raise ValueError("the small picture of a field is damaged")
        width, height, scale = HEADER.unpack_from(data)
        return cls(np.asarray(pixels, np.uint8), width, height, scale)

    @cached_property
    def detail(self) -> npt.NDArray[np.int8]:
        """What blurring takes away, within `LIMIT`; zeros where there is nearly none. Shape of `pixels`."""
        plane = self.pixels.astype(np.float32)
        fine = plane - cv2.GaussianBlur(plane, (0, 0), FINE * WORK)
        if (spread := float(fine.std())) < TEXTURE:
            return np.zeros_like(self.pixels, np.int8)
        return np.rint(np.clip(fine * (LIMIT / spread), -LIMIT, LIMIT)).astype(np.int8)


def plane_of(image: Image, diameter: float) -> Plane:
    """The small picture of a field.

    Args:
        image: RGB, uint8, (H, W, 3).
        diameter: Of a red cell in pixels: one for all fields that are compared.
    """
    height, width = image.shape[:2]
    scale = WORK / diameter
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(cv2.extractChannel(image, 1), size, interpolation=kind)
    return Plane(np.asarray(small, np.uint8), width, height, scale)
