"""Where the cell lies in each labelled crop: boxes, from a CSV file or from the finder of whole fields."""

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from ..runtime.bundle.manifest import HomeScale
from ..runtime.errors import DataError, ImageError, ScaleError
from ..runtime.fields.bodies import cytoplasm
from ..runtime.fields.find import find
from ..runtime.fields.nuclei import purple
from ..runtime.fields.scale import red_cell_diameter
from ..runtime.fields.stain import background, stain_of
from ..runtime.files import replace_file, writing
from ..runtime.images.decode import read_image
from ..runtime.images.resize import Image
from .groups import few, read_csv
from .home_scale import measure_home_scale


@dataclass(frozen=True)
class Box:
    """Box of the cell in a picture, in the picture's pixels.

    Attributes:
        x: Left side.
        y: Upper side.
        width: From left to right.
        height: From top to bottom.
    """

    x: float
    y: float
    width: float
    height: float


BESIDE = 0.4  # diameters of a red cell between a platelet and the middle of its crop, at most
NOTHING_FOUND = "no cell is found in its middle"
COLUMNS = ("path", *(field.name for field in fields(Box)))


def read_boxes(file: Path, paths: Sequence[str]) -> dict[str, Box]:
    """Read the boxes of some images; those of others are left out.

    Args:
        file: CSV with the columns `path`, `x`, `y`, `width` and `height`, in pixels of the picture.
        paths: Images, `/`-separated.

    Returns:
        Box by path. Whether it lies in its picture, `check_inside` says.

    Raises:
        DataError: The file cannot be read, names an image twice, has none for an image, or one that is not a box.
    """
    try:
        rows = read_csv(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}: make it with `cartcls train boxes`") from None
    if not rows or not set(COLUMNS) <= rows[0].keys():
        raise DataError(f"{file} has no boxes: it needs the columns {', '.join(COLUMNS)}")
    present = set(paths)
    names = [row["path"] if row["path"] in present else row["path"].replace("\\", "/") for row in rows]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise DataError(f"{file} names {len(twice)} image(s) twice ({few(twice)}): leave one line of each")
    boxes = {name: _box(row) for name, row in zip(names, rows, strict=True)}
    if malformed := sorted(name for name, box in boxes.items() if box is None):
        raise DataError(
            f"{file}: the box of {len(malformed)} image(s) is none ({few(malformed)}): x and y are numbers from 0,"
            " width and height above 0, in pixels of the picture"
        )
    if missing := sorted(present - boxes.keys()):
        raise DataError(
            f"{file}: no box for {len(missing)} image(s) ({few(missing)}): add a line for each, or remove the image,"
            " and its line in the split"
        )
    return {name: box for name in paths if (box := boxes[name])}


def check_inside(file: Path, boxes: Mapping[str, Box], sizes: Mapping[str, tuple[int, int]]) -> None:
    """Make sure that boxes lie in their pictures.

    Args:
        file: Where they are from.
        boxes: By path.
        sizes: Width and height of each picture in pixels, by path.

    Raises:
        DataError: Naming those that do not.
    """
    outside = [
        f"{path}, {width}x{height}"
        for path, (width, height) in sizes.items()
        if boxes[path].x + boxes[path].width > width or boxes[path].y + boxes[path].height > height
    ]
    if outside:
        raise DataError(
            f"{file}: {len(outside)} box(es) reach outside the picture ({few(outside)}): give them in pixels of the"
            " picture as it is in the folder"
        )


def write_boxes(file: Path, boxes: Mapping[str, Box]) -> None:
    """Write boxes as `read_boxes` takes them.

    Raises:
        DataError: The file cannot be written.
    """
    writer = csv.writer(text := io.StringIO(), lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([path, *astuple(box)] for path, box in boxes.items())
    with writing(file, DataError, "name another file with --out"):
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, text.getvalue().encode())


def find_boxes(data_dir: Path, paths: Sequence[str], home: HomeScale | None) -> dict[str, Box | str]:
    """Find the cell or platelet in the middle of each crop, on all cores.

    A platelet is what is purple where no white cell or erythroblast is found.

    Red cells tell the scale: those of all crops where they agree, else those of the crop, else `home`.

    Args:
        data_dir: Folder with one folder per class.
        paths: Crops, relative to it.
        home: How large red cells are in crops of the usual size.

    Returns:
        By path a box, or why there is none.
    """
    scale = measure_home_scale([data_dir / path for path in paths])

    def search(path: str) -> Box | str:
        try:
            image, _ = read_image(data_dir / path)
            return _box_of(image, scale.red_cell_px if scale else _diameter(image, home))
        except (ImageError, ScaleError) as error:
            return str(error)

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        return dict(zip(paths, pool.map(search, paths), strict=True))
    finally:
        pool.shutdown(cancel_futures=True)  # where it is interrupted, the rest is not read


def _diameter(image: Image, home: HomeScale | None) -> float:
    """Diameter of a red cell in one crop, in pixels."""
    if diameter := red_cell_diameter(image):
        return diameter
    if home is None:
        raise ScaleError("no red cells are seen in it to take the scale from")
    height, width = image.shape[:2]
    return home.red_cell_px * (width * height / (home.crop_width * home.crop_height)) ** 0.5


def _box_of(image: Image, diameter: float) -> Box | str:
    """Box of the cell in the middle of a crop, else of the platelet there; one beside the middle is another cell."""
    cells = _nearest(_cells(image, diameter), image, 0)
    return cells or _nearest(_stained(image, diameter), image, BESIDE * diameter) or NOTHING_FOUND


def _nearest(boxes: Iterable[Box], image: Image, beside: float) -> Box | None:
    """The box whose middle is nearest to that of a crop, of those that reach it but for a number of pixels."""
    x, y = image.shape[1] / 2, image.shape[0] / 2

    def reaches(box: Box) -> bool:
        across, down = x - box.x, y - box.y
        return -beside <= across <= box.width + beside and -beside <= down <= box.height + beside

    def distance(box: Box) -> float:
        return math.dist((box.x + box.width / 2, box.y + box.height / 2), (x, y))

    return min(filter(reaches, boxes), key=distance, default=None)


def _cells(image: Image, diameter: float) -> list[Box]:
    """Boxes of the white cells and erythroblasts of a crop."""
    return [Box(cell.x, cell.y, cell.w, cell.h) for cell in find(image, diameter).cells]


def _stained(image: Image, diameter: float) -> list[Box]:
    """Boxes of all that is purple in a crop, of any size."""
    stain = stain_of(image, diameter, background(image))
    weak = cytoplasm(stain, purple(stain, diameter), diameter)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(weak)
    return [Box(*sides) for sides in np.asarray(boxes)[1:, :4].tolist()]


def _box(row: Mapping[str, str]) -> Box | None:
    """The box of a row of the file; None where it is none."""
    try:
        box = Box(*(float(row[name]) for name in COLUMNS[1:]))
    except ValueError:
        return None
    within = math.isfinite(box.x + box.y + box.width + box.height) and min(box.x, box.y) >= 0
    return box if within and min(box.width, box.height) > 0 else None
