import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import PIL.Image
import pytest
from bench import run
from fakes import FakeBackend
from samples import differential_of
from scene import put

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import BackendError, OutputError
from cartcls.runtime.inference.backend import Backend
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.ledger.records import MAX_ATTEMPTS
from cartcls.runtime.slides import pipeline
from cartcls.runtime.slides.batch import classify_images, classify_slide


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_example_slide_is_classified_right(
    slide: Path, tmp_path: Path, bundle: Bundle, backend: Backend, labels: dict[str, str]
):
    rows, summary, directory = run(slide, tmp_path, bundle, backend)
    assert [row["path"] for row in rows] == sorted(labels)
    assert sum(labels[row["path"]] == row["label"] for row in rows) >= 31
    assert summary.status == {
        "ok": 32,
        "review": 0,
        "reviewed": 0,
        "rejected": 0,
        "duplicate": 0,
        "empty": 0,
        "gone": 0,
    }
    assert json.loads((directory / "summary.json").read_text()) == msgspec.json.decode(msgspec.json.encode(summary))
    for row in rows:
        assert sum(float(value) for name, value in row.items() if name.startswith("p_")) == pytest.approx(1, abs=1e-5)
        assert row["confidence"] == row[f"p_{row['label']}"]
        with PIL.Image.open(directory / row["thumbnail"]) as picture:
            assert picture.size == (2 * round(180 * int(row["width"]) / int(row["height"])), 210)


def test_thirty_bad_files_among_a_hundred_good_ones(slide: Path, tmp_path: Path, bundle: Bundle):
    cells = sorted(slide.glob("*.jpg"))
    folder = tmp_path / "slide"
    folder.mkdir()
    for i in range(100):
        # Bytes behind the end marker make each file its own.
        (folder / f"good-{i:03d}.jpg").write_bytes(cells[i % 32].read_bytes() + b"%d" % i)
    jpeg = cells[0].read_bytes()
    for i in range(20):
        (folder / f"bad-cut-{i:02d}.jpg").write_bytes(jpeg[: len(jpeg) * (i + 1) // 22])
    for i in range(3):
        (folder / f"bad-zeros-{i}.jpg").write_bytes(jpeg[: 3000 * (i + 1)].ljust(len(jpeg), b"\0"))
    (folder / "bad-empty.jpg").touch()
    (folder / "bad-text.jpg").write_text("not an image")
    (folder / "bad.czi").write_bytes(b"ZISRAWFILE")
    os.mkfifo(folder / "bad-fifo.jpg")
    (folder / "bad-link.jpg").symlink_to(cells[0])
    (folder / os.fsdecode(b"bad-\xff\n.jpg")).write_text("not an image")
    PIL.Image.new("1", (10_000, 10_000)).save(folder / "bad-huge.png")

    rows, summary, _ = run(folder, tmp_path / "out", bundle, FakeBackend())
    assert len(rows) == 130
    assert [int(row["seq"]) for row in rows] == list(range(1, 131))
    for row in rows:
        bad = row["path"].startswith("bad")
        assert (row["status"], bool(row["reason"]), bool(row["label"])) == ("rejected" if bad else "ok", bad, not bad)
    assert summary.status == {
        "ok": 100,
        "review": 0,
        "reviewed": 0,
        "rejected": 30,
        "duplicate": 0,
        "empty": 0,
        "gone": 0,
    }


def test_a_model_without_maps_shows_the_crop_alone(slide: Path, tmp_path: Path, bundle: Bundle):
    rows, _, directory = run(slide, tmp_path, bundle, FakeBackend(maps=False))
    with PIL.Image.open(directory / rows[0]["thumbnail"]) as picture:
        assert picture.size == (round(180 * int(rows[0]["width"]) / int(rows[0]["height"])), 210)


def test_copies_are_counted_once(slide: Path, tmp_path: Path, bundle: Bundle):
    folder = tmp_path / "slide"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        shutil.copy(slide / "cell-01.jpg", folder / name)
    shutil.copy(slide / "cell-02.jpg", folder / "d.jpg")
    rows, summary, _ = run(folder, tmp_path / "out", bundle, FakeBackend())
    assert [row["status"] for row in rows] == ["ok", "duplicate", "duplicate", "ok"]
    assert rows[2]["reason"] == "same bytes as a.jpg"
    assert differential_of(summary).leukocytes == 2


def test_copies_whose_readable_paths_are_equal_are_counted_once(slide: Path, tmp_path: Path, bundle: Bundle):
    folder = tmp_path / "slide"
    folder.mkdir()
    for name in ("%2B1.jpg", "+1.jpg"):
        shutil.copy(slide / "cell-01.jpg", folder / name)
    rows, _, _ = run(folder, tmp_path / "out", bundle, FakeBackend())
    assert [(row["path"], row["status"]) for row in rows] == [("%2B1.jpg", "ok"), ("%2B1.jpg", "duplicate")]
    (tmp_path / "thumbs").mkdir()
    cells = classify_images(folder, [b"%2B1.jpg", b"+1.jpg"], tmp_path / "thumbs", Classifier(bundle, FakeBackend()))
    assert [cell.status for cell in cells] == ["ok", "duplicate"]


def test_slides_whose_names_differ_in_capitals_have_two_folders_on_windows_too(
    slide: Path, tmp_path: Path, bundle: Bundle
):
    directories = set()
    for name in ("S1", "s1", "trail.", "trail"):
        put(tmp_path / name, "1.jpg", (slide / "cell-01.jpg").read_bytes())
        directories.add(run(tmp_path / name, tmp_path / "out", bundle, FakeBackend())[2].name.casefold())
    assert len(directories) == 4


def test_a_second_run_classifies_only_what_is_new_changed_or_was_rejected(slide: Path, tmp_path: Path, bundle: Bundle):
    folder = tmp_path / "slide"
    folder.mkdir()
    cells = sorted(slide.glob("*.jpg"))
    for cell in cells[:6]:
        shutil.copy(cell, folder)
    (folder / "broken.jpg").write_bytes(cells[0].read_bytes()[:2000])
    batches: list[int] = []
    backend = FakeBackend(seen=batches)
    first, _, directory = run(folder, tmp_path / "out", bundle, backend)
    assert (sum(batches), [row["status"] for row in first].count("rejected")) == (6, 1)
    before = contents(directory)
    batches.clear()
    run(folder, tmp_path / "out", bundle, backend)
    assert not batches
    after = contents(directory)
    changed = {"cells.csv", "summary.json", "report.html", "cells/rows-0000.js"}  # the broken one was tried again
    assert {name for name in before if before[name] != after[name]} <= changed

    (folder / "broken.jpg").write_bytes(cells[10].read_bytes())
    (folder / cells[2].name).write_bytes(cells[11].read_bytes())
    shutil.copy(cells[12], folder)
    rows, summary, _ = run(folder, tmp_path / "out", bundle, backend)
    assert sum(batches) == 3
    assert [row["seq"] for row in rows] == [str(number) for number in range(1, 9)]
    assert {row["path"] for row in rows} == {path.name for path in folder.iterdir()}
    changed = [new["path"] for old, new in zip(first, rows, strict=False) if old["sha256"] != new["sha256"]]
    assert sorted(changed) == sorted(["broken.jpg", cells[2].name])
    assert summary.status == {"ok": 8, "review": 0, "reviewed": 0, "rejected": 0, "duplicate": 0, "empty": 0, "gone": 0}


def test_files_that_swap_or_lose_their_bytes_are_counted_once_each(slide: Path, tmp_path: Path, bundle: Bundle):
    folder, backend = tmp_path / "slide", FakeBackend()
    folder.mkdir()
    first, second, third = (path.read_bytes() for path in sorted(slide.glob("*.jpg"))[:3])

    def statuses(**files: bytes) -> dict[str, str]:
        for name, data in files.items():
            (folder / "new").write_bytes(data)
            (folder / "new").replace(folder / f"{name}.jpg")
        return {row["path"][0]: row["status"] for row in run(folder, tmp_path / "out", bundle, backend)[0]}

    assert statuses(a=first, b=second) == {"a": "ok", "b": "ok"}
    assert statuses(a=second, b=first) == {"a": "ok", "b": "ok"}
    assert statuses(b=second) == {"a": "ok", "b": "duplicate"}
    assert statuses(a=second) == {"a": "ok", "b": "duplicate"}
    assert statuses(a=third) == {"a": "ok", "b": "ok"}
    assert statuses(a=second, b=third, c=second) == {"a": "ok", "b": "ok", "c": "duplicate"}
    assert statuses(a=b"junk") == {"a": "rejected", "b": "ok", "c": "ok"}
    assert statuses(a=third) == {"a": "duplicate", "b": "ok", "c": "ok"}
    (folder / "a.jpg").unlink()
    assert statuses(b=first) == {"a": "gone", "b": "ok", "c": "ok"}


def test_a_run_that_classifies_nothing_leaves_what_computed_the_rows(slide: Path, tmp_path: Path, bundle: Bundle):
    folder = tmp_path / "slide"
    folder.mkdir()
    shutil.copy(slide / "cell-01.jpg", folder)
    _, first, _ = run(folder, tmp_path / "out", bundle, FakeBackend())
    other = FakeBackend()
    other.device = "another processor"
    _, second, _ = run(folder, tmp_path / "out", bundle, other)
    assert second == first
    shutil.copy(slide / "cell-02.jpg", folder)
    _, third, _ = run(folder, tmp_path / "out", bundle, other)
    assert (third.device, third.started_at) == ("another processor", first.started_at)


@pytest.mark.parametrize("error", [KeyboardInterrupt, BackendError, OSError(28, "No space left on device")])
def test_what_stops_a_run_leaves_what_was_done_and_the_next_goes_on(
    slide: Path, tmp_path: Path, bundle: Bundle, error: BaseException
):
    batches: list[int] = []

    def fail_later() -> None:
        if len(batches) == 3:
            raise error

    with pytest.raises((KeyboardInterrupt, BackendError, OutputError)):
        run(slide, tmp_path, bundle, FakeBackend(fail_later, seen=batches))
    with (tmp_path / "slide-01" / "cells.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    done = len(rows)
    assert 0 < done < 32
    summary = json.loads((tmp_path / "slide-01" / "summary.json").read_text())
    assert (summary["images"], summary["waiting"]) == (32, 32 - done)
    assert f"{32 - done} images still wait" in (tmp_path / "slide-01" / "report.html").read_text()
    batches.clear()
    after, summary, _ = run(slide, tmp_path, bundle, FakeBackend(seen=batches))
    assert sum(batches) == 32 - done
    assert after[:done] == rows
    assert [row["path"] for row in after] == sorted(path.name for path in slide.glob("*.jpg"))
    assert summary.waiting == 0


def test_an_image_that_ends_the_process_is_quarantined_and_the_others_are_not(
    slide: Path, tmp_path: Path, bundle: Bundle
):
    killer = "cell-05.jpg"
    code = f"""
import os, sys
from pathlib import Path
from cartcls.runtime.slides import batch
from cartcls.runtime.inference import classifier
from cartcls.runtime.bundle.bundle import load_bundle
from cartcls.runtime.ledger.folder import open_ledger
sys.path.insert(0, {str(Path(__file__).parents[2] / "support")!r})
from fakes import FakeBackend
from scene import put
read = classifier.read_cell
classifier.read_cell = lambda path, *size: os._exit(9) if path.endswith({killer.encode()!r}) else read(path, *size)
bundle, out = load_bundle(), Path({str(tmp_path)!r})
with open_ledger(out, bundle) as ledger:
    batch.classify_slide(Path({str(slide)!r}), out, classifier.Classifier(bundle, FakeBackend()), ledger)
"""
    codes = []
    while not codes or codes[-1] == 9:
        codes.append(subprocess.run([sys.executable, "-c", code], check=False).returncode)
    assert codes == [9] * MAX_ATTEMPTS + [0]
    rows, summary, _ = run(slide, tmp_path, bundle, FakeBackend())
    assert summary.status["rejected"] == 1
    assert [row["reason"] for row in rows if row["path"] == killer] == [
        f"ended the program {MAX_ATTEMPTS} times, and was not opened again"
    ]
    assert {row["path"] for row in rows} == {path.name for path in slide.glob("*.jpg")}


def test_kills_that_are_nobodys_doing_do_not_hit_the_same_image_again_and_again(
    slide: Path, tmp_path: Path, bundle: Bundle
):
    names = sorted(path.name.encode() for path in slide.glob("*.jpg"))
    with open_ledger(tmp_path, bundle) as ledger:
        entry = ledger.add_slide(os.fsencode(slide.resolve()), slide.name)
        entry.discover(names)
        known = entry.images()
        entry.begin(known[name] for name in names[:4])  # a batch under way when the process was killed
        entry.begin([known[names[0]]])  # and then the first of it, alone
    rows, _, _ = run(slide, tmp_path, bundle, FakeBackend())
    assert [row["path"].encode() for row in rows] == [*names[1:4], names[0], *names[4:]]


def test_a_thumbnail_that_cannot_be_written_stops_the_run(
    slide: Path, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    def fail(files: dict[Path, bytes]) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "replace_files", fail)
        with pytest.raises(OutputError, match="No space left on device"):
            run(slide, tmp_path, bundle, FakeBackend())
    rows, _, _ = run(slide, tmp_path, bundle, FakeBackend())
    assert len(rows) == 32


def test_no_label_is_ever_made_from_not_a_number(slide: Path, tmp_path: Path, bundle: Bundle):
    rows, summary, directory = run(slide, tmp_path, bundle, FakeBackend(logit=float("nan")))
    assert {(row["status"], row["reason"], row["label"]) for row in rows} == {
        ("rejected", "the model gave not-a-number for it", "")
    }
    assert (len(rows), summary.status["rejected"]) == (32, 32)
    assert not list((directory / "thumbnails").iterdir())
    rows, _, _ = run(slide, tmp_path, bundle, FakeBackend())
    assert {row["status"] for row in rows} == {"ok"}


def test_an_empty_slide_has_a_report(tmp_path: Path, bundle: Bundle):
    (tmp_path / "empty").mkdir()
    rows, summary, directory = run(tmp_path / "empty", tmp_path / "out", bundle, FakeBackend())
    assert (rows, summary.images) == ([], 0)
    assert (directory / "report.html").exists()


def test_a_slide_that_is_no_folder_or_the_reports_own_is_a_clear_error(slide: Path, tmp_path: Path, bundle: Bundle):
    with pytest.raises(OutputError, match="also the folder for the reports"):
        run(tmp_path, tmp_path, bundle, FakeBackend())
    with pytest.raises(OutputError, match="is not a folder"):
        run(slide / "cell-01.jpg", tmp_path, bundle, FakeBackend())


def test_the_page_is_kept_current_while_a_slide_is_classified(
    slide: Path, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    images: list[int] = []

    def look() -> None:
        page = tmp_path / "slide-01" / "summary.json"
        images.append(json.loads(page.read_text())["status"]["ok"] if page.exists() else 0)

    monkeypatch.setattr("cartcls.runtime.slides.batch.PAGE_EVERY", 0)
    monkeypatch.setattr("cartcls.runtime.slides.batch.PAGE_FACTOR", 0)
    run(slide, tmp_path, bundle, FakeBackend(look))
    assert images == sorted(images)
    assert 0 < images[-1] < 32
    assert json.loads((tmp_path / "slide-01" / "summary.json").read_text())["status"]["ok"] == 32


def test_the_first_that_were_rejected_are_named(slide: Path, tmp_path: Path, bundle: Bundle):
    folder, said = tmp_path / "slide", list[str]()
    folder.mkdir()
    shutil.copy(slide / "cell-01.jpg", folder)
    for number in range(1, 8):
        (folder / f"bad-{number}.jpg").write_bytes(b"junk")
    with open_ledger(tmp_path / "out", bundle) as ledger:
        classify_slide(folder, tmp_path / "out", Classifier(bundle, FakeBackend()), ledger, notify=said.append)
    assert len(said) == 6
    assert said[4].startswith("slide: rejected: bad-5.jpg: is not a JPEG")
    assert said[5] == "slide: rejected: and 2 more in cells.csv"
