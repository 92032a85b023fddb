"""Are fields that overlap known, and only those: all pairs of BCCD, and windows of larger pictures made of its fields.

python benchmarks/overlap.py DATA        # prints the section of docs/results/fields.md; DATA holds bccd/images
"""

import sys
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from cartcls.runtime.fields.overlap import Shift, shift_between
from cartcls.runtime.fields.plane import Plane, plane_of
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.resize import Image

DIAMETER = 97.0  # of a red cell in pixels
SEED = 0
WINDOWS = 300  # pairs of each kind
LARGE = 60  # likewise, of 2560×1920 pixels
NEAR = 0.3  # diameters that a right shift may be off
RELATED = (
    "391 386, 247 244, 261 226, 260 227, 393 384, 258 229, 278 206, 395 382, 277 204, 276 205, 252 237, 276 204,"
    " 259 228, 108 107, 20 19, 193 165, 277 276, 161 160, 41 40, 193 166, 279 207, 45 44, 256 255"
)
"""Pairs of BCCD that show a part of the same place: looked at one by one."""

Random = np.random.Generator
Offset = Callable[[Random], tuple[float, float]]  # of the second window, in widths and heights


def section(folder: Path) -> list[str]:
    """The section of the page: pairs, how many of them match, and what a pair costs."""
    names = sorted(folder.glob("BloodImage_*.jpg"))
    fields = [read_image(name)[0] for name in names]
    related = {frozenset(map(int, pair.split())) for pair in RELATED.split(", ")}
    planes = [plane_of(field, DIAMETER) for field in fields]
    found = {
        frozenset((int(names[i].stem[-5:]), int(names[j].stem[-5:])))
        for i, j in combinations(range(len(planes)), 2)
        if shift_between(planes[i], planes[j])
    }
    count = len(planes) * (len(planes) - 1) // 2 - len(related)
    random = np.random.default_rng(SEED)
    rows = [
        f"| BCCD, fields that overlap | {len(related)} | {len(found & related)} | |",
        f"| BCCD, all other pairs | {count} | {len(found - related)} | |",
        *_unrelated(fields, related, names, random),
        *(_windows(title, fields, offset, random) for title, offset in OFFSETS.items()),
        _windows("2560×1920: a side, 10 to 60 %", fields, _side(0.1), random, LARGE, 4),
        _windows("2560×1920: a corner, 15 to 60 %", fields, _corner(0.15, 0.6), random, LARGE, 4),
    ]
    return [
        "",
        "## Overlapping fields",
        "",
        "Fields are compared by planes with red cells of 12 pixels. The first two rows are what a real microscope took:"
        f" {len(related)} pairs of BCCD show the same place, often at another focus; they were looked at one by one."
        " The windows are cut out of BCCD fields laid side by side, with another brightness, noise, focus and JPEG"
        " quality for each. `python benchmarks/overlap.py DATA` makes this section alone.",
        "",
        "| pairs | count | match | worst error in diameters |",
        "|---|---|---|---|",
        *rows,
        "",
        *_costs(fields, random),
    ]


def _side(least: float) -> Offset:
    """Windows that share from `least` to 60 % of a side, and are moved a little along it."""

    def offset(random: Random) -> tuple[float, float]:
        along, across = random.uniform(-0.08, 0.08), 1 - random.uniform(least, 0.6)
        return (across, along) if random.random() < 0.5 else (along, across)

    return offset


def _corner(least: float, most: float) -> Offset:
    return lambda random: (1 - random.uniform(least, most), 1 - random.uniform(least, most))


OFFSETS: dict[str, Offset] = {
    "640×480: a side, 15 to 60 %": _side(0.15),
    "640×480: a side, 20 to 60 %": _side(0.2),
    "640×480: a corner, 25 to 60 %": _corner(0.25, 0.6),
    "640×480: a corner, 25 %": lambda _: (0.75, 0.75),
    "640×480: a corner, 20 %": lambda _: (0.8, 0.8),
    "640×480: the same picture": lambda _: (0.0, 0.0),
}


def _windows(
    title: str, fields: Sequence[Image], offset: Offset, random: Random, count: int = WINDOWS, repeats: int = 1
) -> str:
    """A row: windows of pictures made of fields, where the second lies on the first as `offset` says."""
    size = fields[0].shape[1] * repeats, fields[0].shape[0] * repeats
    right, errors = 0, list[float]()
    for _ in range(count):
        picture = _picture(fields, 2 * repeats, random)
        x, y = (part * side * random.choice([-1, 1]) for part, side in zip(offset(random), size, strict=True))
        left, top = (max(0, -move) + random.random() for move in (x, y))
        first, second = (_exposure(_window(picture, *at, size), random) for at in ((left, top), (left + x, top + y)))
        shift = shift_between(plane_of(first, DIAMETER), plane_of(second, DIAMETER))
        error = np.inf if shift is None else float(np.hypot(shift.x - x, shift.y - y)) / DIAMETER
        right += error <= NEAR
        errors += [error] if shift else []
    return f"| {title} | {count} | {right} ({right / count:.0%}) | {max(errors):.3f} |"


def _picture(fields: Sequence[Image], side: int, random: Random) -> Image:
    """Fields side by side, so many in each direction, each another one."""
    chosen = random.permutation(len(fields))[: side * side]
    return np.vstack([np.hstack([fields[i] for i in chosen[k : k + side]]) for k in range(0, side * side, side)])


def _window(picture: Image, left: float, top: float, size: tuple[int, int]) -> Image:
    move = np.array([[1, 0, -left], [0, 1, -top]], np.float32)
    return np.asarray(
        cv2.warpAffine(picture, move, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT), np.uint8
    )


def _exposure(image: Image, random: Random) -> Image:
    """Another exposure: up to 10 % lighter or darker, noise of 3 levels, a focus that is a little off, as JPEG."""
    blurred = cv2.GaussianBlur(image, (0, 0), random.uniform(0.3, 2.5)).astype(np.float32)
    noisy = blurred * random.uniform(0.9, 1.1) + random.normal(0, 3, image.shape)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(70, 96))]
    _, data = cv2.imencode(".jpg", np.clip(noisy, 0, 255).astype(np.uint8), quality)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _unrelated(
    fields: Sequence[Image], related: set[frozenset[int]], names: Sequence[Path], random: Random
) -> list[str]:
    """Rows: fields of other kinds, that never overlap."""
    taken = {number for pair in related for number in pair}
    alone = [field for name, field in zip(names, fields, strict=True) if int(name.stem[-5:]) not in taken]
    height, width = fields[0].shape[:2]
    away = np.hypot(*np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height)))
    shade = (1 - 0.25 * away**2).astype(np.float32)[..., None]
    spots = np.ones((height, width), np.uint8)
    for _ in range(4):
        cv2.circle(spots, (int(random.integers(width)), int(random.integers(height))), 12, 0, -1)
    dust = cv2.GaussianBlur(spots.astype(np.float32), (0, 0), 4)[..., None] * 0.1 + 0.9
    glass = np.full_like(fields[0], 220)
    kinds = {
        "out of focus": [cv2.GaussianBlur(field, (0, 0), 6) for field in alone[:120]],
        "one vignette and dust on the camera": [(field * (shade * dust)).astype(np.uint8) for field in alone[:120]],
        "thick: three fields on each other": [
            np.uint8(220 * (alone[i] / 255.0) * (alone[j] / 255.0) * (alone[k] / 255.0) * 1.5)
            for i, j, k in random.permutation(len(alone))[:198].reshape(-1, 3)
        ],
        "empty glass with noise and vignette": [_exposure((glass * shade).astype(np.uint8), random) for _ in range(60)],
        "2560×1920": _blocks(alone, random),
    }
    rows = []
    for title, images in kinds.items():
        planes = [plane_of(np.asarray(image, np.uint8), DIAMETER) for image in images]
        pairs = list(combinations(planes, 2))
        rows.append(f"| unrelated, {title} | {len(pairs)} | {sum(map(_matches, pairs))} | |")
    return rows


def _blocks(fields: Sequence[Image], random: Random) -> list[Image]:
    """Pictures of 16 fields each, none in two of them."""
    order = random.permutation(len(fields))
    parts = [[fields[i] for i in order[k : k + 16]] for k in range(0, len(order) - 15, 16)]
    return [_picture(part, 4, random) for part in parts]


def _matches(pair: tuple[Plane, Plane]) -> bool:
    return isinstance(shift_between(*pair), Shift)


def _costs(fields: Sequence[Image], random: Random) -> list[str]:
    """A table: processor time of one thread for a new field and each earlier one, and bytes in the ledger."""
    lines = ["| pixels of a field | its plane, ms | a pair, ms | bytes kept |", "|---|---|---|---|"]
    for images in (list(fields[:200]), [_picture(fields, 4, random) for _ in range(30)]):
        start = time.process_time()
        planes = [plane_of(image, DIAMETER) for image in images]
        made = (time.process_time() - start) / len(planes)
        for plane in planes:
            assert plane.detail.any()
        start = time.process_time()
        for plane in planes[1:]:
            shift_between(plane, planes[0])
        pair = (time.process_time() - start) / (len(planes) - 1)
        kept = float(np.mean([len(plane.pack()) for plane in planes]))
        size = f"{images[0].shape[1]}×{images[0].shape[0]}"
        lines.append(f"| {size} | {1000 * made:.1f} | {1000 * pair:.2f} | {kept:.0f} |")
    return lines


if __name__ == "__main__":
    cv2.setNumThreads(1)
    print("\n".join(section(Path(sys.argv[1]) / "bccd" / "images")))
