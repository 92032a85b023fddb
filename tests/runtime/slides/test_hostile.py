"""The scorecard, rows 7 and 8: bad and odd images, and hostile names, on their whole way through a watch."""

import csv
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageFile
import pytest
from fakes import FakeBackend
from hostile_names import hostile_names
from odd_images import Expected, as_pillow_does, odd_images
from trial import WATCHER

from cartcls.cli import show_watch
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.images import decode
from cartcls.runtime.images.resize import stretch
from cartcls.runtime.inference.backend import Outputs
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.reports import page
from cartcls.runtime.slides import slide as slide_work
from cartcls.runtime.slides.watch import AT_ONCE, Watch

MEMORY = 512 * 1024  # KiB
MEASURE = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
    " print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


class SeeingBackend(FakeBackend):
    """Remembers every image that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.images: set[bytes] = set()

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        self.images.update(image.tobytes() for image in images)
        return super().infer(images)


def watched(captures: Path, out: Path, bundle: Bundle, backend: FakeBackend) -> list[dict[str, str]]:
    """Rows of what is there."""
    with open_ledger(out, bundle) as ledger, show_watch.watching(as_json=False) as (update, notify):
        watch = Watch(captures, out, Classifier(bundle, backend), ledger, AT_ONCE, notify=notify)
        while watch.step():
            update(watch)
        watch.finish()
        update(watch)
    tables = [file.read_bytes().decode() for file in sorted(out.glob("*/cells.csv"))]
    return [row for table in tables for row in csv.DictReader(io.StringIO(table, newline=""))]


def wrong_answers(
    rows: list[dict[str, str]], expected: dict[str, Expected], seen: set[bytes], bundle: Bundle
) -> list[str]:
    """Images that have no row, or more than one, or whose row is not what they are worth."""
    found = []
    for name, what in expected.items():
        mine = [row for row in rows if row["path"] == name]
        labelled = [row for row in mine if row["label"]]
        if len(mine) != 1:
            found.append(f"{name} has {len(mine)} rows")
        elif isinstance(what, str) and (labelled or not re.search(what, mine[0]["reason"])):
            found.append(f"{name} should be refused as {what}: {mine[0]['label']} {mine[0]['reason']}")
        elif isinstance(what, np.ndarray) and (
            not labelled or stretch(what, bundle.width, bundle.height).tobytes() not in seen
        ):
            found.append(f"{name} was not seen as it is: {mine[0]['reason']}")
    return found


@pytest.fixture
def odd(tmp_path: Path, slide: Path) -> dict[str, Expected]:
    (tmp_path / "captures" / "s").mkdir(parents=True)
    return odd_images(tmp_path / "captures" / "s", slide / "cell-01.jpg")


def test_every_odd_image_is_seen_as_it_is_or_refused_with_the_reason(
    tmp_path: Path, odd: dict[str, Expected], bundle: Bundle
):
    backend = SeeingBackend()
    rows = watched(tmp_path / "captures", tmp_path / "out", bundle, backend)
    assert len(odd) >= 500
    assert len(rows) == len(odd)
    assert wrong_answers(rows, odd, backend.images, bundle) == []


def read_what_can_be_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", True)


def believe_pillow_that_it_is_whole(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decode, "HEADER_CHECKS", {})
    patch.setattr(decode, "WHOLE_CHECKS", {})
    patch.setattr(decode, "decode_jpeg", as_pillow_does)


def leave_it_lying(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decode, "UPRIGHT", {1: decode.UPRIGHT[1]})


def take_eight_of_sixteen_bits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decode, "_is_deep_png", lambda image, data: False)


def follow_links(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "O_NOFOLLOW", 0)


@pytest.mark.parametrize(
    "mutant",
    [
        read_what_can_be_read,
        believe_pillow_that_it_is_whole,
        leave_it_lying,
        take_eight_of_sixteen_bits,
        follow_links,
    ],
)
def test_odd_images_find_a_decoder_that_is_too_kind(
    tmp_path: Path,
    odd: dict[str, Expected],
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    mutant: Callable[[pytest.MonkeyPatch], None],
):
    for name in [name for name in odd if name.startswith("large")]:
        (tmp_path / "captures" / "s" / name).unlink()
        del odd[name]
    mutant(monkeypatch)
    backend = SeeingBackend()
    rows = watched(tmp_path / "captures", tmp_path / "out", bundle, backend)
    assert wrong_answers(rows, odd, backend.images, bundle)


def test_no_image_takes_more_memory_than_there_is(tmp_path: Path, odd: dict[str, Expected]):
    watcher = [
        sys.executable,
        os.fspath(WATCHER),
        os.fspath(tmp_path / "captures"),
        os.fspath(tmp_path / "out"),
        "--once",
    ]
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, *watcher], capture_output=True, text=True, check=True, timeout=len(odd) * 5
    )
    assert int(measured.stdout.split()[-1]) <= MEMORY


class Page(HTMLParser):
    """What of a page would be live."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def name_of(row: dict[str, str]) -> bytes:
    """The file name that a row is of."""
    return unquote_to_bytes(row["path"]) if row["path_encoded"] == "1" else row["path"].encode()


def live_parts(out: Path, names: list[bytes], rows: list[dict[str, str]], said: str) -> list[str]:
    """What of the names is lost, or would be taken for more than a name by a spreadsheet, a browser or a terminal."""
    found = []
    back = {name_of(row) for row in rows}
    found += [f"{name!r} does not come back" for name in names if name not in back]
    found += [
        f"{value!r} is a formula" for row in rows for value in row.values() if (value or "")[:1] in tuple("=+-@\t\r")
    ]
    for file in (*out.glob("*/report.html"), *out.glob("*/cells.csv"), *out.glob("*/summary.json")):
        text = file.read_text(encoding="utf-8-sig")
        found += [f"{letter!r} in {file.name}" for letter in set(text) if not letter.isprintable() and letter != "\n"]
        if file.suffix == ".html":
            page, plain = Page(), Page()
            page.feed(text)
            plain.feed(PLAIN_PAGE)
            found += [f"live {part}" for part in (page.tags - plain.tags) | (page.attributes - plain.attributes)]
            found += [
                f"link {link}" for link in page.links if re.match(r"\s*(javascript|data:text|//|https?:)", link, re.I)
            ]
    return found + [f"{letter!r} in the log" for letter in set(said) if not letter.isprintable() and letter != "\n"]


PLAIN_PAGE = ""


@pytest.fixture
def names(tmp_path: Path, slide: Path, bundle: Bundle) -> list[bytes]:
    """Cells, each under a hostile name, in slides of hostile names; some are no images."""
    global PLAIN_PAGE
    plain = tmp_path / "plain" / "s"
    plain.mkdir(parents=True)
    cell = (slide / "cell-01.jpg").read_bytes()
    for number, data in enumerate((cell, cell, cell + b"1", b"junk")):
        (plain / f"{number}.jpg").write_bytes(data)
    watched(tmp_path / "plain", tmp_path / "plain-out", bundle, FakeBackend())
    PLAIN_PAGE = (tmp_path / "plain-out" / "s" / "report.html").read_text(encoding="utf-8")
    names = hostile_names()
    slides = [*names[0:102:17], next(name for name in names if name.startswith(b"<img"))]
    for number, name in enumerate(names):
        folder = os.path.join(os.fsencode(tmp_path), b"captures", slides[number % 7] + b"-slide")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, name), "wb") as file:
            file.write(b"junk" if number % 5 == 0 else cell + b"%d" % (number // 2))
    return names


def test_hostile_names_come_back_and_are_nothing_but_names(
    tmp_path: Path, names: list[bytes], bundle: Bundle, capfd: pytest.CaptureFixture[str]
):
    rows = watched(tmp_path / "captures", tmp_path / "out", bundle, FakeBackend())
    assert len(names) >= 200
    assert len(rows) == len(names)
    assert live_parts(tmp_path / "out", names, rows, "".join(capfd.readouterr())) == []


@pytest.mark.parametrize("mutant", ["raw names", "no escaping", "lossy"])
def test_hostile_names_find_a_report_that_trusts_them(
    tmp_path: Path, names: list[bytes], bundle: Bundle, monkeypatch: pytest.MonkeyPatch, mutant: str
):
    if mutant == "no escaping":
        unsafe = page.environment().overlay(autoescape=False, bytecode_cache=None)
        monkeypatch.setattr(page, "environment", lambda: unsafe)
    elif mutant == "raw names":
        monkeypatch.setattr(slide_work, "readable_name", lambda name: name.decode("utf-8", "replace"))
    else:
        monkeypatch.setattr(
            slide_work, "readable_name", lambda name: re.sub(r"[^\w. ]", "_", os.fsdecode(name), flags=re.A)
        )
    rows = watched(tmp_path / "captures", tmp_path / "out", bundle, FakeBackend())
    assert live_parts(tmp_path / "out", names, rows, "")
