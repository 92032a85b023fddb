"""Decoded images of a data folder, in memory."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..calibration.split import class_of
from ..runtime.errors import DataError, ImageError
from ..runtime.images.decode import read_image
from ..runtime.images.resize import stretch


@dataclass(frozen=True)
class LabelledImages:
    """Decoded images of one part of a split.

    Attributes:
        images: RGB, uint8, (N, H, W, 3).
        labels: Class indices, int64, (N,).
        paths: Path of each image, relative to the data folder.
        sizes: Width and height of each picture in pixels, before it was stretched, int64, (N, 2).
        sha256: Digest over all paths and file contents.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    paths: list[str]
    sizes: npt.NDArray[np.int64]
    sha256: str

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)


def load_images(
    data_dir: Path,
    paths: Sequence[str],
    classes: Sequence[str],
    size: tuple[int, int],
    progress: Callable[[int], None] = lambda done: None,
) -> LabelledImages:
    """Read, decode and stretch images, on all cores.

    Args:
        data_dir: Folder with one folder per class.
        paths: Images, relative to it.
        classes: Class names in the order of their indices.
        size: Width and height in pixels.
        progress: Called with the number of images that are read.

    Raises:
        DataError: Naming the images that cannot be read.
    """
    images = np.empty((len(paths), size[1], size[0], 3), np.uint8)
    sizes = np.empty((len(paths), 2), np.int64)

    def load(index: int) -> tuple[str, str]:
        try:
            image, sha256 = read_image(data_dir / paths[index])
        except ImageError as error:
            return "", f"{paths[index]} {error}"
        images[index] = stretch(image, *size)
        sizes[index] = image.shape[1], image.shape[0]
        return sha256, ""

    pool, results = ThreadPoolExecutor(os.cpu_count()), []
    try:
        for result in pool.map(load, range(len(paths))):
            results.append(result)
            progress(len(results))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupted training does not read the rest
    if problems := [problem for _, problem in results if problem]:
        raise DataError(
            f"{data_dir}: {len(problems)} image(s) cannot be used: {'; '.join(problems[:5])}."
            " Repair or remove them and make the split again"
        )
    digest = hashlib.sha256()
    for path, (sha256, _) in zip(paths, results, strict=True):
        digest.update(f"{path} {sha256}\n".encode())
    labels = np.array([classes.index(class_of(path)) for path in paths], np.int64)
    return LabelledImages(images, labels, list(paths), sizes, digest.hexdigest())
