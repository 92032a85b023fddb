"""The networks of two further papers beside ResNet18, on `report`: right answers, and boxes beside those drawn by hand.

    python benchmarks/sisters.py PBC CHECKPOINT [CHECKPOINT ...]

PBC holds the class folders that splits/pbc.csv was made of; the checkpoints are of `cartcls train fit` on its `fit`.
The boxes of benchmarks/hand_boxes.csv were drawn by eye on 50 enlarged crops, before any network's were seen; they
hold the whole cell, with pale cytoplasm and what sticks out of it. The last row has the boxes of `cartcls train boxes`.
Prints a table.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from cartcls.calibration.boxes import Box, find_boxes, read_boxes
from cartcls.calibration.groups import read_csv
from cartcls.calibration.metrics import classification_metrics
from cartcls.calibration.split import read_split
from cartcls.runtime.bundle.bundle import load_bundle
from cartcls.runtime.statistics import Z95
from cartcls.train.checkpoint import Checkpoint, load_checkpoint, predict
from cartcls.train.images import load_images
from cartcls.train.models.base import normalize
from cartcls.train.models.marzahl import Marzahl

ROOT = Path(__file__).resolve().parent.parent
SPLIT, HAND = ROOT / "splits" / "pbc.csv", ROOT / "benchmarks" / "hand_boxes.csv"

Boxes = dict[str, Box]


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes."""
    across = min(first.x + first.width, second.x + second.width) - max(first.x, second.x)
    down = min(first.y + first.height, second.y + second.height) - max(first.y, second.y)
    common = max(0.0, across) * max(0.0, down)
    return common / (first.width * first.height + second.width * second.height - common)


def boxes_of(model: Marzahl, size: tuple[int, int], data_dir: Path, paths: list[str]) -> Boxes:
    """Boxes that a network gives, in pixels of the pictures."""
    cells = load_images(data_dir, paths, sorted({path.split("/")[0] for path in paths}), size)
    with torch.inference_mode():
        _, boxes = model.class_and_box(normalize(torch.from_numpy(cells.images)))
    shares = ((boxes + 1) / 2).numpy() * np.tile(cells.sizes, 2)  # centre and size
    return {path: Box(x - w / 2, y - h / 2, w, h) for path, (x, y, w, h) in zip(paths, shares.tolist(), strict=True)}


def mean_overlap(boxes: Boxes, hand: Boxes) -> str:
    """Mean overlap with the boxes drawn by hand, and its 95 % interval; a cell without a box has none."""
    values: npt.NDArray[np.float64] = np.array([overlap(boxes[p], hand[p]) if p in boxes else 0.0 for p in hand])
    margin = Z95 * values.std(ddof=1) / len(values) ** 0.5
    return (
        f"{values.mean():.3f} ({values.mean() - margin:.3f} to {values.mean() + margin:.3f}), least {values.min():.2f}"
    )


def row(checkpoint: Checkpoint, data_dir: Path, hand: Boxes) -> str:
    """A row of the table."""
    cells = load_images(data_dir, read_split(SPLIT).paths("report"), checkpoint.classes, checkpoint.image_size)
    found = classification_metrics(cells.labels, predict(checkpoint.model, cells.images), checkpoint.classes)
    boxes = "–"
    if isinstance(checkpoint.model, Marzahl):
        boxes = mean_overlap(boxes_of(checkpoint.model, checkpoint.image_size, data_dir, list(hand)), hand)
    low, high = found.top1_interval
    return (
        f"| {checkpoint.arch} | {found.correct} of {found.count} | {found.top1:.2%} | {low:.2%} to {high:.2%}"
        f" | {found.weighted_f1:.4f} | {boxes} |"
    )


def main(data_dir: Path, checkpoints: list[Path]) -> None:
    """Compare, print."""
    hand = read_boxes(HAND, [line["path"] for line in read_csv(HAND)])
    print("| network | right of `report` | top-1 | 95 % interval | weighted F1 | IoU with 50 boxes drawn by hand |")
    print("|---|---|---|---|---|---|")
    for file in checkpoints:
        print(row(load_checkpoint(file), data_dir, hand))
    found = find_boxes(data_dir, list(hand), load_bundle().home_scale)
    boxes = {path: box for path, box in found.items() if isinstance(box, Box)}
    print(f"| `cartcls train boxes` | | | | | {mean_overlap(boxes, hand)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pbc", type=Path)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    options = parser.parse_args()
    main(options.pbc, options.checkpoints)
