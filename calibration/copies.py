"""Labelled images that are the same, byte for byte."""

import os
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..runtime.errors import DataError, ImageError
from ..runtime.images.decode import read_file


def first_of_each(data_dir: Path, paths: Sequence[str]) -> dict[str, str]:
    """Find copies among labelled images.

    Args:
        data_dir: Folder with one folder per class.
        paths: Images, relative to it, `/`-separated.

    Returns:
        By path, the first path with the same bytes: itself, where there is no earlier one, or where it cannot be read.

    Raises:
        DataError: Two classes have the same image, and so one of its labels is wrong.
    """

    def digest(path: str) -> str:
        try:
            return read_file(data_dir / path).sha256
        except ImageError:
            return path

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = list(pool.map(digest, paths))
    first: dict[str, str] = {}
    first_of = {path: first.setdefault(digest, path) for path, digest in zip(paths, digests, strict=True)}
    torn = [(one, path) for path, one in first_of.items() if _folder(one) != _folder(path)]
    if torn:
        one, other = torn[0]
        more = f" (and {len(torn) - 1} more)" if len(torn) > 1 else ""
        raise DataError(
            f"{data_dir}: {one} and {other} have the same bytes, in two classes{more}: remove the wrong one"
        )
    return first_of


def _folder(path: str) -> str:
    return unicodedata.normalize("NFC", path.split("/")[0])  # macOS writes `ü` as two letters


def without_copies(data_dir: Path, paths: Sequence[str], notify: Callable[[str], None]) -> list[str]:
    """Leave out copies of images, which would count the same cell twice.

    Raises:
        DataError: Two classes have the same image.
    """
    first_of = first_of_each(data_dir, paths)
    kept = [path for path in paths if first_of[path] == path]
    if copies := len(paths) - len(kept):
        notify(f"left out: {copies} {'copy' if copies == 1 else 'copies'} of other images, byte for byte")
    return kept
