"""Size and first paint of a report's page, and the share of a run that its updates take.

    python benchmarks/page.py make FOLDER 200 5000 20000     makes reports of that many stub cells, with real pictures
    python benchmarks/page.py paint FOLDER/*/report.html     opens each five times in Chromium, from disk
    python benchmarks/page.py cost CELLS                     classifies that many cells, and times what the page needs
    python benchmarks/page.py picture REPORT.HTML FILE.JPG   takes the README's picture of a report

Stub cells are the 32 of `examples/tests/slide-01`, repeated; labels, confidences and maps are drawn at random.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from clock import time_calls

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.images import thumbnail
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.ledger.ledger import Ledger
from cartcls.runtime.ledger.records import Cell, Result, Run
from cartcls.runtime.reports.page import PAGE, write_pages
from cartcls.runtime.slides import slide
from cartcls.runtime.slides.batch import classify_slide
from cartcls.runtime.slides.pipeline import THUMBNAILS

EXAMPLES = Path(__file__).parent.parent / "examples" / "tests" / "slide-01"
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
SHARES = (0.01, 0.03, 0.02, 0.02, 0.28, 0.07, 0.55, 0.02)  # of the eight classes, about as in blood
CHOOSE = """(() => { const begun = performance.now(); document.querySelectorAll("#labels button")[1].click();
document.body.offsetHeight; return performance.now() - begun; })()"""
ANALYSED_AT = "2026-01-02T03:04:05Z"
UNREADABLE = "is incomplete: the JPEG end marker is missing"
REVIEW = "low confidence ({:.2f} < 0.93)"


def stub_cell(seq: int, bundle: Bundle, random: np.random.Generator) -> Cell:
    """A cell like those of a real slide: nine in ten certain, one in fifty unreadable."""
    if random.random() < 0.02:
        return Cell(seq, f"cell-{seq:05d}.jpg", "rejected", UNREADABLE, ANALYSED_AT)
    index = int(random.choice(len(SHARES), p=SHARES))
    confidence = 0.93 + 0.07 * random.random() if random.random() < 0.9 else 0.4 + 0.53 * random.random()
    probabilities = random.dirichlet(np.full(len(SHARES), 0.3)) * (1 - confidence)
    probabilities[index] += confidence
    best = int(probabilities.argmax())
    unsure = probabilities[best] < 0.93
    return Cell(
        seq,
        f"cell-{seq:05d}.jpg",
        "review" if unsure else "ok",
        REVIEW.format(probabilities[best]) if unsure else "",
        ANALYSED_AT,
        bundle.classes[best].name,
        tuple(probabilities.tolist()),
        f"{THUMBNAILS}/{seq:06d}.jpg",
        f"{seq:064x}",
        360,
        363,
        maps=thumbnail.pack(random.normal(0, 1, (len(SHARES), 12, 12)).astype(np.float32)),
    )


def make(folder: Path, count: int) -> None:
    """Make the report of a slide of stub cells; thumbnails are links to 32 real ones."""
    random, bundle = np.random.default_rng(count), load_bundle()
    directory = folder / f"slide-{count}"
    (directory / THUMBNAILS).mkdir(parents=True)
    pictures = []
    for number, file in enumerate(sorted(EXAMPLES.glob("*.jpg"))):
        small = thumbnail.shrink(read_image(file)[0])
        cam = np.outer(np.hanning(12), np.hanning(12)).astype(np.float32)
        pictures.append(folder / f".{count}-{number}.jpg")
        pictures[-1].write_bytes(thumbnail.thumbnail(small, cam, "", "#7a8796"))
    run = Run(directory.name, str(directory), "stub", "f32", "none", "", ANALYSED_AT)
    with Ledger(folder / f"{count}.sqlite") as ledger:
        ledger.bind(bundle)
        known = ledger.add_slide(os.fsencode(directory), directory.name)
        cells = [stub_cell(seq, bundle, random) for seq in range(1, count + 1)]
        known.discover([os.fsencode(cell.path) for cell in cells])
        known.begin_run(run)
        images = known.images()
        known.report(
            [
                Result(images[os.fsencode(cell.path)], "reported" if cell.label else "rejected", None, [cell])
                for cell in cells
            ]
        )
        for cell in cells:
            if cell.thumbnail:
                os.link(pictures[cell.seq % len(pictures)], directory / cell.thumbnail)
        first = timed(lambda: write_pages(known, bundle, run, directory))
        update = timed(lambda: write_pages(known, bundle, run, directory, [count]))
    sizes = (sum(file.stat().st_size for file in directory.glob(names)) / 1e6 for names in (PAGE, "*/rows*", "*/maps*"))
    page, rows, maps = (f"{size:.2f} MB" for size in sizes)
    print(f"{count} cells: {page} page, {rows} rows, {maps} maps; written in {first:.2f} s, one more in {update:.2f} s")


def timed(function: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def paint(pages: list[Path]) -> None:
    """Open pages in Chromium; print milliseconds to the first paint, to the gallery, and for a filter."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        for page in pages:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            times = []
            for _ in range(5):
                opened = browser.new_page(viewport={"width": 1280, "height": 900})
                opened.goto(page.resolve().as_uri())
                opened.wait_for_selector("body[data-ready]")
                opened.wait_for_timeout(300)
                first = opened.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
                ready = opened.evaluate("Number(document.body.dataset.ready)")
                chosen = opened.evaluate(CHOOSE)
                times.append((first, ready, chosen))
                opened.close()
            browser.close()
            medians = [statistics.median(column) for column in zip(*times, strict=True)]
            print(f"{page}: first paint {medians[0]:.0f} ms, gallery {medians[1]:.0f} ms, filter {medians[2]:.0f} ms")


def picture(page: Path, file: Path) -> None:
    """Take a screenshot of the upper part of a report."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = browser.new_page(viewport={"width": 1180, "height": 1420}, color_scheme="light")
        opened.goto(page.resolve().as_uri())
        opened.wait_for_selector("body[data-ready]")
        opened.wait_for_timeout(1000)
        opened.screenshot(path=file, type="jpeg", quality=82)
        browser.close()


def cost(count: int) -> None:
    """Classify cells with the shipped bundle, and print which share of the time the page took in that run."""
    packing = time_calls(thumbnail, "pack", time.perf_counter)
    writing = time_calls(slide, "write_pages", time.perf_counter)
    with Classifier() as classifier, tempfile.TemporaryDirectory() as name:
        folder, out = Path(name) / "slide", Path(name) / "out"
        folder.mkdir()
        cells = [file.read_bytes() for file in sorted(EXAMPLES.glob("*.jpg"))]
        for number in range(count):  # bytes after the end marker make each file unique
            (folder / f"{number:05d}.jpg").write_bytes(cells[number % len(cells)] + b"%d" % number)
        with open_ledger(out, classifier.bundle) as ledger:
            whole = timed(lambda: classify_slide(folder, out, classifier, ledger))
    maps, pages = sum(packing), sum(writing)
    share = 100 * (maps + pages) / whole
    print(f"{count} cells in {whole:.1f} s: maps {maps:.3f} s, pages {pages:.3f} s: {share:.2f} %")


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "make":
        for number in rest[1:]:
            make(Path(rest[0]), int(number))
    elif command == "paint":
        paint([Path(file) for file in rest])
    elif command == "picture":
        picture(Path(rest[0]), Path(rest[1]))
    else:
        cost(int(rest[0]))
