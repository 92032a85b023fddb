"""How many cells are found in whole fields, how many are classified right after that, and how long it takes.

    python benchmarks/fields.py DATA --pictures FOLDER

DATA holds bccd/{images,annotations} and pbc-all (which splits/pbc-all.csv was made of). FOLDER takes pictures of every
false hit and every missed cell of BCCD, to be looked at. The page goes to docs/results/fields.md.
"""

import argparse
import csv
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import mean
from xml.etree import ElementTree

import cv2
import numpy as np
from mosaic import HOME_DIAMETER, Mosaic, mosaic, scaled
from overlap import section as overlapping
from touching import section as touching

from cartcls.calibration.natural import NATURAL
from cartcls.calibration.split import class_of, read_split
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.fields.cut import cut
from cartcls.runtime.fields.find import FINDER_VERSION, Field, Found, find
from cartcls.runtime.fields.scale import red_cell_diameter, slide_diameter
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.resize import Image
from cartcls.runtime.statistics import wilson_interval

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results" / "fields.md"
PART = "select"
SIZES, COLUMNS = (12, 20, 24, 40), (4, 5, 6, 8)  # cells of the made-up fields
SCALES = (0.5, 1.0, 1.34)
SEED = 0
NO_CELLS = {"BloodImage_00040", "BloodImage_00041", "BloodImage_00110", "BloodImage_00290"}
"""Fields whose hit without a label is no cell, or too narrow a strip at the border to tell; the others' are cells."""
REPEATS = 4  # fields of BCCD in each direction, that make one of 5 megapixels

Box = tuple[float, float, float, float]  # left, upper, right, lower


@dataclass(frozen=True)
class Scored:
    """One field of BCCD: how labelled and found boxes go together.

    Attributes:
        name: Of the field.
        labelled: Number of boxes of white cells.
        found: How many of them hold the middle of a found box, each of another one.
        overlapping: How many of these share at least half of their union.
        false: Found boxes that belong to none.
        missed: Labelled boxes without a found one.
    """

    name: str
    labelled: int
    found: int
    overlapping: int
    false: list[Box]
    missed: list[Box]


def main() -> None:
    """Measure everything, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=Path, required=True)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    home = options.data / "pbc-all"
    lines = [*_head(load_bundle()), *bccd(options.data / "bccd", options.pictures), *mosaics(home), *_touching(home)]
    lines += overlapping(options.data / "bccd" / "images")
    _, heading, others = PAGE.read_text(encoding="utf-8").partition("\n## Large pictures\n")  # by other scripts
    PAGE.write_text("\n".join(lines) + "\n" + heading + others, encoding="utf-8")
    print("\n".join(lines))


def _head(bundle: Bundle) -> list[str]:
    return [
        "# Cells found in whole fields",
        "",
        f"    python benchmarks/fields.py DATA --pictures FOLDER        # {date.today()}",
        "",
        f"Finder {FINDER_VERSION}, {bundle.name} (`bundle.json` {bundle.sha256[:16]}…) by openvino"
        f" ({bundle.cpu_precision}). White cells and erythroblasts are searched, platelets are not.",
    ]


def bccd(folder: Path, pictures: Path) -> list[str]:
    """Tables of BCCD: what is found with one scale for all fields, and with one for each; and the time."""
    names = sorted(path.stem for path in (folder / "annotations").glob("*.xml"))
    images = [read_image(folder / "images" / f"{name}.jpg")[0] for name in names]
    labels = [_labelled(folder / "annotations" / f"{name}.xml") for name in names]
    own = [red_cell_diameter(image) for image in images]
    slide = slide_diameter(own)
    rows, scored = [], list[Scored]()
    for title, diameters in (
        ("median of all", [slide] * len(own)),
        ("each field's own", [one or slide for one in own]),
    ):
        fields = [find(image, diameter) for image, diameter in zip(images, diameters, strict=True)]
        found = [score(*args) for args in zip(names, labels, fields, strict=True)]
        rows.append(_row(title, found))
        scored = scored or found
        if found is scored:
            _draw(pictures, images, scored, fields, labels)
    return [
        "",
        "## BCCD",
        "",
        f"{len(images)} fields of 640×480 pixels, another laboratory's stain and camera; red cells of {slide:.0f}"
        f" pixels ({min(filter(None, own)):.0f} to {max(filter(None, own)):.0f} by single fields).",
        "",
        "| scale | white cells | middle in the box | IoU ≥ 0.5 | precision | no label | no cells, per field |",
        "|" + "---|" * 7,
        *rows,
        "",
        f"Hits without a label were looked at: of {sum(len(one.false) for one in scored)} with one scale,"
        f" {_no_cells(scored)} are no cell, or strips at the border too narrow to tell; the others are cells that BCCD"
        " does not label.",
        "",
        *_by_kind(scored),
        "",
        *_times(images, slide),
    ]


def _labelled(file: Path) -> list[Box]:
    """Boxes of the white cells of a field."""
    boxes = [
        found.find("bndbox") for found in ElementTree.parse(file).iter("object") if found.findtext("name") == "WBC"
    ]
    sides = ("xmin", "ymin", "xmax", "ymax")
    rows = [[float(box.findtext(side) or 0) for side in sides] for box in boxes if box is not None]
    return [(left, upper, right, lower) for left, upper, right, lower in rows]


def score(name: str, labels: list[Box], field: Field) -> Scored:
    """Put labelled and found boxes together, those first that share the most."""
    boxes = [_box(cell) for cell in field.cells]
    pairs = [
        (_iou(box, label), i, j)
        for i, box in enumerate(boxes)
        for j, label in enumerate(labels)
        if label[0] <= (box[0] + box[2]) / 2 <= label[2] and label[1] <= (box[1] + box[3]) / 2 <= label[3]
    ]
    used: dict[int, tuple[int, float]] = {}
    for shared, i, j in sorted(pairs, reverse=True):
        if j not in used and i not in {i for i, _ in used.values()}:
            used[j] = i, shared
    hits = {i for i, _ in used.values()}
    return Scored(
        name=name,
        labelled=len(labels),
        found=len(used),
        overlapping=sum(shared >= 0.5 for _, shared in used.values()),
        false=[box for i, box in enumerate(boxes) if i not in hits],
        missed=[label for j, label in enumerate(labels) if j not in used],
    )


def _box(cell: Found) -> Box:
    return cell.x, cell.y, cell.x + cell.w, cell.y + cell.h


def _iou(one: Box, other: Box) -> float:
    """Area that two boxes share, of their union's."""
    wide, high = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    shared = max(0.0, wide) * max(0.0, high)
    return shared / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared)


def _no_cells(scored: Sequence[Scored]) -> int:
    return sum(len(one.false) for one in scored if one.name in NO_CELLS)


def _row(title: str, scored: Sequence[Scored]) -> str:
    labelled, found, overlapping = (
        sum(getattr(one, key) for one in scored) for key in ("labelled", "found", "overlapping")
    )
    false = sum(len(one.false) for one in scored)
    cells = [str(labelled), _share(found, labelled), _share(overlapping, labelled), f"{found / (found + false):.3f}"]
    return f"| {title} | " + " | ".join([*cells, str(false), f"{_no_cells(scored) / len(scored):.3f}"]) + " |"


def _share(count: int, total: int) -> str:
    low, high = wilson_interval(count, total)
    return f"{count} ({count / total:.1%}; {low:.1%} to {high:.1%})"


def _by_kind(scored: Sequence[Scored]) -> list[str]:
    """A table by kind, where it is known: of fields with one white cell, by the half of the labels to choose by."""
    with (ROOT / "splits" / "foreign.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == "bccd" and row["half"] == "choose"]
    kinds = {Path(row["path"]).stem.rpartition("_")[0]: row["path"].split("/")[0] for row in rows}
    there, found = Counter[str](), Counter[str]()
    for one in (one for one in scored if one.labelled == 1):
        there[kinds.get(one.name, "not told")] += 1
        found[kinds.get(one.name, "not told")] += one.found
    lines = [f"| {kind} | {count} | {found[kind]} |" for kind, count in sorted(there.items())]
    return ["| kind, of fields with one white cell | cells | found |", "|---|---|---|", *lines]


def _draw(
    folder: Path, images: Sequence[Image], scored: Sequence[Scored], fields: Sequence[Field], labels: list[list[Box]]
) -> None:
    """Draw the fields with a false hit or a missed cell on one sheet: labels green, found boxes black."""
    sheet: list[Image] = []
    for image, one, field, known in zip(images, scored, fields, labels, strict=True):
        if not one.false and not one.missed:
            continue
        picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        for color, boxes in (((0, 160, 0), known), ((0, 0, 0), [_box(cell) for cell in field.cells])):
            for left, upper, right, lower in boxes:
                cv2.rectangle(picture, (int(left), int(upper)), (int(right) - 1, int(lower) - 1), color, 3)
        cv2.putText(picture, one.name, (8, 34), cv2.FONT_HERSHEY_SIMPLEX, 1, (0, 0, 200), 2)
        sheet.append(np.asarray(picture, np.uint8))
    if not sheet:
        return
    sheet += [np.zeros_like(sheet[0])] * (-len(sheet) % 4)
    rows = [np.hstack(sheet[i : i + 4]) for i in range(0, len(sheet), 4)]
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(
        str(folder / "bccd.png"), cv2.resize(np.vstack(rows), None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    )


def _times(images: Sequence[Image], diameter: float) -> list[str]:
    """A table of processor time, of one thread: at 0.3 megapixels, and at 5 by fields side by side."""
    lines = ["| pixels of a field | fields | scale, ms | find, ms |", "|---|---|---|---|"]
    whole = REPEATS**2
    wide = [
        np.vstack([np.hstack(images[i + k : i + k + REPEATS]) for k in range(0, whole, REPEATS)])
        for i in range(0, 6 * whole, whole)
    ]
    for fields in (images[:100], wide):
        times = [(_seconds(lambda f=f: red_cell_diameter(f)), _seconds(lambda f=f: find(f, diameter))) for f in fields]
        size = f"{fields[0].shape[1]}×{fields[0].shape[0]}"
        lines.append(f"| {size} | {len(fields)} | {_ms(t[0] for t in times)} | {_ms(t[1] for t in times)} |")
    return lines


def _seconds(work: object) -> float:
    assert callable(work)
    start = time.process_time()
    work()
    return time.process_time() - start


def _ms(seconds: Iterator[float]) -> str:
    return f"{1000 * mean(seconds):.1f}"


def mosaics(folder: Path) -> list[str]:
    """Tables of made-up fields at several magnifications: what is found, and what is right after it is cut out."""
    paths = read_split(ROOT / "splits" / "pbc-all.csv").paths(PART)
    random = np.random.default_rng(SEED)
    even = {name: 1 / 7 for name in (*NATURAL, "erythroblast")}
    lines: list[str] = []
    with Classifier(load_bundle(), "openvino") as classifier:
        for title, mix in (("natural mix", NATURAL), ("as many of each class", even)):
            chosen = _drawn(paths, mix, random)
            crops = [read_image(folder / path)[0] for path in chosen]
            truth = [class_of(path) for path in chosen]
            alone = [found.label for found in classifier.predict([folder / path for path in chosen])]
            right = sum(label == true for label, true in zip(alone, truth, strict=True))
            lines.append(f"| {title}: the crops | {len(crops)} | | | {right} | | |")
            made = _fields(crops, random)
            lines += [_mosaic_row(title, scale, made, truth, classifier) for scale in SCALES]
    return [
        "",
        "## Made-up fields",
        "",
        f"Crops of `{PART}` in fields of {', '.join(map(str, SIZES))} cells, turned by any angle, with red cells of the"
        " same crops between them; one scale for the four fields of a magnification, from their red cells. `not scaled`"
        " is the same boxes, cut out as they are. Other cells are those that the crops show beside their own. The"
        " natural mix needs 57 of 49 neutrophils: eight lie there twice, turned otherwise.",
        "",
        "| fields | cells | found | other cells | right | right, not scaled | flagged; may be two |",
        "|" + "---|" * 7,
        *lines,
    ]


def _touching(folder: Path) -> list[str]:
    random = np.random.default_rng(SEED)
    paths = [path for path in read_split(ROOT / "splits" / "pbc-all.csv").paths(PART) if class_of(path) != "platelet"]
    return touching([read_image(folder / paths[i])[0] for i in random.permutation(len(paths))], random)


def _drawn(paths: Sequence[str], mix: dict[str, float], random: np.random.Generator) -> list[str]:
    """As many paths as there are places, in a mix of classes, in random order."""
    total = sum(SIZES)
    wanted = {name: share * total for name, share in mix.items()}
    counts = {name: int(count) for name, count in wanted.items()}
    for name in sorted(wanted, key=lambda name: counts[name] - wanted[name])[: total - sum(counts.values())]:
        counts[name] += 1
    chosen: list[str] = []
    for name, count in counts.items():
        own = [path for path in paths if class_of(path) == name]
        chosen += [own[i] for i in (*random.permutation(len(own)), *random.permutation(len(own)))][:count]
    return [chosen[i] for i in random.permutation(total)]


def _fields(crops: Sequence[Image], random: np.random.Generator) -> list[Mosaic]:
    starts = np.cumsum([0, *SIZES]).tolist()
    parts = [crops[start : start + size] for start, size in zip(starts, SIZES, strict=False)]
    return [mosaic(part, columns, random) for part, columns in zip(parts, COLUMNS, strict=True)]


def _mosaic_row(title: str, scale: float, made: Sequence[Mosaic], truth: Sequence[str], classifier: Classifier) -> str:
    fields = [scaled(one, scale) for one in made]
    diameter = slide_diameter([red_cell_diameter(one.image) for one in fields])
    cells: list[Found | None] = []
    crops: dict[bool, list[Image]] = {True: [], False: []}
    others = 0
    for one in fields:
        field = find(one.image, diameter)
        at = [_nearest(field.cells, middle, diameter) for middle in one.middles]
        others += len(field.cells) - len({cell for cell in at if cell})
        cells += at
        for is_scaled, own in ((True, diameter), (False, HOME_DIAMETER)):
            sizes = HOME_DIAMETER, classifier.bundle.width, classifier.bundle.height
            crops[is_scaled] += [cut(one.image, cell, own, field.empty, *sizes) for cell in at if cell]
    true = [name for name, cell in zip(truth, cells, strict=True) if cell]
    answers = {key: list(classifier.predict(images)) for key, images in crops.items()}
    right = [sum(a.label == t for a, t in zip(answers[key], true, strict=True)) for key in (True, False)]
    flagged = sum(answer.status == "review" for answer in answers[True])
    joined = sum(cell.joined for cell in cells if cell)
    counts = [len(cells), len(true), others, *right, f"{flagged}; {joined}"]
    return f"| {title} at ×{scale:g} | " + " | ".join(map(str, counts)) + " |"


def _nearest(cells: Sequence[Found], middle: tuple[float, float], diameter: float) -> Found | None:
    """The cell at a place, within a red cell's diameter."""
    gaps = [(float(np.hypot(cell.middle[0] - middle[0], cell.middle[1] - middle[1])), cell) for cell in cells]
    gap, near = min(gaps, key=lambda one: one[0], default=(0.0, None))
    return near if gap <= diameter else None


if __name__ == "__main__":
    main()
