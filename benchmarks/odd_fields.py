"""What `cartcls batch --fields` and `cartcls find` say of fields that are not as they should be.

    python benchmarks/odd_fields.py DATA --folder FOLDER

DATA holds bccd/images. FOLDER takes the slides that are made, and their reports. The section goes into
docs/results/fields.md, in the place of an earlier one.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.resize import Image

Pixels = Image | npt.NDArray[np.uint16]

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results" / "fields.md"
HEADING = "## Odd fields"
USUAL = 3  # ordinary fields beside the odd ones, which give the slide its scale
NEEDED = 6  # others that the odd ones are made of
ALONE = ("thick smear", "blue tint", "red cells only", "red cells of 3 px", "one crop")
"""Fields that are also slides of their own, in which no ordinary field gives the scale."""
THIN = ("1 px high", "1 px wide")


def main() -> None:
    """Make the slides, run both commands, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    images = sorted((options.data / "bccd" / "images").iterdir())
    fields = [read_image(path)[0] for path in images[1 : 1 + USUAL + NEEDED]]
    usual, odd = fields[:USUAL], odd_fields(fields[USUAL:])
    ordinary: dict[str, Pixels] = {f"ordinary {i}": field for i, field in enumerate(usual, 1)}
    thin = {name: odd.pop(name) for name in THIN}
    slides = {"beside ordinary ones": ordinary | odd, "thin ones": ordinary | thin}
    slides |= {f"{name}, alone": {name: odd[name]} for name in ALONE}
    slides["no red cells anywhere"] = {name: odd[name] for name in ("empty glass", "inverted", "out of focus")}
    lines = []
    for slide, fields in slides.items():
        lines += _rows(slide, write(options.folder / slide, fields), options.folder, "--fields")
    single = write(options.folder / "without --fields", {"a field": usual[0]})
    lines += _rows("without --fields", single, options.folder)
    keep_section(lines)
    print("\n".join(lines))


def odd_fields(fields: list[Image]) -> dict[str, Pixels]:
    """Fields that are not as they should be, by what they are; RGB, uint8, one uint16, (H, W, 3).

    Each is made of others, so that none shows the same place as another one.
    """
    first, second, tinted, blurred, dark, deep = fields
    glass = np.full_like(first, np.percentile(first.reshape(-1, 3), 95, axis=0).astype(np.uint8))
    red, size = _red_cells_only(first), (first.shape[1] // 31, first.shape[0] // 31)
    tiny = np.asarray(cv2.resize(first, size, interpolation=cv2.INTER_AREA), np.uint8)
    thick = (first.astype(np.uint16) * second // 255).astype(np.uint8)
    return {
        "empty glass": glass,
        "red cells only": red,
        "thick smear": thick,
        "blue tint": (tinted * np.array([0.7, 0.85, 1.0])).astype(np.uint8),
        "out of focus": np.asarray(cv2.GaussianBlur(blurred, (0, 0), 12), np.uint8),
        "inverted": np.asarray(255 - dark, np.uint8),
        "1 px high": np.ascontiguousarray(np.resize(first[:1], (1, 10_000, 3))),
        "1 px wide": np.ascontiguousarray(np.resize(first[:, :1], (10_000, 1, 3))),
        "one crop": _crop(),
        "16 bits": deep.astype(np.uint16) * 257,
        "red cells of 3 px": np.tile(tiny, (20, 20, 1)),
    }


def _red_cells_only(field: Image) -> Image:
    """The least purple quarter of a field, four times."""
    height, width = (size // 2 for size in field.shape[:2])
    quarters = [field[y : y + height, x : x + width] for y in (0, height) for x in (0, width)]
    quarter = min(quarters, key=lambda part: float(np.percentile(part[..., 2].astype(int) - part[..., 1], 99)))
    return np.ascontiguousarray(np.tile(quarter, (2, 2, 1)))


def _crop() -> Image:
    return read_image(min((ROOT / "examples" / "tests" / "slide-01").glob("*.jpg")))[0]


def write(folder: Path, fields: Mapping[str, Pixels]) -> Path:
    """Write fields as PNG files of a slide."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, field in fields.items():
        if not cv2.imwrite(str(folder / f"{name}.png"), cv2.cvtColor(field, cv2.COLOR_RGB2BGR)):
            raise OSError(f"{name} cannot be written")
    return folder


def _rows(slide: str, folder: Path, root: Path, *options: str) -> list[str]:
    """Lines of the table: what each file of a slide became."""
    out = root / f"out {slide}"
    done = _cartcls("batch", folder, *options, "--out", out, "--fresh", "--backend", "openvino")
    searched = {}
    if options:
        files = sorted(folder.iterdir())
        looked = _cartcls("find", *files, "--out", root / f"copies {slide}", "--json")
        searched = _by_find(looked, files)
    table = out / folder.name / "cells.csv"
    if done.returncode not in (0, 3) or not table.exists():
        return [f"| {slide} | all | exit {done.returncode} | {_last(done.stderr)} | | {_short(searched)} |"]
    rows: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    with table.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            rows[row["path"]].append(row)
    lines = []
    for path, cells in rows.items():
        status = ", ".join(dict.fromkeys(cell["status"] for cell in cells))
        reasons = dict.fromkeys(
            re.sub(r" \(.*?\)", "", reason) for cell in cells for reason in cell["reason"].split("; ") if reason
        )
        count = sum(bool(cell["x"]) for cell in cells) if options else len(cells)
        lines.append(
            f"| {slide} | {path.removesuffix('.png')} | {status} | {'; '.join(reasons)} | {count} |"
            f" {searched.get(path, '')} |"
        )
    return lines


def _cartcls(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cartcls.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _by_find(done: subprocess.CompletedProcess[str], files: list[Path]) -> dict[str, str]:
    """What `cartcls find` says of each file: its number of cells, or why there is none."""
    said = {}
    if done.stdout:
        said = {Path(field["image"]).name: str(len(field["cells"])) for field in json.loads(done.stdout)["fields"]}
    for file in files:
        told = [line.partition(f"{file} ")[2] for line in done.stderr.splitlines() if f"error: {file} " in line]
        said.setdefault(file.name, (told or [_last(done.stderr)])[0])
    return said


def _short(searched: dict[str, str]) -> str:
    return "; ".join(dict.fromkeys(searched.values()))


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["nothing"])[-1].removeprefix("error: ")


def keep_section(lines: list[str]) -> None:
    """Write the section into the page."""
    before = PAGE.read_text(encoding="utf-8").partition(HEADING)[0].rstrip()
    head = [
        f"    python benchmarks/odd_fields.py DATA --folder FOLDER        # {date.today()}",
        "",
        f"Made of fields of BCCD. {USUAL} ordinary fields give the first two slides their scale; the others have none."
        " Figures in the reasons are left out.",
        "",
        "| slide | field | `batch`: status | reasons | cells | `find`: cells |",
        "|---|---|---|---|---|---|",
    ]
    PAGE.write_text("\n".join([before, "", HEADING, "", *head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
