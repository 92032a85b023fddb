from pathlib import Path

import numpy as np
import pytest
from field_bench import FieldBench, glass, part, statuses
from mosaic import Mosaic
from scene import Scene

from cartcls.runtime.fields.reading import FieldSearch
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.reports import corrections as correcting


@pytest.fixture
def overlapping(bench: FieldBench, wide: Mosaic) -> FieldBench:
    """Two fields of which the second begins within the second column of cells of the first, and ends with cut ones."""
    bench.put("a.png", np.ascontiguousarray(wide.image[:, :1075]))
    bench.put("b.png", np.ascontiguousarray(wide.image[:, 430:]))
    return bench


def test_a_cell_in_two_fields_that_overlap_is_counted_once(overlapping: FieldBench):
    rows = overlapping.batch()
    assert sum(row["status"] != "duplicate" for row in rows.values()) == 12
    a, b = ({n: row for n, row in rows.items() if n.startswith(name)} for name in "ab")
    assert (len(a), len(b)) == (6, 10)
    cut = [name for name, row in a.items() if row["at_edge"] == "1"]
    assert len(cut) == 2
    twice = {name for name, row in rows.items() if row["status"] == "duplicate"}
    assert twice > set(cut)  # the whole ones count, though they came later
    for name in twice:
        counted = rows[name]["reason"].removeprefix("same cell as no. ")
        (other,) = [row for row in rows.values() if row["seq"] == counted]
        assert (other["status"], other["path"]) == ("ok", "b.png" if name in cut else "a.png")


def test_the_other_row_counts_once_a_field_is_gone(overlapping: FieldBench, wide: Mosaic):
    overlapping.put("c.png", glass(wide))
    before = overlapping.batch()
    (overlapping.folder / "a.png").unlink()
    after = overlapping.batch()
    assert sum(row["status"] == "ok" for row in after.values()) == 10
    assert "duplicate" not in statuses(overlapping).values()
    overlapping.put("a.png", np.ascontiguousarray(wide.image[:, :1075]))
    again = overlapping.batch()
    assert len(again) == len(before)
    assert sum(row["status"] == "ok" for row in again.values()) == 12


def test_the_other_row_counts_once_a_field_has_changed(overlapping: FieldBench, wide: Mosaic):
    overlapping.batch()
    overlapping.put("a.png", glass(wide))
    after = overlapping.batch()
    assert statuses(overlapping) == {"a.png": "empty"}
    assert sum(row["status"] == "ok" for row in after.values()) == 10


def test_a_single_cell_whose_field_comes_back_is_counted_once(bench: FieldBench, wide: Mosaic):
    alone = np.ascontiguousarray(wide.image[:430, 430:860])
    bench.put("a.png", alone)
    bench.put("b.png", part(wide, 0, 3))
    bench.put("c.png", part(wide, 4, 6))
    assert [row["status"] for name, row in bench.batch().items() if name[0] == "b"].count("duplicate") == 1
    (bench.folder / "a.png").unlink()
    assert "duplicate" not in [row["status"] for row in bench.batch().values()]
    bench.put("a.png", alone)
    rows = bench.batch()
    assert [row["status"] for row in rows.values()].count("duplicate") == 1
    assert sum(row["status"] == "ok" for row in rows.values()) == 10


def test_a_copy_of_a_field_that_is_overlapped_is_not_searched_again(overlapping: FieldBench, wide: Mosaic):
    (overlapping.folder / "a2.png").write_bytes((overlapping.folder / "a.png").read_bytes())
    rows = overlapping.batch()
    assert overlapping.batch() == rows
    assert overlapping.batches == []


def test_a_row_that_counts_again_while_it_is_watched_has_the_path_of_now(
    overlapping: FieldBench, wide: Mosaic, tmp_path: Path
):
    with open_ledger(tmp_path / "out", overlapping.bundle) as ledger:
        scene = Scene(tmp_path, overlapping.bundle, ledger, FieldSearch())
        folder = overlapping.folder.rename(scene.captures / "slide")
        scene.wait()
        cells = list(ledger.slides()[0].cells())
        assert {cell.status for cell in cells if cell.path == "b.png"} == {"ok", "duplicate"}
        (folder / "b.png").rename(folder / "z.png")
        scene.wait()
        overlapping.folder = folder
        overlapping.put("a.png", glass(wide))
        scene.wait(70)
        cells = [cell for cell in ledger.slides()[0].cells() if cell.status != "gone"]
        assert {(cell.path, cell.status) for cell in cells} == {("a.png", "empty"), ("z.png", "ok")}
        assert {cell.same_cell_as for cell in cells} == {None}


def test_a_cell_that_was_labelled_in_both_fields_is_counted_once(
    overlapping: FieldBench, wide: Mosaic, monkeypatch: pytest.MonkeyPatch
):
    overlapping.put("c.png", glass(wide))
    files = {name: (overlapping.folder / name).read_bytes() for name in ("a.png", "b.png")}
    before = overlapping.batch().values()
    twice = next(row for row in before if row["path"] == "b.png" and row["status"] == "duplicate")
    first, second = int(twice["reason"].removeprefix("same cell as no. ")), int(twice["seq"])

    def counted(label: str, name: str, seq: int) -> set[int]:
        """Those of the two that count once a label was given while the other one's field was another one."""
        overlapping.put(name, glass(wide))
        overlapping.batch()
        overlapping.correct((seq, label))
        (overlapping.folder / name).write_bytes(files[name])
        rows = {int(row["seq"]): row for row in overlapping.batch().values()}
        assert sum(row["status"] in ("ok", "reviewed") for row in rows.values()) == 12
        return {seq for seq in (first, second) if rows[seq]["status"] != "duplicate"}

    assert counted("monocyte", "a.png", second) == {second}
    monkeypatch.setattr(correcting, "now", lambda: "2100-01-01T00:00:00Z")
    assert counted("lymphocyte", "b.png", first) == {first}


def test_one_of_two_rows_counts_once_a_watched_field_with_the_same_cell_has_changed(
    bench: FieldBench, wide: Mosaic, tmp_path: Path
):
    with open_ledger(tmp_path / "out", bench.bundle) as ledger:
        scene = Scene(tmp_path, bench.bundle, ledger, FieldSearch())
        bench.folder = bench.folder.rename(scene.captures / "slide")
        for name, last in (("a.png", 1), ("b.png", 2), ("c.png", 3)):
            bench.put(name, part(wide, 0, last))
        scene.wait()
        bench.put("a.png", glass(wide))
        scene.wait(70)
        cells = [cell for cell in ledger.slides()[0].cells() if cell.status != "gone"]
        assert sum(cell.status == "ok" for cell in cells) == 6
        counted = {cell.seq for cell in cells if cell.status == "ok"}
        assert {cell.same_cell_as for cell in cells if cell.status == "duplicate"} <= counted


def test_a_copy_that_comes_back_while_it_is_watched_counts_where_nothing_else_does(
    bench: FieldBench, wide: Mosaic, tmp_path: Path
):
    with open_ledger(tmp_path / "out", bench.bundle) as ledger:
        scene = Scene(tmp_path, bench.bundle, ledger, FieldSearch())
        bench.folder = bench.folder.rename(scene.captures / "slide")
        bench.put("a.png", part(wide, 0, 2))
        copy = bench.put("b.png", part(wide, 0, 2))
        scene.wait()
        copy.unlink()
        scene.wait(1)
        bench.put("a.png", glass(wide))
        scene.wait(70)
        bench.put("c.png", part(wide, 0, 2))
        scene.wait()
        cells = [cell for cell in ledger.slides()[0].cells() if cell.path == "c.png"]
        assert [cell.status for cell in cells] == ["ok"] * 4
