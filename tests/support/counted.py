"""Reports of slides with as many cells of each class as a test asks for, without pictures."""

from collections.abc import Mapping
from pathlib import Path

from samples import RUN, a_cell

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.ledger.records import Result


def count_slides(out: Path, bundle: Bundle, slides: Mapping[str, Mapping[str, int]]) -> Path:
    """Make reports in a folder, of slides by name, with numbers of cells by class."""
    with open_ledger(out, bundle) as ledger:
        for name, counts in slides.items():
            slide = ledger.add_slide(b"/captures/" + name.encode(), name)
            slide.begin_run(RUN)
            labels = [label for label, count in counts.items() for _ in range(count)]
            paths = [b"%d.jpg" % seq for seq in range(1, len(labels) + 1)]
            slide.discover(paths)
            images = slide.images()
            cells = [a_cell(seq, label) for seq, label in enumerate(labels, 1)]
            slide.report(
                [Result(images[path], "reported", None, [cell]) for path, cell in zip(paths, cells, strict=True)]
            )
    return out
