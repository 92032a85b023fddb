"""From any mode and colour profile to sRGB."""

import io
from functools import lru_cache

import numpy as np
import PIL.Image
import PIL.ImageCms

from ..errors import ImageError
from .png import png_profile
from .resize import Image

ROWS_AT_A_TIME = 256
HARMLESS = 2  # levels of 255: profiles that move no colour by more are sRGB, which pixels without a profile are too
MAX_PROFILE = 4 << 20  # bytes
LARGE_PROFILE = f"colour profile larger than {MAX_PROFILE >> 20} MB, not applied"
DAMAGED_PROFILE = "colour profile damaged, not applied"
V5_HEADER, V5_EMBEDDED = 124, b"DEBM"

Transform = PIL.ImageCms.ImageCmsTransform


def profile_of(image: PIL.Image.Image, data: bytes) -> bytes | None:
    """ICC profile of an image; None where there is none, empty where it is damaged."""
    if image.format == "BMP" and data[14] == V5_HEADER and data[70:74] == V5_EMBEDDED:
        start, size = (int.from_bytes(data[i : i + 4], "little") for i in (126, 130))
        return data[14 + start : 14 + start + size]
    if image.format == "PNG":
        return png_profile(data, MAX_PROFILE)
    if "icc_profile" in image.info:
        return image.info["icc_profile"] or b""
    return None


@lru_cache(maxsize=16)
def transform_to_srgb(profile: bytes, grey: bool) -> tuple[Transform | None, str]:
    """Prepare the conversion from a profile's colours.

    Args:
        profile: ICC profile.
        grey: Whether it belongs to a grey image.

    Returns:
        The conversion, None where there is nothing to convert; and why it cannot be made, empty where it can.
    """
    if len(profile) > MAX_PROFILE:
        return None, LARGE_PROFILE
    try:
        opened = PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = profile[16:20].decode("latin-1").strip()
        if space not in ("RGB", "GRAY") or (space == "GRAY" and not grey):
            return None, f"colour profile of another kind ({space}), not applied"
        mode = "L" if space == "GRAY" else "RGB"
        transform = PIL.ImageCms.buildTransform(opened, PIL.ImageCms.createProfile("sRGB"), mode, "RGB")
    except (PIL.ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None, DAMAGED_PROFILE
    steps = np.arange(0, 256, 15).astype(np.uint8)
    samples = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(len(steps), -1, 3)
    if mode == "L":
        samples = np.repeat(steps[None, :, None], 3, 2)
    moved = np.asarray(transform.apply(PIL.Image.fromarray(samples).convert(mode))).astype(int) - samples
    return (transform if np.abs(moved).max() > HARMLESS else None), ""


def to_rgb(image: PIL.Image.Image, transform: Transform | None) -> Image:
    """Convert a decoded image.

    An alpha channel that is the same everywhere shows nothing, as in files of programs that never set it: it is left
    out. Otherwise transparent pixels become white.

    Returns:
        RGB, uint8, (H, W, 3).

    Raises:
        ImageError: It is wholly transparent, and there is no picture behind it.
    """
    tops = range(0, image.height, ROWS_AT_A_TIME)  # in strips: whole copies of a large image need too much memory
    alpha = (
        {level for top in tops for level in _alpha_range(_strip(image, top))} if image.has_transparency_data else {255}
    )
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in tops:
        strip = _rgb(_strip(image, top), len(alpha) == 1)
        if transform is not None:
            strip = transform.apply(strip.convert(transform.input_mode))
        pixels[top : top + ROWS_AT_A_TIME] = np.asarray(strip)
    if alpha == {0} and (pixels == pixels[0, 0]).all():
        raise ImageError("is wholly transparent: there is no picture in it")
    return pixels


def _strip(image: PIL.Image.Image, top: int) -> PIL.Image.Image:
    return image.crop((0, top, image.width, min(top + ROWS_AT_A_TIME, image.height)))


def _alpha_range(strip: PIL.Image.Image) -> tuple[int, int]:
    low, high = strip.convert("RGBA").getchannel("A").getextrema()
    return int(low), int(high)  # pyright: ignore[reportArgumentType]  # a tuple only of several channels


def _rgb(strip: PIL.Image.Image, opaque: bool) -> PIL.Image.Image:
    if strip.has_transparency_data:
        rgba = strip.convert("RGBA")
        if opaque:
            return rgba.convert("RGB")
        strip = PIL.Image.alpha_composite(PIL.Image.new("RGBA", rgba.size, "white"), rgba)
    return strip if strip.mode == "RGB" else strip.convert("RGB")
