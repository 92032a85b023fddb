"""Altered cells, and images that are not cells, as `alterations.json` defines them."""

import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np

from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.resize import Image, stretch

FIXED: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
Box = tuple[int, int, int, int]


def alterations() -> dict[str, Callable[[Image], Image]]:
    """Functions that alter an image, by name."""
    return {fixed["name"]: _alteration(fixed) for fixed in FIXED["alterations"]}


def _alteration(fixed: dict[str, Any]) -> Callable[[Image], Image]:
    def change(image: Image) -> Image:
        values = image.astype(np.float64)
        if fixed["kind"] == "gaussian_blur":
            values = cv2.GaussianBlur(values, (0, 0), fixed["sigma_pixels"])
        elif fixed["kind"] == "optical_density":
            values = 255 * (np.maximum(values, 1) / 255) ** np.array(fixed["factors_rgb"])
        elif fixed["kind"] == "brightness":
            values = values * fixed["factor"]
        elif fixed["kind"] == "gaussian_noise":
            random = np.random.default_rng([FIXED["seed"], zlib.crc32(image.tobytes())])
            values = values + random.normal(0, fixed["standard_deviation"], values.shape)
        elif fixed["kind"] == "jpeg":
            quality = [cv2.IMWRITE_JPEG_QUALITY, fixed["quality"]]
            encoded = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), quality)[1]  # OpenCV's order is BGR
            values = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.float64)[..., ::-1]
        else:
            raise ValueError(f"{fixed['kind']} is not a kind of alteration")
        return np.asarray(values.round().clip(0, 255), np.uint8)

    return change


def non_cells(bccd: Path, width: int, height: int) -> dict[str, list[Image]]:
    """Red cells, platelet clumps and background, by name, as many as defined or as there are."""
    random, fixed = np.random.default_rng(FIXED["seed"]), FIXED["non_cells"]
    found: dict[str, list[Image]] = {"red_cells": [], "platelet_clumps": [], "background": []}
    for field, boxes in _fields(bccd):
        every = [box for of_kind in boxes.values() for box in of_kind]
        cuts = {
            "red_cells": [
                _square(field, box, 2) for box in boxes["RBC"] if not _touches(_around(box, 2), boxes["WBC"])
            ],
            "platelet_clumps": [_square(field, box, 1) for box in _clumps(boxes["Platelets"])],
            "background": [_cut(field, _empty(field, every, random))],
        }
        for name, pictures in cuts.items():
            found[name] += [stretch(picture, width, height) for picture in pictures if picture is not None]
    return {
        name: [pictures[i] for i in sorted(random.permutation(len(pictures))[: fixed[name]])]
        for name, pictures in found.items()
    }


def _fields(bccd: Path) -> Iterator[tuple[Image, dict[str, list[Box]]]]:
    for file in sorted((bccd / "annotations").glob("*.xml")):
        boxes: dict[str, list[Box]] = {"WBC": [], "RBC": [], "Platelets": []}
        for entry in ElementTree.parse(file).getroot().iter("object"):
            left, top, right, bottom = (
                int(entry.findtext(f"bndbox/{side}", "0")) for side in ("xmin", "ymin", "xmax", "ymax")
            )
            if right > left and bottom > top:
                boxes[entry.findtext("name", "")].append((left, top, right, bottom))
        yield read_image(bccd / "images" / f"{file.stem}.jpg")[0], boxes


def _around(box: Box, times: float) -> Box:
    """The square around a box, `times` as long as its longer side."""
    left, top, right, bottom = box
    half = round(max(right - left, bottom - top) * times / 2)
    x, y = (left + right) // 2, (top + bottom) // 2
    return x - half, y - half, x + half, y + half


def _square(field: Image, box: Box, times: float) -> Image | None:
    return _cut(field, _around(box, times))


def _cut(field: Image, square: Box | None) -> Image | None:
    """That part of a field; a square that goes over its edge is moved inward; None if the part is too small."""
    if square is None:
        return None
    height, width = field.shape[:2]
    side = min(square[2] - square[0], height, width)
    left, top = min(max(square[0], 0), width - side), min(max(square[1], 0), height - side)
    return field[top : top + side, left : left + side] if side >= 16 else None


def _touches(square: Box, boxes: list[Box]) -> bool:
    left, top, right, bottom = square
    return any(left < r and x < right and top < b and y < bottom for x, y, r, b in boxes)


def _clumps(boxes: list[Box]) -> list[Box]:
    """The box around each group of two and more platelets whose boxes touch when enlarged by half."""
    left_over, groups = list(boxes), []
    while left_over:
        group = [left_over.pop()]
        while near := [b for b in left_over if any(_touches(_around(b, 1.5), [_around(g, 1.5)]) for g in group)]:
            group += near
            left_over = [b for b in left_over if b not in near]
        if len(group) > 1:
            sides = np.array(group)
            groups.append((*sides[:, :2].min(0).tolist(), *sides[:, 2:].max(0).tolist()))
    return groups


def _empty(field: Image, boxes: list[Box], random: np.random.Generator) -> Box | None:
    """A square that no box touches; None where 200 tries find none."""
    side = FIXED["non_cells"]["background_pixels"]
    for _ in range(200):
        left, top = int(random.integers(field.shape[1] - side)), int(random.integers(field.shape[0] - side))
        if not _touches(square := (left, top, left + side, top + side), boxes):
            return square
    return None
