import hashlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from fakes import FakeBackend, giving
from field_bench import FieldBench, glass, part, statuses
from mosaic import Mosaic
from msgspec import UNSET, structs

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import BackendError, BundleError, SlideError
from cartcls.runtime.fields import reading
from cartcls.runtime.fields.find import Found
from cartcls.runtime.fields.reading import FieldSearch
from cartcls.runtime.fields.slide_scale import FieldScale
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.levels import Levels
from cartcls.runtime.inference.predictions import Prediction
from cartcls.runtime.ledger.records import MAX_ATTEMPTS
from cartcls.runtime.reports.export_reviewed import export_reviewed
from cartcls.runtime.reports.rebuild import rebuild_reports
from cartcls.runtime.reports.table import BOX
from cartcls.runtime.slides import agreement
from cartcls.runtime.slides import slide as work


def boxes(bench: FieldBench) -> dict[str, tuple[str, ...]]:
    return {name: (row["x"], row["y"], row["w"], row["h"]) for name, row in bench.rows().items()}


def test_each_cell_of_a_field_has_a_row_in_reading_order(bench: FieldBench, wide: Mosaic):
    bench.put("a.png", part(wide, 0, 3))
    bench.put("b.png", glass(wide))
    bench.put("c.png", part(wide, 4, 6))
    rows = bench.batch()
    assert list(rows) == [*(f"a.png#{n}" for n in range(1, 7)), "b.png", *(f"c.png#{n}" for n in range(1, 5))]
    first = rows["a.png#1"]
    x, y = (int(first[name]) + int(first[size]) / 2 for name, size in (("x", "w"), ("y", "h")))
    assert np.hypot(x - wide.middles[0][0], y - wide.middles[0][1]) < 25
    assert (first["status"], first["at_edge"], first["width"], first["height"]) == ("ok", "0", "1290", "860")
    assert float(first["scale"]) == pytest.approx(1, abs=0.15)
    assert float(first["mpp"]) == pytest.approx(7.5 / 75.5, rel=0.15)
    assert {row["mpp"] for row in rows.values() if row["part"]} == {first["mpp"]}
    assert (rows["b.png"]["status"], rows["b.png"]["label"]) == ("empty", "")
    assert "no white cell or erythroblast" in rows["b.png"]["reason"]
    summary = bench.summary
    assert (summary.images, summary.status["ok"], summary.status["empty"]) == (3, 10, 1)
    assert "platelet" not in {row.name for row in summary.rows}
    assert "by the red cells" in str(summary.scale)
    for name in ("000001", "000007", "000008"):
        with PIL.Image.open(bench.out / "slide" / "fields" / f"{name}.jpg") as picture:
            assert max(picture.size) <= 1600


def test_a_box_is_in_the_pixels_of_its_crop_and_outlives_another_run(bench: FieldBench, wide: Mosaic):
    bench.bundle = giving(bench.bundle, "boxes", "attention")
    bench.put("a.png", part(wide, 0, 2))
    rows = bench.batch(FakeBackend(box=(0.5, 0.25, 0.5, 0.75), attention=True))
    crop = bench.bundle.home_scale
    assert crop is not None
    width, height = crop.crop_width, crop.crop_height
    expected = [round(width / 2), round(height / 4)]
    expected += [width - expected[0], height - expected[1]]
    assert len(rows) > 2
    for found in rows.values():
        assert [int(found[name]) for name in BOX] == pytest.approx(expected, abs=1)
        assert int(found["box_x"]) + int(found["box_w"]) == width
        assert int(found["box_y"]) + int(found["box_h"]) == height
    bench.put("b.png", part(wide, 4, 6))
    after = bench.batch(FakeBackend(box=(0, 0, 0.5, 0.5), attention=True))
    assert {name: after[name] for name in rows} == rows
    assert after["b.png#1"]["box_x"] == "0"
    rebuild_reports(bench.out)
    assert bench.rows() == after


def test_a_second_run_changes_nothing(bench: FieldBench, wide: Mosaic):
    bench.put("a.png", part(wide, 0, 3))
    before = bench.batch()
    assert bench.batch() == before
    assert bench.batches == []
    bench.put("b.png", part(wide, 4, 6))
    after = bench.batch()
    assert after.items() > before.items()
    assert {row["mpp"] for row in after.values()} == {before["a.png#1"]["mpp"]}


def test_a_field_is_saved_whole_or_not_at_all(bench: FieldBench, wide: Mosaic):
    bench.put("a.png", part(wide, 0, 2))
    bench.put("b.png", part(wide, 3, 6))
    calls = iter(range(100))

    def fail() -> None:
        if next(calls) == 8:  # in the midst of the second field, some of whose cells are classified
            raise BackendError("no more")

    backend = FakeBackend(fail)
    backend.batch_size = 1
    with pytest.raises(BackendError):
        bench.batch(backend)
    assert list(bench.rows()) == [f"a.png#{n}" for n in range(1, 5)]
    rows = bench.batch()
    assert list(rows) == [*(f"a.png#{n}" for n in range(1, 5)), *(f"b.png#{n}" for n in range(1, 7))]


def test_a_field_that_is_saved_cell_by_cell_is_found(bench: FieldBench, wide: Mosaic, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(work, "whole_files", lambda batches, one_by_one: ([row] for rows in batches for row in rows))
    monkeypatch.setattr(Prediction, "ends_file", property(lambda _: True))
    with pytest.raises(AssertionError):
        test_a_field_is_saved_whole_or_not_at_all(bench, wide)


def test_a_field_that_changes_takes_its_rows_with_it(bench: FieldBench, wide: Mosaic):
    bench.put("a.png", part(wide, 0, 3))
    bench.put("b.png", part(wide, 4, 6))
    before = bench.batch()
    bench.put("a.png", part(wide, 1, 2))
    after = bench.batch()
    assert list(after) == ["a.png#1", "a.png#2", *(f"b.png#{n}" for n in range(1, 5))]
    assert [row["status"] for row in bench.all_rows()] == ["ok"] * 2 + ["gone"] * 4 + ["ok"] * 4
    assert "changed" in bench.all_rows()[2]["reason"]
    assert {name: after[name] for name in before if name.startswith("b")} == {
        name: row for name, row in before.items() if name.startswith("b")
    }
    bench.put("a.png", part(wide, 0, 3))  # they come back under their numbers
    again = bench.batch()
    assert [row["seq"] for name, row in again.items() if name.startswith("a")] == [str(n) for n in range(1, 7)]
    assert statuses(bench) == {}


def test_a_label_stays_with_the_bytes_and_the_box(bench: FieldBench, wide: Mosaic):
    bench.put("a.png", part(wide, 0, 3))
    bench.batch()
    bench.correct((2, "monocyte"), (5, "not a cell"))
    before = bench.rows()
    (bench.folder / "a.png").rename(bench.folder / "z.png")
    moved = bench.batch()
    assert [row["status"] for row in moved.values()] == [row["status"] for row in before.values()]
    assert moved["z.png#2"]["label"] == "monocyte"
    (bench.folder / "z.png").unlink()
    bench.put("b.png", part(wide, 3, 6))
    with pytest.raises(SlideError, match="gone"):
        bench.batch()
    bench.put("a.png", part(wide, 0, 3))
    assert bench.batch()["a.png#2"]["label"] == "monocyte"
    bench.put("a.png", part(wide, 1, 3))
    bench.batch()
    assert {row["corrected_by"] for row in bench.rows().values()} == {""}
    assert any("no longer counts" in line for line in bench.said)


def test_reviewed_cells_are_cut_out_of_their_fields(bench: FieldBench, wide: Mosaic, tmp_path: Path):
    bench.put("a.png", part(wide, 0, 3))
    bench.batch()
    bench.correct((2, "monocyte"), (3, "ig"))
    exported = export_reviewed(bench.out, tmp_path / "export")
    assert (exported.summary.cells, exported.missing) == (2, {})
    pixels, _ = read_image(tmp_path / "export" / "ig" / "slide0001-000003.png")
    assert pixels.shape == (363, 360, 3)
    middle = wide.middles[2]
    near = wide.image[int(middle[1]) - 20 : int(middle[1]) + 20, int(middle[0]) - 20 : int(middle[0]) + 20]
    assert np.abs(pixels[160:200, 160:200].mean((0, 1)) - near.mean((0, 1))).max() < 25


def test_a_copy_of_a_field_is_counted_once(bench: FieldBench, wide: Mosaic):
    first = bench.put("a.png", part(wide, 0, 2))
    (bench.folder / "b.png").write_bytes(first.read_bytes())
    bench.put("c.png", part(wide, 3, 6))
    rows = bench.batch()
    assert statuses(bench) == {f"b.png#{n}": "duplicate" for n in range(1, 5)}
    assert rows["b.png#1"]["reason"] == "same bytes as a.png"
    first.unlink()
    assert len(bench.batch()) == 10
    assert statuses(bench) == {}


def test_it_stops_with_the_field_that_has_enough(bench: FieldBench, wide: Mosaic):
    for name, columns in (("a", (0, 2)), ("b", (2, 4)), ("c", (4, 6))):
        bench.put(f"{name}.png", part(wide, *columns))
    rows = bench.batch(leukocytes=5)
    assert list(rows) == [f"{name}.png#{n}" for name in "ab" for n in range(1, 5)]
    assert "stopped at 5 leukocytes: field 3 of 3 not looked at" in bench.summary.warnings
    assert (bench.summary.images, bench.summary.waiting, bench.summary.not_looked_at) == (3, 0, 1)
    assert bench.batch(leukocytes=5) == rows
    assert bench.batches == []
    assert len(bench.batch()) == 12
    assert bench.summary.warnings == []


def test_a_finding_has_enough_of_any_cells(bench: FieldBench, wide: Mosaic):
    classes = [structs.replace(entry, kind="other") for entry in bench.bundle.classes]
    manifest = structs.replace(bench.bundle.manifest, classes=tuple(classes))
    bench.bundle = replace(bench.bundle, manifest=manifest)
    for name, columns in (("a", (0, 2)), ("b", (2, 4))):
        bench.put(f"{name}.png", part(wide, *columns))
    assert list(bench.batch(leukocytes=3)) == [f"a.png#{n}" for n in range(1, 5)]
    assert "stopped at 3 cells: field 2 of 2 not looked at" in bench.summary.warnings


def test_a_slide_stays_what_it_was(bench: FieldBench, wide: Mosaic, monkeypatch: pytest.MonkeyPatch):
    bench.put("a.png", part(wide, 0, 3))
    bench.search = FieldSearch(mpp=0.1)
    first = bench.batch()
    assert first["a.png#1"]["mpp"] == "0.1000"
    bench.search = FieldSearch(mpp=0.12)
    with pytest.raises(SlideError, match=r"cut at 0\.1 µm per pixel.*--fields --mpp 0\.12 --fresh"):
        bench.batch()
    bench.search = None
    with pytest.raises(SlideError, match=r"as whole fields, with --fields: do so again.*--fresh"):
        bench.batch()
    bench.search = FieldSearch()
    assert bench.batch() == first
    monkeypatch.setattr(agreement, "FINDER_VERSION", "next")
    with pytest.raises(SlideError, match="version 1 of the finder, not next"):
        bench.batch()


def test_fields_without_red_cells_wait_for_a_scale(bench: FieldBench, wide: Mosaic):
    bench.put("a.png", glass(wide))
    rows = bench.batch()
    assert rows["a.png"]["status"] == "rejected"
    assert "--mpp" in rows["a.png"]["reason"]
    bench.put("b.png", part(wide, 0, 2))
    rows = bench.batch()
    assert (rows["a.png"]["status"], len(rows)) == ("empty", 5)


def test_a_given_scale_that_the_red_cells_deny_is_named(bench: FieldBench, wide: Mosaic):
    bench.put("a.png", part(wide, 0, 3))
    bench.search = FieldSearch(mpp=0.2)
    bench.batch()
    assert any(line.startswith("warning: slide: the red cells look like 0.") for line in bench.said)
    bench.batch()
    assert any(warning.startswith("the red cells look like 0.") for warning in bench.summary.warnings)


def test_cells_of_a_field_of_another_magnification_are_for_review(bench: FieldBench, wide: Mosaic):
    for name, columns in (("a", (0, 2)), ("b", (2, 4)), ("c", (3, 5))):
        bench.put(f"{name}.png", part(wide, *columns))
    small = part(wide, 4, 6)
    size = small.shape[1] // 2, small.shape[0] // 2
    bench.put("d.png", np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA), np.uint8))
    rows = bench.batch()
    odd = {name: row for name, row in rows.items() if "another magnification" in row["reason"]}
    assert {row["path"] for row in odd.values()} == {"d.png"}
    assert {row["status"] for row in odd.values()} <= {"review", "rejected"}


def test_a_bundle_that_does_not_know_its_scale_takes_no_fields(bundle: Bundle):
    unknown = replace(bundle, manifest=structs.replace(bundle.manifest, home_scale=UNSET))
    with pytest.raises(BundleError, match="how large a red cell is"):
        Classifier(unknown, FakeBackend(), fields=FieldSearch())


def test_an_image_that_ends_the_process_while_it_is_measured_is_quarantined_in_the_end(
    bench: FieldBench, wide: Mosaic, monkeypatch: pytest.MonkeyPatch
):
    bench.put("a.png", part(wide, 0, 2))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt  # stands for SIGKILL: nothing is tidied up

    monkeypatch.setattr(agreement, "measure_field", killed)
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            bench.batch()
    monkeypatch.undo()
    with sqlite3.connect(bench.out / "ledger.sqlite") as database:
        assert database.execute("SELECT attempts FROM images").fetchall() == [(5,)]
    assert bench.batch()["a.png"]["reason"].startswith("ended the program")


def test_a_field_that_has_changed_is_looked_at_though_there_are_enough(bench: FieldBench, wide: Mosaic):
    for name, columns in (("a", (0, 2)), ("b", (2, 4)), ("c", (4, 6))):
        bench.put(f"{name}.png", part(wide, *columns))
    bench.batch(leukocytes=5)
    bench.put("b.png", part(wide, 3, 4))
    assert list(bench.batch(leukocytes=5)) == [*(f"a.png#{n}" for n in range(1, 5)), "b.png#1", "b.png#2"]


def test_a_field_that_cannot_be_read_has_a_digest(bench: FieldBench):
    data = b"\x89PNG\r\n\x1a\n and no more"
    (bench.folder / "a.png").write_bytes(data)
    assert bench.batch()["a.png"]["sha256"] == hashlib.sha256(data).hexdigest()


def test_smudges_of_a_field_that_is_gone_do_not_count(bench: FieldBench, wide: Mosaic, monkeypatch: pytest.MonkeyPatch):
    found = reading.find_in
    monkeypatch.setattr(reading, "find_in", lambda *given: replace(found(*given), smudges=(Found(1, 2, 3, 4),)))
    for name, columns in (("a", (0, 2)), ("b", (2, 4)), ("c", (4, 6))):
        bench.put(f"{name}.png", part(wide, *columns))
    bench.batch()
    (bench.folder / "b.png").unlink()
    bench.batch()
    assert bench.summary.smudges == 2


def test_measuring_counts_no_attempt_of_a_field_that_could_be_measured(
    bench: FieldBench, wide: Mosaic, monkeypatch: pytest.MonkeyPatch
):
    for name, columns in (("a", (0, 2)), ("b", (2, 4)), ("c", (4, 6))):
        bench.put(f"{name}.png", part(wide, *columns))
    measure = agreement.measure_field

    def killed(path: bytes, levels: Levels) -> FieldScale:
        if path.endswith(b"b.png"):
            raise KeyboardInterrupt  # stands for SIGKILL
        return measure(path, levels)

    monkeypatch.setattr(agreement, "measure_field", killed)
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(KeyboardInterrupt):
            bench.batch()
    rows = bench.batch()
    assert rows["b.png"]["reason"].startswith("ended the program")
    assert sum(row["status"] == "ok" for row in rows.values()) == 8
