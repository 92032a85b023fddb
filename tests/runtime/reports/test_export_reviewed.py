import hashlib
import json
import shutil
from pathlib import Path

import pytest
from msgspec import to_builtins
from reviewer import classify, corrections, make_slide

from cartcls.calibration.split import make_split
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import OutputError
from cartcls.runtime.ledger.folder import existing_ledger
from cartcls.runtime.ledger.records import Correction
from cartcls.runtime.reports.corrections import correct
from cartcls.runtime.reports.export_reviewed import export_reviewed

SOME = [(1, "monocyte"), (2, "monocyte"), (3, "eosinophil"), (4, "eosinophil"), (5, "not a cell"), (6, "other: blast")]


@pytest.fixture
def folder(slide: Path, tmp_path: Path) -> Path:
    return make_slide(slide, tmp_path / "slide")


@pytest.fixture
def out(folder: Path, bundle: Bundle) -> Path:
    return classify(folder, bundle)


def test_reviewed_cells_become_class_folders_with_the_bytes_that_were_looked_at(
    out: Path, folder: Path, tmp_path: Path
):
    correct(out, corrections(out, *SOME), "Ada")
    made = export_reviewed(out, tmp_path / "cells")
    files = {path.parent.name: [] for path in sorted((tmp_path / "cells").glob("*/*"))}
    for path in sorted((tmp_path / "cells").glob("*/*")):
        files[path.parent.name].append(hashlib.sha256(path.read_bytes()).hexdigest())
    digests = [hashlib.sha256((folder / f"cell-{number:02d}.jpg").read_bytes()).hexdigest() for number in range(1, 9)]
    assert files == {"monocyte": digests[:2], "eosinophil": digests[2:4], "blast": [digests[5]]}
    assert json.loads((tmp_path / "cells" / "cartcls-export.json").read_text()) == to_builtins(made.summary)
    assert (made.summary.reviewed, made.summary.cells, made.missing) == ("flagged", 5, {})


def test_a_slide_of_which_every_counted_cell_was_settled_is_marked_all(out: Path, tmp_path: Path):
    rest = [(7, "platelet"), (8, "platelet")]
    correct(out, corrections(out, *SOME, *rest), "Ada")
    assert export_reviewed(out, tmp_path / "cells").summary.reviewed == "all"
    correct(out, corrections(out, (8, "unsure")), "Ada")
    assert export_reviewed(out, tmp_path / "cells").summary.reviewed == "flagged"


def test_training_takes_the_folder_and_can_keep_slides_apart(out: Path, tmp_path: Path):
    correct(out, corrections(out, *SOME[:5], (7, "platelet"), (8, "platelet")), "Ada")
    export_reviewed(out, tmp_path / "cells")
    split = make_split(tmp_path / "cells", tmp_path / "split.csv")
    assert len(split.parts) == 6
    groups = (tmp_path / "cells" / "groups.csv").read_text().splitlines()
    assert groups[0] == "path,slide"
    assert {line.split(",")[0] for line in groups[1:]} == set(split.parts)
    (exported,) = json.loads((tmp_path / "cells" / "cartcls-export.json").read_text())["slides"]
    assert {line.split(",")[1] for line in groups[1:]} == {exported["group"]}


def test_files_that_are_gone_or_changed_are_named_and_left_out(out: Path, folder: Path, tmp_path: Path):
    correct(out, corrections(out, *SOME, (7, "platelet"), (8, "platelet")), "Ada")
    (folder / "cell-01.jpg").unlink()  # its bytes are in `z-again.jpg`, too
    (folder / "cell-02.jpg").write_bytes(b"other")
    (folder / "cell-03.jpg").unlink()
    made = export_reviewed(out, tmp_path / "cells")
    assert made.missing == {
        "slide/cell-02.jpg": "has changed since it was reviewed",
        "slide/cell-03.jpg": "has vanished",
    }
    assert (made.summary.reviewed, made.summary.cells) == ("flagged", 5)


def test_a_cell_that_was_moved_since_is_found_by_its_bytes(out: Path, folder: Path, tmp_path: Path):
    correct(out, corrections(out, *SOME, (7, "platelet"), (8, "platelet")), "Ada")
    (folder / "sorted").mkdir()
    (folder / "cell-03.jpg").rename(folder / "sorted" / "eosinophil.jpg")
    (folder / "cell-04.jpg").rename(folder / "cell-03.jpg")
    made = export_reviewed(out, tmp_path / "cells")
    assert (made.missing, made.summary.reviewed, made.summary.cells) == ({}, "all", 7)


def test_a_reviewed_cell_that_is_gone_is_named_and_is_no_part_of_what_is_counted(
    out: Path, folder: Path, bundle: Bundle, tmp_path: Path
):
    correct(out, corrections(out, *SOME, (7, "platelet"), (8, "platelet")), "Ada")
    (folder / "cell-03.jpg").unlink()
    classify(folder, bundle)
    made = export_reviewed(out, tmp_path / "cells")
    assert made.missing == {"slide/cell-03.jpg": "its file is no longer in the slide's folder"}
    assert (made.summary.reviewed, made.summary.slides[0].counted, made.summary.cells) == ("all", 6, 6)


def test_a_gone_cell_is_missed_only_where_it_would_be_copied_and_also_if_it_was_the_only_one_of_its_slide(
    out: Path, folder: Path, bundle: Bundle, tmp_path: Path
):
    correct(out, corrections(out, (3, "monocyte"), (4, "not a cell"), (5, "unsure")), "Ada")
    for number in (3, 4, 5):
        (folder / f"cell-{number:02d}.jpg").unlink()
    classify(folder, bundle)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(folder / "cell-01.jpg", other)
    classify(other, bundle)
    with existing_ledger(out) as (ledger, _):
        (cell,) = (second := ledger.slides()[1]).cells()
        made = Correction(1, cell.sha256 or "", "eosinophil", "monocyte", "Ada", "2026-01-01T00:00:00Z")
        second.correct([made], [made.applied_to(cell)])
    exported = export_reviewed(out, tmp_path / "cells")
    assert exported.missing == {"slide/cell-03.jpg": "its file is no longer in the slide's folder"}
    assert [slide.slide for slide in exported.summary.slides] == ["other"]


def test_a_name_that_cannot_be_a_folder_is_left_out(out: Path, tmp_path: Path):
    correct(out, corrections(out, (1, "other: ../up"), (2, "monocyte")), "Ada")
    made = export_reviewed(out, tmp_path / "cells")
    assert list(made.missing) == ["slide/cell-01.jpg"]
    assert not (tmp_path / "up").exists()


def test_nothing_else_is_replaced_and_nothing_is_made_of_nothing(out: Path, tmp_path: Path):
    with pytest.raises(OutputError, match="no cell was reviewed"):
        export_reviewed(out, tmp_path / "cells")
    assert not (tmp_path / "cells").exists()
    correct(out, corrections(out, *SOME), "Ada")
    (tmp_path / "mine").mkdir()
    with pytest.raises(OutputError, match="is not an export"):
        export_reviewed(out, tmp_path / "mine")
    export_reviewed(out, tmp_path / "cells")
    export_reviewed(out, tmp_path / "cells")
