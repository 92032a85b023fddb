"""Size and colours of pictures, by which those of a laboratory are compared with those of home."""

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ..runtime.images.adjust import optical_densities
from ..runtime.images.resize import Image

BLUR = 1 / 120  # of the height: granules and noise are smaller
FAINT = 0.2  # optical densities: where purple varies by less, nothing is a nucleus


class PictureMeasures(NamedTuple):
    """Of N pictures.

    Attributes:
        diameters: Of the nuclei, as `nucleus_diameter` gives them, float32, (N,).
        moments: Of the optical densities, as `density_moment` gives them, float32, (N, 3, 3).
    """

    diameters: npt.NDArray[np.float32]
    moments: npt.NDArray[np.float32]


def measure_pictures(images: Iterable[Image]) -> PictureMeasures:
    """Measure pictures at the size of the graph's input, RGB, uint8, (H, W, 3) each."""
    found = [(nucleus_diameter(image), density_moment(image)) for image in images]
    diameters, moments = (np.array(values, np.float32) for values in zip(*found, strict=True))
    return PictureMeasures(diameters, moments)


def nucleus_diameter(image: Image) -> float:
    """Diameter of a disc of the nucleus' area, as a share of the picture's side (of the root of its area).

    The nucleus is what is more purple than blue or red, by Otsu's threshold, with its centre in the middle half of the
    picture: all lobes of it, and of a platelet all.

    Args:
        image: At the size of the graph's input, RGB, uint8, (H, W, 3).

    Returns:
        The share; not-a-number where there is no nucleus.
    """
    height, width = image.shape[:2]
    densities = optical_densities(image)
    purple = cv2.GaussianBlur(densities[..., 1] - densities[..., 2], (0, 0), BLUR * height)
    if purple.max() - purple.min() < FAINT:
        return float("nan")
    grey = np.asarray(cv2.normalize(purple, None, 0, 255, cv2.NORM_MINMAX), np.uint8)  # pyright: ignore[reportCallIssue, reportArgumentType]
    mask = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1]
    _, _, parts, centers = cv2.connectedComponentsWithStats(mask)
    in_the_middle = np.abs(centers[1:] / (width, height) - 0.5).max(1) < 0.25
    area = parts[1:, cv2.CC_STAT_AREA][in_the_middle].sum() / (height * width)
    return float(np.sqrt(4 * area / np.pi)) if area else float("nan")


def density_moment(image: Image) -> npt.NDArray[np.float64]:
    """Mean of d·dᵀ of the optical densities d of all pixels, (3, 3)."""
    densities = optical_densities(image).reshape(-1, 3).astype(np.float64)
    return densities.T @ densities / len(densities)
