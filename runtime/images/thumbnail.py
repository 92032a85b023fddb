"""Thumbnails: a cell beside its heat map, and beside the attention of the model where it has one."""

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import simplejpeg

from .resize import Image

HEIGHT = 180
CAPTION, NAMES = 30, 22
THE_CELL, GRAD_CAM, ATTENTION = "the cell", "Grad-CAM", "spatial attention"
OUTLINE, AROUND = (0, 110, 0), (255, 255, 255)  # of a box: as in a field, with a white line around it
STRENGTH = 0.45
EVEN = 0.01  # the least difference within an attention that is shown in all colours
JPEG_QUALITY = 85


def overlay(crop: Image, cam: npt.NDArray[np.float32]) -> Image:
    """Lay the heat map of one class over a crop: Grad-CAM, the paper's equation 8.

    Args:
        crop: RGB, uint8, (H, W, 3).
        cam: Class activation map before its ReLU, float32, (h, w).

    Returns:
        RGB, uint8, (H, W, 3). The crop is unchanged where the map has no positive value.
    """
    positive = np.maximum(cam, 0)
    height, width = crop.shape[:2]
    # smooth at half the size, from where linear steps cannot be seen, in a third of the time
    half = cv2.resize(
        positive / max(float(positive.max()), 1e-12), (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_CUBIC
    )
    heat = cv2.resize((half.clip(0, 1) * 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
    colored, rest = _tables()
    hidden = cv2.multiply(crop, cv2.merge([cv2.LUT(heat, rest)] * 3), scale=1 / 255)
    return np.asarray(cv2.add(hidden, cv2.LUT(cv2.merge([heat] * 3), colored)), np.uint8)


@lru_cache(maxsize=1)
def _tables() -> tuple[Image, Image]:
    """By heat from 0 to 255: what is added of its colour, (1, 256, 3), and in 255ths what is left of a crop, (256,)."""
    weights = np.minimum(np.arange(256) / 255 * 2, 1) * STRENGTH
    colored, rest = np.rint(colors() * weights[:, None]), np.rint(255 * (1 - weights))
    return colored.astype(np.uint8)[None], rest.astype(np.uint8)


def pack(cams: npt.NDArray[np.float32], attention: npt.NDArray[np.float32] | None = None) -> bytes:
    """Pack the heat maps of all classes of a cell, for a page that shows any of them.

    Args:
        cams: Class activation maps before their ReLU, float32, (K, h, w).
        attention: Spatial attention in 0…1, float32, (h', w'); None where the model has none.

    Returns:
        K, h and w as one byte each; per class the peak of its map, in 255ths of the highest of all; then each map after
        its ReLU, in 255ths of its own peak, as `overlay` takes it; then the lowest and highest attention, in 255ths.
        Empty where a size needs more than a byte.
    """
    if max(cams.shape) > 255:
        return b""
    positive = np.maximum(cams, 0)
    peaks = positive.max((1, 2))
    strengths = np.rint(255 * peaks / max(float(peaks.max()), 1e-12)).astype(np.uint8)
    maps = np.rint(255 * positive / np.maximum(peaks, 1e-12)[:, None, None]).astype(np.uint8)
    packed = bytes(cams.shape) + strengths.tobytes() + maps.tobytes()
    if attention is None:
        return packed
    span = np.array([attention.min(), attention.max()])
    return packed + np.rint(255 * np.nan_to_num(span).clip(0, 1)).astype(np.uint8).tobytes()


@lru_cache(maxsize=1)
def colors() -> npt.NDArray[np.uint8]:
    """Colours of heat from 0 to 255: RGB, uint8, (256, 3)."""
    heat = np.arange(256, dtype=np.uint8)[None]
    return np.array(cv2.applyColorMap(heat, cv2.COLORMAP_TURBO)[0, :, ::-1], np.uint8, order="C")


def shrink(crop: Image) -> Image:
    """Scale a crop to a thumbnail's height, so that the original need not be kept."""
    width = min(max(1, round(crop.shape[1] * HEIGHT / crop.shape[0])), 4 * HEIGHT)
    at_most_halved = crop.shape[0] < 2.1 * HEIGHT  # then INTER_LINEAR skips no pixel, in a fifth of the time
    interpolation = cv2.INTER_LINEAR if at_most_halved else cv2.INTER_AREA
    return np.asarray(cv2.resize(crop, (width, HEIGHT), interpolation=interpolation), np.uint8)


def outlined(small: Image, box: npt.NDArray[np.float32]) -> Image:
    """Draw a box on a copy of a crop: a thin line, with a white one around it, that both show on any cell.

    Args:
        small: Crop, RGB, uint8, (H, W, 3).
        box: Upper left corner, width and height, in shares of it, (4,).
    """
    height, width = small.shape[:2]
    x, y, w, h = (float(value) for value in box)
    first = min(width - 1, round(x * width)), min(height - 1, round(y * height))
    last = max(first[0], round((x + w) * width) - 1), max(first[1], round((y + h) * height) - 1)
    picture = small.copy()
    cv2.rectangle(picture, (first[0] - 1, first[1] - 1), (last[0] + 1, last[1] + 1), AROUND, 1)
    cv2.rectangle(picture, first, last, OUTLINE, 1)
    return picture


def stretched(attention: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Attention (h, w) from 0 at its lowest to 1 at its highest, as `overlay` shows it; 0 where it is even."""
    low, high = float(attention.min()), float(attention.max())
    return (attention - low) / max(high - low, EVEN)


def thumbnail(
    small: Image,
    cam: npt.NDArray[np.float32] | None,
    caption: str,
    color: str,
    box: npt.NDArray[np.float32] | None = None,
    attention: npt.NDArray[np.float32] | None = None,
) -> bytes:
    """Draw a crop beside the crop under its heat map, and under its attention, with a caption below.

    Args:
        small: Crop as `shrink` gives it, RGB, uint8, (H, W, 3).
        cam: Map of the predicted class, float32, (h, w); None draws no such picture.
        caption: Label and confidence.
        color: Colour of the class, `#rrggbb`.
        box: Where the model finds the cell: upper left corner, width and height, in shares of the crop, (4,); None
            draws none.
        attention: Spatial attention in 0…1, float32, (h, w); None draws no such picture. With it, each picture has its
            name.

    Returns:
        A JPEG file.
    """
    panels = {THE_CELL: small if box is None else outlined(small, box)}
    if cam is not None:
        panels[GRAD_CAM] = overlay(small, cam)
    if attention is not None:
        panels[ATTENTION] = overlay(small, stretched(attention))
    strips = [np.concatenate(list(panels.values()), axis=1)]
    if attention is not None:
        strips.append(np.concatenate([_name(name, small.shape[1]) for name in panels], axis=1))
    picture = np.concatenate([*strips, _caption(caption, color, small.shape[1] * len(panels))])
    return simplejpeg.encode_jpeg(picture, JPEG_QUALITY, colorspace="RGB", colorsubsampling="420", fastdct=False)


@lru_cache(maxsize=256)
def _caption(text: str, color: str, width: int) -> Image:
    strip = PIL.Image.new("RGB", (width, CAPTION), "white")
    draw = PIL.ImageDraw.Draw(strip)
    draw.rectangle((0, 0, 6, CAPTION), fill=color)
    space, length = width - 20, draw.textlength(text, _font())
    font = _font() if length <= space else _font(max(8, int(18 * space / length)))
    draw.text((14, CAPTION / 2), text, fill="black", font=font, anchor="lm")
    return np.array(strip, np.uint8)


@lru_cache(maxsize=64)
def _name(text: str, width: int) -> Image:
    strip = PIL.Image.new("RGB", (width, NAMES), "white")
    PIL.ImageDraw.Draw(strip).text((width / 2, NAMES / 2), text, fill="black", font=_font(14), anchor="mm")
    return np.array(strip, np.uint8)


@lru_cache(maxsize=16)
def _font(size: int = 18) -> "PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont":
    return PIL.ImageFont.load_default(size=size)
