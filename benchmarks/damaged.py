"""480 damaged JPEGs that must not be `ok`, 2,000 whole ones that must be read, and what strict decoding costs.

    python benchmarks/damaged.py DATA_DIR

The table goes to docs/results/damaged.md. All are processor times, so that other processes do not count.
"""

import io
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import PIL.Image

from cartcls.calibration.split import read_split
from cartcls.runtime import Classifier
from cartcls.runtime.errors import ImageError
from cartcls.runtime.images.decode import decode
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.slides.batch import classify_slide

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "damaged.md"
CELLS, WHOLE, BATCH, SEED, LIMIT = 12, 2000, 400, 0, 0.05
PLACES, HOLE, SECTOR = 13, 700, 512
SCAN = re.compile(rb"\xff\xda\x00[\x08-\x0c]")
END = b"\xff\xd9"


def main(data_dir: Path) -> None:
    """Damage, decode, classify, and time."""
    chosen = random.Random(SEED).sample(read_split(ROOT / "splits" / "pbc.csv").paths("fit"), WHOLE)
    files = [data_dir / path for path in chosen]
    classifier = Classifier()
    with tempfile.TemporaryDirectory(prefix="cartcls-damaged-") as work:
        found = _judge(files[:CELLS], Path(work), classifier)
        refused, strict, pillow = _read(files)
        with classifier:
            batch = _time_of_batch(files[:BATCH], Path(work), classifier)
    kinds = sorted({kind for kind, _ in found})
    lines = [
        "# Damaged JPEGs",
        "",
        f"    python benchmarks/damaged.py DATA_DIR        # {date.today()}",
        "",
        f"{CELLS} crops of the part `fit`, each damaged in {sum(found.values()) // CELLS} ways, and what becomes of"
        " them with the shipped bundle.",
        "",
        "| damage | files | rejected | review | ok |",
        "|---|---|---|---|---|",
    ]
    for kind in kinds:
        counts = [found[kind, status] for status in ("rejected", "review", "ok")]
        lines.append(f"| {kind} | {sum(counts)} | {' | '.join(map(str, counts))} |")
    passed = sum(found[kind, "ok"] for kind in kinds)
    more = (strict - pillow) / batch
    lines += [
        f"| all | {sum(found.values())} | {sum(found[kind, 'rejected'] for kind in kinds)} |"
        f" {sum(found[kind, 'review'] for kind in kinds)} | **{passed}** |",
        "",
        f"Of {WHOLE} whole crops of `fit`, **{refused}** are refused. Reading one, with all checks, takes"
        f" {1000 * strict:.2f} ms of processor time; Pillow alone, which hides the damage, {1000 * pillow:.2f} ms,"
        f" alternately in the same run: **{strict / pillow:.2f} times**. `cartcls batch` takes {1000 * batch:.1f} ms"
        f" for each: the checks change it by **{more:+.1%}** (limit {LIMIT:.0%}).",
    ]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    sys.exit(bool(passed or refused or more > LIMIT))


def damages(jpeg: bytes) -> Iterator[tuple[str, bytes]]:
    """Damage a JPEG file in 40 ways."""
    start, end = _coded(jpeg)
    for share in (0.5, 0.6, 0.7, 0.8, 0.9):
        yield "cut, with an end marker", jpeg[: start + int((end - start) * share)] + END
    for number in range(PLACES):
        at = start + (end - start - HOLE) * (number + 1) // (PLACES + 1)
        yield f"{HOLE} bytes missing", jpeg[:at] + jpeg[at + HOLE :]
        at = -(-at // SECTOR) * SECTOR
        yield f"sector of {SECTOR} zeros", (jpeg[:at] + bytes(SECTOR) + jpeg[at + SECTOR :])[:end] + jpeg[end:]
    file = io.BytesIO()
    with PIL.Image.open(io.BytesIO(jpeg)) as image:
        image.save(file, "JPEG", quality=95, progressive=True)
    for scan in list(SCAN.finditer(file.getvalue()))[1:]:
        yield "progressive, ends after some of its scans", file.getvalue()[: scan.start()] + END


def _coded(jpeg: bytes) -> tuple[int, int]:
    """Where the coded data of a JPEG with one scan begin and end."""
    (scan,) = SCAN.finditer(jpeg)
    return scan.end() - 2 + int.from_bytes(jpeg[scan.start() + 2 : scan.end()], "big"), jpeg.rindex(END)


def _judge(files: list[Path], work: Path, classifier: Classifier) -> Counter[tuple[str, str]]:
    """Count what becomes of damaged cells, by kind of damage and status."""
    kinds: dict[Path, str] = {}
    for file in files:
        for number, (kind, data) in enumerate(damages(file.read_bytes())):
            path = work / f"{file.stem}-{number:02d}.jpg"
            path.write_bytes(data)
            kinds[path] = kind
    return Counter(
        (kind, prediction.status) for kind, prediction in zip(kinds.values(), classifier.predict(kinds), strict=True)
    )


def _read(files: list[Path]) -> tuple[int, float, float]:
    """Read whole cells with the checks and by Pillow alone: number of those refused, seconds for each both ways."""
    refused, strict, pillow = 0, 0.0, 0.0
    for file in files:
        data = file.read_bytes()
        started = time.process_time()
        try:
            decode(data)
        except ImageError as error:
            refused += 1
            print(f"{file} {error}", file=sys.stderr)
        between = time.process_time()
        with PIL.Image.open(io.BytesIO(data)) as image:
            np.asarray(image.convert("RGB"))
        strict, pillow = strict + between - started, pillow + time.process_time() - between
    return refused, strict / len(files), pillow / len(files)


def _time_of_batch(files: list[Path], work: Path, classifier: Classifier) -> float:
    """Seconds of processor time that `cartcls batch` takes for a cell."""
    crops = work / "crops"
    crops.mkdir()
    for number, file in enumerate(files):
        shutil.copyfile(file, crops / f"{number:05d}.jpg")
    with open_ledger(work / "out", classifier.bundle) as ledger:
        started = time.process_time()
        classify_slide(crops, work / "out", classifier, ledger)
        return (time.process_time() - started) / len(files)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
