import csv
import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from fakes import FakeBackend
from msgspec import structs
from typer.testing import CliRunner

from cartcls.calibration.adapted_head import HOME_CELLS, home_cells_file
from cartcls.cli import app
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import MODEL, SHIPPED, Bundle, load_bundle, write_bundle
from cartcls.runtime.bundle.review import CALIBRATION
from cartcls.runtime.errors import BundleError, CartclsError, DataError
from cartcls.runtime.inference import choose
from cartcls.runtime.inference.backend import Outputs
from cartcls.runtime.ledger.folder import existing_ledger, open_ledger
from cartcls.runtime.ledger.records import Correction
from cartcls.runtime.slides.batch import classify_slide

CLASS = "Große Zölle"  # with letters that macOS writes as two


class PixelBackend(FakeBackend):
    """Its features are the green pixels of the small picture, and it says class 0 of each."""

    def __init__(self, classes: int = 8):
        super().__init__()
        self.classes = classes

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        small = [
            cv2.resize(image[..., 1], (62, 64), interpolation=cv2.INTER_AREA).reshape(-1) / 255 for image in images
        ]
        logits = np.tile(np.eye(1, self.classes, dtype=np.float32) * 5, (len(images), 1))
        maps = np.ones((len(images), self.classes, 12, 12), np.float32)
        return Outputs(logits, np.stack(small).astype(np.float32), maps)


def labelled(root: Path, data_dir: Path, *folders: tuple[str, str, int]) -> Path:
    """Class folders with so many different files of a class of `data_dir`, which has four cells of each."""
    root.mkdir(exist_ok=True)
    for folder, name, count in folders:
        (root / folder).mkdir()
        cells = sorted((data_dir / name).iterdir())
        for place in range(count):
            data = cells[place % len(cells)].read_bytes() + folder.encode() + b"%d" % place  # behind the end marker
            (root / folder / f"{place:02}.jpg").write_bytes(data)
    return root


def refused(*arguments: object) -> CartclsError:
    """Why `cartcls adapt` does nothing."""
    done = CliRunner().invoke(app, ["adapt", *map(str, arguments)])
    assert isinstance(done.exception, CartclsError), done.output
    return done.exception


def one_class(own: Path) -> None:
    shutil.rmtree(own / "theirs")


def few_of_one(own: Path) -> None:
    for cell in sorted((own / "theirs").iterdir())[3:]:
        cell.unlink()


def the_same_in_both(own: Path) -> None:
    shutil.copy(own / "ours" / "00.jpg", own / "theirs" / "again.jpg")


def renamed(name: str) -> Callable[[Path], None]:
    return lambda own: (own / "theirs").rename(own / name) and None


def no_images(own: Path) -> None:
    for folder in ("ours", "theirs"):
        shutil.rmtree(own / folder)


def not_there(own: Path) -> None:
    shutil.rmtree(own)


def cut_off(own: Path) -> None:
    cell = own / "ours" / "03.jpg"
    cell.write_bytes(cell.read_bytes()[:3000])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (one_class, r"own: found 1 class folder\(s\): at least two classes are needed"),
        (few_of_one, r"own: 5 folds need .* fewer of theirs \(3\): add images, or move the folder elsewhere$"),
        (the_same_in_both, r"own: ours/00\.jpg and theirs/again\.jpg have the same bytes, .* remove the wrong one"),
        (renamed("other: x"), r"own: rename the class folder 'other: x': use letters"),
        (renamed("Unsure"), r"own: 'Unsure' is a label of reviewers .* move that folder elsewhere"),
        (renamed("not a cell"), r"own: 'not a cell' is a label of reviewers .* move that folder elsewhere"),
        (no_images, r"own has no images in class folders: name a folder with one folder of images per class"),
        (not_there, r"own is not a folder: name a folder with one folder of images per class"),
        (cut_off, r"own/ours/03\.jpg is incomplete: .* mend it, or take it out of the folder \("),
    ],
)
def test_cells_that_cannot_be_used_are_named_and_nothing_is_written(
    data_dir: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(choose, "open_backend", lambda *arguments, **options: PixelBackend())
    own = labelled(tmp_path / "own", data_dir, ("ours", "platelet", 6), ("theirs", "neutrophil", 6))
    spoil(own)
    error = refused(own, "--out", tmp_path / "ours")
    assert isinstance(error, DataError)
    with pytest.raises(DataError, match=said):
        raise error
    assert {path.name for path in tmp_path.iterdir()} <= {"own"}


def test_groups_that_leave_no_class_to_learn_are_refused(data_dir: Path, tmp_path: Path):
    own = labelled(tmp_path / "own", data_dir, ("ours", "platelet", 6), ("theirs", "neutrophil", 6))
    groups = tmp_path / "groups.csv"
    rows = [f"{path.parent.name}/{path.name},{path.stem if path.parent.name == 'ours' else 's'}" for path in cells(own)]
    groups.write_text("\n".join(["path,slide", *rows]) + "\n")
    error = refused(own, "--groups", groups, "--out", tmp_path / "ours")
    assert f"{own}: all images of theirs are of the group 's'" in str(error)
    groups.write_text("\n".join(["path,slide", *rows[1:]]) + "\n")
    error = refused(own, "--groups", groups, "--out", tmp_path / "ours")
    assert "groups.csv: no group for 1 image(s): ours/00.jpg: add a line for each" in str(error)
    assert not (tmp_path / "ours").exists()


def cells(own: Path) -> list[Path]:
    return sorted(own.glob("*/*.jpg"))


def test_a_bundle_is_not_written_among_the_cells_or_where_nothing_can_be(data_dir: Path, tmp_path: Path):
    own = labelled(tmp_path / "own", data_dir, ("ours", "platelet", 6), ("theirs", "neutrophil", 6))
    assert str(refused(own, "--out", own / "new")) == (
        f"{own / 'new'} is in {own}, among the labelled cells: choose another --out"
    )
    (tmp_path / "file").touch()
    assert "file cannot be written: choose another --out" in str(refused(own, "--out", tmp_path / "file" / "new"))


def test_a_bundle_of_other_features_is_refused(data_dir: Path, tmp_path: Path):
    own = labelled(tmp_path / "own", data_dir, ("ours", "platelet", 6), ("theirs", "neutrophil", 6))
    shipped = load_bundle(SHIPPED)
    files = {name: shipped.file(name).read() for name in shipped.manifest.files}
    (other := tmp_path / "other").mkdir()
    write_bundle(other, shipped.manifest, files | {HOME_CELLS: home_cells_file(np.zeros((8, 512)), np.arange(8))})
    error = refused(own, "--bundle", other, "--out", tmp_path / "ours")
    assert isinstance(error, BundleError)
    assert "home.npz is malformed (512 features of each cell, and the calibration has 3968): calibrate" in str(error)
    shutil.rmtree(other)
    other.mkdir()
    files = {name: data for name, data in files.items() if name != CALIBRATION}
    write_bundle(other, structs.replace(shipped.manifest, calibration=None), files)
    error = refused(own, "--bundle", other, "--out", tmp_path / "ours")
    assert str(error) == f"{other} is not calibrated: run `cartcls calibrate` on it first"
    (other / MODEL).write_bytes(b"another")
    assert isinstance(refused(own, "--bundle", other, "--out", tmp_path / "ours"), BundleError)
    assert not (tmp_path / "ours").exists()


def reviewed_slides(root: Path, data_dir: Path, bundle: Bundle, whole: int) -> Path:
    """Reports of six slides with two cells of each of two classes; of those beyond `whole` three were reviewed."""
    out = root / "out"
    with open_ledger(out, bundle) as ledger:
        for number in range(6):
            folder = root / f"slide-{number}"
            labelled(root / "made", data_dir, (f"a{number}", "platelet", 2), (f"b{number}", "neutrophil", 2))
            shutil.copytree(root / "made", folder)
            shutil.rmtree(root / "made")
            classify_slide(folder, out, Classifier(bundle, FakeBackend()), ledger, notify=lambda line: None)
    with existing_ledger(out) as (ledger, _):
        for number, slide in enumerate(ledger.slides()):
            for cell in list(slide.cells())[: 4 if number < whole else 3]:
                label = f"other: {CLASS}" if cell.path.startswith("a") else "neutrophil"
                made = Correction(cell.seq, cell.sha256 or "", cell.present_label or "", label, "Ada", cell.analysed_at)
                slide.correct([made], [made.applied_to(cell)])
    return out


def test_corrected_cells_make_a_bundle_that_is_tested_on_slides_that_were_reviewed_whole(
    data_dir: Path, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(choose, "open_backend", lambda *arguments, **options: PixelBackend())
    out, export = reviewed_slides(tmp_path, data_dir, bundle, whole=5), tmp_path / "reviewed"
    run = CliRunner().invoke
    assert run(app, ["correct", str(out), "--export", str(export)]).exit_code == 0
    done = run(app, ["adapt", str(export), "--out", str(tmp_path / "ours")])
    assert done.exit_code == 0, done.output
    said = " ".join(done.stderr.split())
    assert f"slides are those of {export / 'groups.csv'}" in said
    assert "3 cells of flagged slides trained the head and were not tested" in said
    assert "at least 50 labelled cells of 5 slides are needed, there are 20 of 5" in said
    assert "of 20 cells right" in done.stdout
    made = load_bundle(tmp_path / "ours")
    record = made.manifest.calibration
    assert record is not None
    assert record.reviewed == {f"{number:04}": "all" if number < 6 else "flagged" for number in range(1, 7)}
    assert record.parts == {"flagged": 3, "out of fold": 20}
    untested = "cross-validated, by group; 3 cells of flagged slides trained the head and were not tested"
    assert record.split_unit == untested
    assert made.manifest.source.head == f"cartcls adapt: 23 labelled cells of 2 classes ({untested})"
    assert untested in (made.directory / "MODEL_CARD.md").read_text(encoding="utf-8").replace("\n", " ")
    with (made.directory / "cross-validation.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["group"] for row in rows} == {f"{number:04}" for number in range(1, 6)}
    assert {row["class"] for row in rows} == {CLASS, "neutrophil"}
    assert f"p_{CLASS}" in rows[0]


def test_an_export_of_too_few_slides_that_were_reviewed_whole_is_refused(
    data_dir: Path, tmp_path: Path, bundle: Bundle
):
    out, export = reviewed_slides(tmp_path, data_dir, bundle, whole=3), tmp_path / "reviewed"
    assert CliRunner().invoke(app, ["correct", str(out), "--export", str(export)]).exit_code == 0
    error = refused(export, "--out", tmp_path / "ours")
    assert f"{export}: to tell how often a head is right takes at least 5 slides that were reviewed whole" in str(error)
    assert "There are 3 such slides. Review all cells of at least 2 more, and export again" in str(error)
    assert not (tmp_path / "ours").exists()


def test_a_class_name_with_an_umlaut_and_a_space_goes_all_the_way_and_comes_back(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    decomposed = unicodedata.normalize("NFD", CLASS)  # as a folder that came from a Mac
    own = labelled(tmp_path / "own", data_dir, (decomposed, "platelet", 6), ("neutrophil", "neutrophil", 6))
    monkeypatch.setattr(choose, "open_backend", lambda *arguments, **options: PixelBackend())
    run = CliRunner().invoke
    ours, out, slide = tmp_path / "ours", tmp_path / "out", tmp_path / "slide"
    assert run(app, ["adapt", str(own), "--out", str(ours)]).exit_code == 0  # twelve cells are too few to be ok
    names = [entry["name"] for entry in json.loads((ours / "bundle.json").read_text(encoding="utf-8"))["classes"]]
    assert names == [CLASS, "neutrophil"]
    assert f"p_{CLASS}" in (ours / "cross-validation.csv").read_text(encoding="utf-8").splitlines()[0]
    monkeypatch.setattr(choose, "open_backend", lambda *arguments, **options: PixelBackend(2))
    shutil.copytree(own / decomposed, slide)
    done = run(app, ["batch", str(slide), "--bundle", str(ours), "--out", str(out)])
    assert done.exit_code == 0, done.output
    with (out / "slide" / "cells.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} == {CLASS}
    assert f"p_{CLASS}" in rows[0]
    assert CLASS in (out / "slide" / "report.html").read_text(encoding="utf-8")
    corrections = ["report,slide,bundle_sha256,seq,sha256,from,to"]
    with existing_ledger(out) as (ledger, bundle):
        (of_slide,) = ledger.slides()
        start = f"{of_slide.slide.report},slide,{bundle.sha256}"
        corrections += [f"{start},{cell.seq},{cell.sha256},{CLASS},{CLASS}" for cell in of_slide.cells()]
    (tmp_path / "corrections.csv").write_text("\n".join(corrections) + "\n", encoding="utf-8")
    arguments = ["correct", str(out), str(tmp_path / "corrections.csv"), "--by", "Ada", "--export", str(tmp_path / "x")]
    done = run(app, arguments)
    assert done.exit_code == 0, done.output
    assert len(cells(tmp_path / "x")) == 6
    assert {path.parent.name for path in cells(tmp_path / "x")} == {CLASS}
