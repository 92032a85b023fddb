"""Which cells the CPU computes twice, and how far 8 bits change an answer: the graph in 8 bits and in float32.

    python benchmarks/rounding.py DATA

DATA holds `pbc-all`, the class folders that splits/pbc-all.csv was made of, and `foreign`, the sets of
splits/foreign.csv, of which the halves to choose by are used. Writes docs/results/rounding.md.
"""

import argparse
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
from outputs import choose_halves

from cartcls.calibration.split import read_split
from cartcls.runtime.bundle.bundle import INT8_MODEL, Bundle, load_bundle
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.inference.openvino_backend import F32, MARGIN, OpenVINOBackend
from cartcls.runtime.inference.predictions import softmax

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "rounding.md"
PARTS = ("select", "calibrate")

Logits = npt.NDArray[np.float32]


def both(files: Sequence[Path], bundle: Bundle) -> tuple[Logits, Logits]:
    """Logits of the 8-bit graph alone and of the float32 graph, (N, K) each."""
    backends = [OpenVINOBackend(model, F32) for model in (bundle.file(INT8_MODEL).read(), bundle.model)]
    found: tuple[list[Logits], list[Logits]] = [], []
    for file in files:
        image = bundle.graph_input(read_image(file)[0])[None]
        for logits, backend in zip(found, backends, strict=True):
            logits.append(backend.infer(image).logits[0])
    return np.stack(found[0]), np.stack(found[1])


def row(name: str, rounded: Logits, exact: Logits) -> str:
    """One line of the table."""
    before, after = softmax(rounded), softmax(exact)
    second, first = np.sort(before)[:, -2:].T
    margin, difference = first - second, np.abs(before - after).max(1)
    changed = rounded.argmax(1) != exact.argmax(1)
    kept = margin >= MARGIN
    values = [
        name,
        f"{len(margin)}",
        f"{100 * (~kept).mean():.1f} %",
        f"{100 * (first < 0.8).mean():.1f} %",
        f"{changed.sum()}",
        f"{margin[changed].max():.2f}" if changed.any() else "–",
        f"{difference.max():.3f}",
        f"{difference[kept].max():.3f}",
    ]
    return f"| {' | '.join(values)} |"


def main(data: Path) -> None:
    """Compute everything twice, and write the page."""
    bundle = load_bundle()
    split = read_split(ROOT / "splits" / "pbc-all.csv")
    home = {part: [data / "pbc-all" / path for path in split.paths(part)] for part in PARTS}
    rows = [row(name, *both(files, bundle)) for name, files in (home | choose_halves(data)).items()]
    lines = [
        "# Which cells are computed twice",
        "",
        f"    python benchmarks/rounding.py DATA        # {date.today()}",
        "",
        f"{bundle.name} (`bundle.json` {bundle.sha256[:16]}…). `int8 + f32 where unsure` computes cells again in"
        f" float32 whose two most probable classes are nearer than {MARGIN} (before calibration). Of the foreign sets,"
        " the halves to choose by. Margin: between these two classes, by 8 bits. Δp: the largest change of a"
        " probability.",
        "",
        "| cells | number | computed twice | by the rule before (confidence below 0.8) | labels that 8 bits change"
        " | largest margin of these | Δp by 8 bits | Δp that is left |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
    ]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    main(parser.parse_args().data)
