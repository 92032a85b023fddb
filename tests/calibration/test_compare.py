import csv
import shutil
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from counted import count_slides
from fakes import FakeBackend
from reviewer import classify, corrections
from samples import TIME

from cartcls.calibration.compare import PAGE, TABLE, Comparison, compare
from cartcls.calibration.evaluate import evaluate
from cartcls.calibration.split import list_images
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import DataError, OutputError
from cartcls.runtime.ledger.correction_table import save_corrections
from cartcls.runtime.ledger.folder import existing_ledger, open_ledger
from cartcls.runtime.ledger.records import Correction
from cartcls.runtime.reports.corrections import correct
from cartcls.runtime.verified import last_verified

NORMAL = {"neutrophil": 120, "lymphocyte": 60, "monocyte": 12, "eosinophil": 6, "basophil": 2}


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def out(slide: Path, tmp_path: Path, bundle: Bundle) -> Path:
    """Reports of the slide of the tests, in which every cell is called an eosinophil."""
    folder = Path(shutil.copytree(slide, tmp_path / "slide-01"))
    return classify(folder, bundle)


def table(file: Path, rows: list[tuple[str, str, str]]) -> Path:
    with file.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("slide", "path", "label"), *rows])
    return file


def written(folder: Path) -> list[dict[str, str]]:
    with (folder / TABLE).open(newline="", encoding="utf-8-sig") as handle:
        return list(csv.DictReader(handle))


def of_cells(out: Path, reference: Path, tmp_path: Path) -> Comparison:
    found = compare(out, reference, tmp_path / "to")
    assert found.same is not None and found.counts is None
    return found


def test_the_same_cells_by_a_table_of_labels(out: Path, labels: dict[str, str], tmp_path: Path, bundle: Bundle):
    titles = {entry.name: entry.title for entry in bundle.classes}
    rows = [("slide-01", name, titles[label].upper()) for name, label in labels.items()]
    rows[0] = ("slide-01", rows[0][1], "Blast")
    found = of_cells(out, table(tmp_path / "manual.csv", [*rows, ("slide-01", "gone.jpg", "ig")]), tmp_path)
    assert found.same is not None
    assert (found.same.cells, found.same.agreed, found.same.only_reference) == (32, 4, 1)
    by_label = {row.label: row for row in found.same.rows}
    eosinophil = by_label["eosinophil"]
    assert (eosinophil.reference, eosinophil.reports, eosinophil.sensitivity, eosinophil.specificity) == (4, 32, 1, 0)
    assert (by_label["Blast"].reference, by_label["Blast"].sensitivity) == (1, 0)
    assert by_label["ig"].specificity == 1
    assert found.same.kappa.value == pytest.approx(0)  # one answer to all is chance
    assert any("one slide" in warning for warning in found.warnings)
    page = (tmp_path / "to" / PAGE).read_text(encoding="utf-8")
    assert bundle.sha256 in page and "4 of 32 cells have the same label" in page
    rows_of_table = written(tmp_path / "to")
    assert {row["bundle_sha256"] for row in rows_of_table} == {bundle.sha256}
    assert {row["class"]: (row["reference_count"], row["count"], row["in_both"]) for row in rows_of_table}[
        "eosinophil"
    ] == ("4", "32", "4")


def test_an_evaluation_and_other_reports_go_by_the_bytes(
    out: Path, data_dir: Path, tmp_path: Path, bundle: Bundle, labels: dict[str, str]
):
    evaluate(data_dir, list_images(data_dir), "x", tmp_path / "ev", Classifier(bundle, FakeBackend()), lambda *_: None)
    found = of_cells(out, tmp_path / "ev", tmp_path)
    assert found.same is not None
    assert (found.same.cells, found.same.agreed) == (32, 4)
    (other := tmp_path / "renamed").mkdir()
    (moved := other / "another-name").mkdir()
    for number, name in enumerate(sorted(labels)[:10]):
        shutil.copy(tmp_path / "slide-01" / name, moved / f"{number}.jpg")
    reports = classify(moved, bundle)
    correct(reports, corrections(reports, (1, "neutrophil"), (2, "unsure")), "A. Reader")
    found = of_cells(out, reports, tmp_path)
    assert found.same is not None
    assert (found.same.cells, found.same.agreed, found.reference.by_person, found.reference.left_out) == (9, 8, 1, 1)


def test_independent_counts_go_by_the_names_of_slides(tmp_path: Path, bundle: Bundle):
    shifted = NORMAL | {"neutrophil": 80, "lymphocyte": 100}
    out = count_slides(tmp_path / "out", bundle, {"s-1": NORMAL | {"platelet": 9}, "s-2": shifted, "s-3": NORMAL})
    manual = [(slide, "", label) for slide in ("s-1", "s-2") for label, n in NORMAL.items() for _ in range(n // 2)]
    manual += [("s-1", "", "band")] * 3 + [("s-9", "", "ig")]
    found = compare(out, table(tmp_path / "manual.csv", manual), tmp_path / "to")
    assert found.same is None and found.counts is not None
    assert (found.counts.slides, found.counts.only_reports, found.counts.only_reference) == (
        ["s-1", "s-2"],
        ["s-3"],
        ["s-9"],
    )
    assert found.counts.others == {"band": 3}
    by_class = {counts.entry.name: counts for counts in found.counts.classes}
    assert set(by_class) == {"neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil", "ig"}
    neutrophil = by_class["neutrophil"]
    assert [(row.count, row.cells, row.reference, row.reference_cells) for row in neutrophil.slides] == [
        (120, 200, 60, 100),
        (80, 200, 60, 100),
    ]
    assert [row.within for row in neutrophil.slides] == [True, False]
    assert neutrophil.outside == 1 and neutrophil.agreement is not None
    assert neutrophil.agreement.bias == pytest.approx(-10)
    assert neutrophil.why_no_line == "fewer than 40 slides"
    assert any("band (3)" in warning for warning in found.warnings)
    rows = written(tmp_path / "to")
    assert [(row["slide"], row["within"]) for row in rows if row["class"] == "lymphocyte"] == [
        ("s-1", "1"),
        ("s-2", "0"),
    ]
    page = (tmp_path / "to" / PAGE).read_text(encoding="utf-8")
    assert page.count("<svg") == 12 and "fewer than 40 slides" in page
    note = last_verified()
    assert note is not None
    assert (note.bundle_sha256, note.slides, note.cells) == (bundle.sha256, 2, 409)


def test_a_line_from_40_slides_where_the_median_is_5_percent(tmp_path: Path, bundle: Bundle):
    random, names = np.random.default_rng(1), ("neutrophil", "lymphocyte", "basophil")
    ours, manual = dict[str, dict[str, int]](), list[tuple[str, str, str]]()
    for number in range(40):
        share, slide = 0.2 + 0.6 * number / 39, f"s-{number:02d}"
        mix = (share, 0.97 - share, 0.03)
        ours[slide] = dict(zip(names, map(int, random.multinomial(400, mix)), strict=True))
        for label, count in zip(names, random.multinomial(200, mix), strict=True):
            manual += [(slide, "", label)] * int(count)
    out = count_slides(tmp_path / "out", bundle, ours)
    found = compare(out, table(tmp_path / "manual.csv", manual), tmp_path / "to")
    assert found.counts is not None
    by_class = {counts.entry.name: counts for counts in found.counts.classes}
    line = by_class["neutrophil"].line
    assert line is not None
    assert line.slope_interval[0] < 1 < line.slope_interval[1]
    assert line.intercept_interval[0] < 0 < line.intercept_interval[1]
    assert by_class["basophil"].line is None
    assert by_class["basophil"].why_no_line == "median below 5 %"
    assert found.counts.outside / found.counts.checked <= 0.06  # exact limits are passed by chance less than 5 in 100


@pytest.mark.parametrize("path", ["{}.jpg", ""])
def test_only_cells_that_were_compared_are_counted_as_reviewed_or_waiting(path: str, tmp_path: Path, bundle: Bundle):
    counted = {"s-1": {"neutrophil": 4}, "s-2": {"neutrophil": 4}}
    out, reference = (count_slides(tmp_path / name, bundle, counted) for name in ("out", "reference"))
    for reports in (out, reference):
        with open_ledger(reports, bundle) as ledger, ledger.database.transaction():
            ledger.database.execute("UPDATE cells SET sha256 = 'x' || sha256 WHERE slide = 2")
            for slide in ledger.slides():
                cell = next(slide.cells())
                made = Correction(cell.seq, str(cell.sha256), "neutrophil", "lymphocyte", "Anna", TIME)
                save_corrections(ledger.database, slide.slide.id, [made])
            ledger.database.execute("UPDATE cells SET status = 'review' WHERE seq IN (3, 4)")
    manual = [("s-1", path.format(seq), "neutrophil") for seq in range(1, 5)]
    found = compare(out, table(tmp_path / "manual.csv", manual), tmp_path / "to")
    assert found.slides == ["s-1"]
    assert (found.cells, found.reports.by_person, found.reports.waiting) == (4, 1, 2)
    assert found.warnings[0] == "of the compared cells of the reports, 2 await review: the model's label counts"
    one = count_slides(tmp_path / "one", bundle, {"s-1": counted["s-1"]})
    found = compare(one, reference, tmp_path / "to")
    assert (found.slides, found.cells) == (["s-1"], 4)
    assert (found.reference.by_person, found.reference.waiting) == (1, 2)


def test_it_works_while_a_run_holds_the_ledger(out: Path, labels: dict[str, str], tmp_path: Path):
    manual = table(tmp_path / "manual.csv", [("slide-01", name, label) for name, label in labels.items()])
    with existing_ledger(out):
        of_cells(out, manual, tmp_path)


def test_what_is_no_reference_is_told(out: Path, tmp_path: Path):
    with pytest.raises(DataError, match="is no reference"):
        compare(out, tmp_path / "nothing", tmp_path / "to")
    with pytest.raises(DataError, match=r"lacks the column\(s\) path, label"):
        file = tmp_path / "short.csv"
        file.write_text("slide\nx\n")
        compare(out, file, tmp_path / "to")
    with pytest.raises(DataError, match=r"neither a cell nor a slide in common with .*: its slides are s-9"):
        compare(out, table(tmp_path / "m.csv", [("s-9", "", "ig")]), tmp_path / "to")
    with pytest.raises(DataError, match="names no slide"):
        compare(out, table(tmp_path / "m.csv", [("", "x.jpg", "ig")]), tmp_path / "to")
    with pytest.raises(DataError, match="has no cell with a label"):
        compare(out, table(tmp_path / "m.csv", [("s", "x.jpg", "")]), tmp_path / "to")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="is no comparison"):
        compare(out, table(tmp_path / "m.csv", [("slide-01", "", "ig")]), tmp_path / "to")
    with pytest.raises(OutputError, match="has no cartcls ledger"):
        compare(tmp_path / "nowhere", tmp_path / "m.csv", tmp_path / "other")
    assert last_verified() is None


def test_names_and_labels_are_never_markup_or_a_formula(tmp_path: Path, bundle: Bundle):
    evil, formula = "<img src=x onerror=alert(1)>", "=cmd()"
    out = count_slides(tmp_path / "out", bundle, {formula: NORMAL})
    rows = [(formula, "", label) for label, n in NORMAL.items() for _ in range(n)] + [(formula, "", evil)] * 3
    compare(out, table(tmp_path / f"{quote('x')}.csv", rows), tmp_path / "to")
    page = (tmp_path / "to" / PAGE).read_text(encoding="utf-8")
    assert "<img" not in page and "&lt;img" in page
    assert {row["slide"] for row in written(tmp_path / "to")} == {"%3Dcmd()"}
