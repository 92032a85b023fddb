import hashlib
import json
import shutil
from collections import Counter
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from fakes import FakeBackend, KnowingBackend, write_manifest

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.bundle.review import assess
from cartcls.runtime.errors import BundleError
from cartcls.runtime.images.quality import measure
from cartcls.runtime.images.resize import Image
from cartcls.runtime.ledger.folder import open_ledger
from cartcls.runtime.slides.batch import classify_slide


@pytest.fixture
def copy(calibrated: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(calibrated.directory, tmp_path / "rcmnet-pbc8"))


def change(directory: Path, npz: bytes | None = None, **record: object) -> None:
    """Change a calibration, with the right digests: what is left to find is what does not fit."""
    manifest = json.loads((directory / "bundle.json").read_text())
    manifest["calibration"] |= record
    if npz is not None:
        (directory / "calibration.npz").write_bytes(npz)
        manifest["files"]["calibration.npz"] = hashlib.sha256(npz).hexdigest()
    write_manifest(directory, manifest)


def arrays(directory: Path, **changed: npt.NDArray[np.generic]) -> bytes:
    with np.load(directory / "calibration.npz") as found:
        values = {**found, **changed}
    file = BytesIO()
    np.savez(file, allow_pickle=False, **values)
    return file.getvalue()


def test_what_speaks_against_a_label_is_said_with_its_figures(calibrated: Bundle, crops: Image):
    assert calibrated.calibration is not None
    calibration = replace(calibrated.calibration, threshold=0.93)
    features, quality = calibration.features.means[2], measure(crops[0], 360, 363)
    assert assess(calibration, 0.95, features, quality).reasons == []
    assert assess(calibration, 0.61, features, quality).reasons == ["low confidence (0.61 < 0.93)"]
    assert assess(calibration, 0.9299, features, quality).reasons == ["low confidence (0.9299 < 0.9300)"]
    black = measure(np.zeros_like(crops[0]), 4000, 3000)
    reasons = assess(calibration, 0.5, features + 99, black).reasons
    titles = [reason.split(" (")[0] for reason in reasons]
    assert titles[:3] == ["low confidence", "unlike the training cells", "stain unlike the training cells"]
    assert {"looks like a whole field", "no cell", "too dark"} <= set(titles)
    assert assess(calibration, 0.95, np.full_like(features, np.nan), quality).reasons[0].startswith("unlike")


def test_a_slide_is_sorted_into_what_passes_and_what_a_person_must_see(
    slide: Path, tmp_path: Path, calibrated: Bundle, knowing: KnowingBackend
):
    with open_ledger(tmp_path, calibrated) as ledger:
        _, summary = classify_slide(slide, tmp_path, Classifier(calibrated, knowing), ledger)
        (found,) = ledger.slides()
        own = Counter(cell.label for cell in found.cells() if cell.status == "ok")
    assert own.total() >= 17  # of the 20 whose class is not always looked at
    assert own["platelet"] <= summary.status["ok"] < own.total()  # four leukocytes of a class are few
    assert summary.alarm == ""
    assert summary.calibration is not None
    assert (summary.calibration.guaranteed_error, summary.calibration.part) == (0.05, "calibrate, split by image")
    stranger = FakeBackend()
    with open_ledger(tmp_path / "other", calibrated) as ledger:
        stranger.infer = lambda images: replace(  # the right labels from features of nowhere
            knowing.infer(images), features=np.full((len(images), 64), 50, np.float32)
        )
        _, summary = classify_slide(slide, tmp_path / "other", Classifier(calibrated, stranger), ledger)
        (found,) = ledger.slides()
        own = [cell.reason for cell in found.cells()]
    assert (summary.status["review"], summary.alarm) == (32, "features")
    assert sum("unlike the training cells (distance" in reason for reason in own) == 32


def test_strange_cells_raise_the_alarm(many_cells: tuple[Path, Path], tmp_path: Path, calibrated: Bundle):
    cells = sorted((many_cells[0] / "eosinophil").glob("*.jpg"))[:60]
    folder = tmp_path / "slide"
    folder.mkdir()
    for cell in cells:
        shutil.copy(cell, folder / cell.name)
    with open_ledger(tmp_path / "out", calibrated) as ledger:
        backend = FakeBackend()
        backend.infer = lambda images: replace(
            FakeBackend().infer(images), features=np.full((len(images), 64), 50, np.float32)
        )
        _, summary = classify_slide(folder, tmp_path / "out", Classifier(calibrated, backend), ledger)
    assert summary.alarm.startswith("features")
    assert (summary.status["ok"], summary.status["review"]) == (0, 60)


def test_a_file_that_was_cut_off_is_refused_by_its_digest_and_by_its_form(copy: Path):
    data = (copy / "calibration.npz").read_bytes()
    (copy / "calibration.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(BundleError, match="was altered or damaged"):
        load_bundle(copy)
    change(copy, npz=data[: len(data) // 2])
    with pytest.raises(BundleError, match="cut off or malformed"):
        load_bundle(copy)


def test_features_of_another_model_are_refused(copy: Path):
    change(copy, npz=arrays(copy, model_sha256=np.array("0" * 64)))
    with pytest.raises(BundleError, match="features of another model"):
        load_bundle(copy)


def test_a_class_that_is_missing_is_named_by_number(copy: Path):
    change(copy, npz=arrays(copy, feature_means=np.zeros((7, 64), np.float32)))
    with pytest.raises(BundleError, match="has 7 of 8 classes"):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"stain_whitening": np.eye(3)}, "the sizes of the stains differ"),
        ({"feature_means": np.full((8, 64), np.nan)}, "the features hold not-a-number"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(copy: Path, changed: dict[str, npt.NDArray[np.generic]], problem: str):
    change(copy, npz=arrays(copy, **changed))
    with pytest.raises(BundleError, match=problem):
        load_bundle(copy)


def test_a_calibration_without_its_file_is_refused(copy: Path):
    manifest = json.loads((copy / "bundle.json").read_text())
    del manifest["files"]["calibration.npz"]
    write_manifest(copy, manifest)
    with pytest.raises(BundleError, match=r"has no calibration\.npz"):
        load_bundle(copy)
