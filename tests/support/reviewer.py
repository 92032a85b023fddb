"""A reviewer at work: a small slide, and files of corrections as the page saves them."""

import csv
import shutil
from pathlib import Path

from fakes import FakeBackend

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.fields.reading import FieldSearch
from cartcls.runtime.ledger.folder import existing_ledger, open_ledger
from cartcls.runtime.reports.corrections import COLUMNS
from cartcls.runtime.slides.batch import classify_slide


def make_slide(cells: Path, folder: Path, count: int = 8) -> Path:
    """A slide of some cells, of which the fake backend says eosinophil, a repeated one, and an unreadable one."""
    folder.mkdir()
    for file in sorted(cells.glob("*.jpg"))[:count]:
        shutil.copy(file, folder / file.name)
    shutil.copy(folder / "cell-01.jpg", folder / "z-again.jpg")
    (folder / "z-junk.jpg").write_bytes(b"junk")
    return folder


def classify(
    folder: Path,
    bundle: Bundle,
    told: list[str] | None = None,
    fields: FieldSearch | None = None,
    backend: FakeBackend | None = None,
) -> Path:
    """Classify a slide; the reports are beside it."""
    out = folder.parent / "out"
    with open_ledger(out, bundle) as ledger:
        notify = (told if told is not None else []).append
        classify_slide(folder, out, Classifier(bundle, backend or FakeBackend(), fields=fields), ledger, notify=notify)
    return out


def corrections(out: Path, *changes: tuple[int, str], **others: str) -> Path:
    """A file of corrections of the one slide, with other values where they are given."""
    file = out.parent / "corrections.csv"
    with existing_ledger(out) as (ledger, bundle):
        (slide,) = ledger.slides()
        present = {cell.seq: cell for cell in slide.cells()}
        with file.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, COLUMNS)
            writer.writeheader()
            for seq, to in changes:
                cell = present.get(seq, present[1])
                row = {
                    "report": slide.slide.report,
                    "slide": slide.slide.name,
                    "bundle_sha256": bundle.sha256,
                    "seq": seq,
                }
                writer.writerow(row | {"sha256": cell.sha256, "from": cell.present_label, "to": to} | others)
    return file
