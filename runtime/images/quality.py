"""Image quality without a model: is it sharp, well exposed, clean, and does it show one whole stained cell?

The bundle holds limits for each measure, computed from labelled cells (`cartcls.calibration.limits`). Each measure
covers one property: sharpness does not depend on exposure, nor stain on the size of a cell.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from .resize import Image

DARKEST, BRIGHTEST = 0.01, 0.20  # shares of the pixels: a platelet stains more, a cell leaves more free
NOISE_KERNEL = np.array([1, -2, 1], np.float32)  # along both axes: Immerkær 1996, blind to edges
NOISE_GAIN = 6 * 0.6745  # of the two on white noise, and of the median of its absolute value

FLAWS = {
    "size": ("smaller than the training cells", "looks like a whole field"),
    "shape": ("narrower than the training cells", "wider than the training cells"),
    "cell": ("no cell", ""),
    "border": ("", "cell cut by the border"),
    "sharpness": ("out of focus", ""),
    "brightness": ("too dark", "too bright"),
    "noise": ("", "noisy"),
    "blocks": ("", "compressed too much"),
}
"""Review reasons below the lower limit of a measure, and above its upper limit; empty where it has no such limit."""


@dataclass(frozen=True, eq=False)
class Quality:
    """Quality measurements of an image.

    Attributes:
        measures: Values by their names in `FLAWS`.
        stain: Mean optical densities of the darkest pixels, of the brightest, and of all; red, green, blue each, (9,).
    """

    measures: dict[str, float]
    stain: npt.NDArray[np.float64]


def measure(image: Image, width: int, height: int) -> Quality:
    """Measure an image.

    Args:
        image: At the size of the graph's input, RGB, uint8, (H, W, 3).
        width: Width of the original in pixels.
        height: Height of the original in pixels.
    """
    high, wide = image.shape[0] // 2, image.shape[1] // 2
    small = np.asarray(cv2.resize(image[: 2 * high, : 2 * wide], (wide, high), interpolation=cv2.INTER_AREA), np.uint8)
    green, blue = (np.asarray(cv2.extractChannel(small, channel), np.uint8) for channel in (1, 2))
    fine = np.asarray(cv2.extractChannel(image, 1), np.uint8)
    stain = _stain(small, green)
    purple = np.asarray(cv2.addWeighted(blue, 0.5, green, -0.5, 128), np.uint8)
    middle, most = _quantiles(purple, 0.5, 1 - DARKEST)
    measures = {
        "size": float(np.log(np.sqrt(width * height / (image.shape[0] * image.shape[1])))),
        "shape": float(np.log((width / height) / (image.shape[1] / image.shape[0]))),
        "cell": 2 * (most - middle),
        "border": _border(purple, (middle + most) / 2),
        "sharpness": _sharpness(green),
        "brightness": float(256 * np.exp(-stain[3:6].mean()) - 1),
        "noise": _noise(fine),
        "blocks": _blocks(fine),
    }
    return Quality(measures, stain)


def _stain(small: Image, green: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Mean optical density −ln(I / 255) of three sets of pixels."""
    low, high = _quantiles(green, DARKEST, 1 - BRIGHTEST)
    dark, bright = (green <= low).view(np.uint8), (green >= high).view(np.uint8)
    means = [cv2.mean(small, mask=mask)[:3] for mask in (dark, bright)] + [cv2.mean(small)[:3]]
    return -np.log((np.concatenate(means) + 1) / 256)


def _quantiles(values: npt.NDArray[np.uint8], *shares: float) -> list[float]:
    """Smallest values that these shares of the pixels do not exceed."""
    counts = cv2.calcHist([values], [0], None, [256], [0, 256]).ravel().cumsum()
    return np.searchsorted(counts, np.array(shares) * counts[-1]).astype(float).tolist()


def _sharpness(green: npt.NDArray[np.uint8]) -> float:
    """Fine detail as a share of coarser detail, as a logarithm: what is out of focus loses the finest first."""
    sharp = green.astype(np.float32)
    once = cv2.GaussianBlur(sharp, (0, 0), 1)
    coarse = once - cv2.GaussianBlur(once, (0, 0), 1.75)
    return float(np.log((1 + cv2.norm(sharp - once)) / (1 + cv2.norm(coarse))))


def _noise(green: npt.NDArray[np.uint8]) -> float:
    """Standard deviation of white noise, from the median, so that edges and granules do not count.

    Noise is the same everywhere in an image, so the upper quarter is enough.
    """
    residual = cv2.convertScaleAbs(cv2.sepFilter2D(green[: len(green) // 4], cv2.CV_16S, NOISE_KERNEL, NOISE_KERNEL))
    return _quantiles(np.asarray(residual, np.uint8), 0.5)[0] / NOISE_GAIN


def _blocks(green: npt.NDArray[np.uint8]) -> float:
    """How much larger steps are between the 8 × 8 blocks of a JPEG than within them, as a logarithm."""
    between = within = 1.0
    for axis in (1, 0):
        one, next_one = (green[:-1], green[1:]) if axis == 0 else (green[:, :-1], green[:, 1:])
        lines = cv2.reduce(cv2.absdiff(one, next_one), 1 - axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
        last = len(lines) // 8 * 8
        steps = [lines[i:last:8].sum() / (last // 8 * green.shape[1 - axis]) for i in (7, 3)]
        between, within = between + steps[0], within + steps[1]
    return float(np.log(between / within))


def _border(purple: npt.NDArray[np.uint8], limit: float) -> float:
    """How much of the central stained part lies on the border: its border pixels over the square root of its area.

    It is the part with the most pixels in the middle half of the image; if there is none, the largest.
    """
    mask = (purple > limit).view(np.uint8)
    if not any(edge.any() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1])):
        return 0.0
    _, labels, parts, _ = cv2.connectedComponentsWithStats(mask)
    high, wide = (size // 4 for size in labels.shape)
    areas = parts[1:, cv2.CC_STAT_AREA]
    inside = np.bincount(labels[high:-high, wide:-wide].ravel(), minlength=len(parts))[1:]
    chosen = 1 + int((inside if inside.any() else areas).argmax())
    on_edges = sum((edge == chosen).sum() for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]))
    return float(on_edges / np.sqrt(areas[chosen - 1]))
