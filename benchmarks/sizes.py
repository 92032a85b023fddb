"""How small the input of each network of the shipped bundle may be, with its weights as they are.

    python benchmarks/sizes.py DATA

DATA holds `pbc`, the class folders that splits/pbc.csv was made of, and `foreign`, the sets of splits/foreign.csv, of
which only the halves to choose by are read. Prints two tables in Markdown, of all eight labels.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from outputs import choose_halves

from cartcls.calibration.split import read_split
from cartcls.runtime.bundle.bundle import SHIPPED
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.resize import stretch
from cartcls.train.checkpoint import predict
from cartcls.train.models.build import build
from cartcls.train.start import read_start, start_from

ROOT = Path(__file__).resolve().parent.parent
MEMBERS = {
    "rcmnet": (360, 320, 290, 274, 258, 256, 224, 192),
    "efficientnet_lite0": (180, 160, 145, 137, 129, 128, 112),
    "efficientnet_lite2": (180, 160, 145, 137, 129, 128, 112),
}
TOGETHER = (
    (360, 180),
    (320, 160),
    (290, 145),
    (274, 145),
    (274, 137),
    (258, 145),
    (258, 129),
    (256, 145),
    (256, 128),
    (224, 145),
    (224, 112),
    (192, 145),
)
SET = "select"

Cells = dict[str, list[Path]]
Logits = npt.NDArray[np.float32]


def logits_of(arch: str, size: int, cells: Cells) -> dict[str, Logits]:
    """What a network says of all cells at an input size, (N, K) by set."""
    start = read_start(SHIPPED, arch)
    network = build(arch, len(start.classes), (size, size))
    start_from(network, arch, start.classes, start)
    network.eval()
    found = {}
    for name, files in cells.items():
        images = np.stack([stretch(read_image(file)[0], size, size) for file in files])
        found[name] = predict(network, images)
    return found


def row(what: list[str], logits: dict[str, Logits], cells: Cells, classes: list[str]) -> str:
    """One line of a table: how many cells are right."""
    values = []
    for name, files in cells.items():
        labels = np.array([classes.index(file.parent.name) for file in files])
        values.append(f"{(logits[name].argmax(1) == labels).sum()}")
    return f"| {' | '.join(what + values)} |"


def main(data: Path) -> None:
    """Compute, and print."""
    select = [data / "pbc" / path for path in read_split(ROOT / "splits" / "pbc.csv").paths(SET)]
    cells = {SET: select} | choose_halves(data)
    classes = read_start(SHIPPED).classes
    heads = " | ".join(f"{name}, of {len(files)}" for name, files in cells.items())
    print(f"| network | input | {heads} |\n|---|---|{'---|' * len(cells)}")
    found: dict[tuple[str, int], dict[str, Logits]] = {}
    for arch, sizes in MEMBERS.items():
        for size in sizes:
            found[arch, size] = logits_of(arch, size, cells)
            print(row([arch, f"{size}"], found[arch, size], cells, classes), flush=True)
    print(f"\n| RCMNet | the two others | {heads} |\n|---|---|{'---|' * len(cells)}")
    first, *others = MEMBERS
    for large, small in TOGETHER:
        members = [found[first, large], *(found[arch, small] for arch in others)]
        mean = {name: np.mean([member[name] for member in members], 0) for name in cells}
        print(row([f"{large}", f"{small}"], mean, cells, classes), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    main(parser.parse_args().data)
