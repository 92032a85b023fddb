import hashlib
import os
import shutil
from pathlib import Path

import pytest
from fakes import adjusting

from cartcls.calibration.calibrate import Calibrated
from cartcls.export.recalibrated import check_writable, write_calibrated
from cartcls.runtime.bundle.bundle import SHIPPED, Bundle, load_bundle
from cartcls.runtime.errors import BundleError, OutputError
from cartcls.runtime.images.adjust import Adjustment


def as_calibrated(bundle: Bundle) -> Calibrated:
    """What was written into a bundle, to be written again."""
    names = ("calibration.npz", "reliability.png", "risk-coverage.png")
    files = {name: (bundle.directory / name).read_bytes() for name in names}
    assert bundle.manifest.calibration is not None
    return Calibrated(bundle.manifest.calibration, files)


def test_the_graph_stays_and_card_pictures_and_digests_are_new(calibrated: Bundle, bundle: Bundle):
    assert calibrated.model == bundle.model
    assert calibrated.sha256 != bundle.sha256
    assert calibrated.calibrated
    for name, sha256 in calibrated.manifest.files.items():
        assert hashlib.sha256((calibrated.directory / name).read_bytes()).hexdigest() == sha256
    card = (calibrated.directory / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "**Estimated, no promise: at most 5.00% of all cells are wrong and marked ok, with 95% confidence" in card
    assert "cells of at least 10 slides or patients: here their number is unknown." in card
    assert calibrated.manifest.unknown_cells in card
    assert "not calibrated" not in card
    assert (calibrated.directory / "calibration.npz").stat().st_size < 2e6
    for name in ("reliability.png", "risk-coverage.png"):
        assert (calibrated.directory / name).read_bytes().startswith(b"\x89PNG")


def test_pictures_are_adjusted_as_before(calibrated: Bundle, tmp_path: Path):
    written = write_calibrated(adjusting(calibrated, Adjustment(0.7)), as_calibrated(calibrated), tmp_path / "mine")
    assert load_bundle(written.directory).adjustment == Adjustment(0.7)


def test_engines_in_the_bundle_stay_with_it(calibrated: Bundle, tmp_path: Path):
    own = Path(shutil.copytree(calibrated.directory, tmp_path / "mine"))
    (own / "engines").mkdir()
    (own / "engines" / "tensorrt-fp16-sm86.engine").write_bytes(b"engine")
    written = write_calibrated(load_bundle(own), as_calibrated(calibrated), own)
    assert written.directory == own
    assert (own / "engines" / "tensorrt-fp16-sm86.engine").read_bytes() == b"engine"


def test_a_calibration_that_cannot_be_loaded_leaves_the_bundle_as_it_was(calibrated: Bundle, tmp_path: Path):
    own = Path(shutil.copytree(calibrated.directory, tmp_path / "mine"))
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    made = as_calibrated(calibrated)
    broken = Calibrated(made.record, {**made.files, "calibration.npz": b"no arrays"})
    with pytest.raises(BundleError, match=r"calibration\.npz is cut off or malformed"):
        write_calibrated(load_bundle(own), broken, own)
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_places_that_cannot_be_written_are_refused_at_once(
    calibrated: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(OutputError, match=r"the shipped bundle belongs to the installation: .* --out"):
        check_writable(load_bundle(SHIPPED), None)
    with pytest.raises(OutputError, match="exists already"):
        check_writable(calibrated, tmp_path)
    assert check_writable(calibrated, None) == calibrated.directory.resolve()
    assert check_writable(calibrated, tmp_path / "new") == tmp_path / "new"
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file cannot be written: choose another --out"):
        check_writable(calibrated, tmp_path / "file" / "new")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match=r"cannot be written: .* --out"):
        check_writable(calibrated, None)
    with pytest.raises(OutputError, match="cannot be written: choose another --out"):
        check_writable(calibrated, tmp_path / "deep" / "new")


@pytest.mark.parametrize(("folder", "name"), [("our-microscope", "our-microscope"), ("-odd", "rcmnet-pbc8")])
def test_a_copy_is_named_after_its_folder_where_that_can_be_a_name(
    calibrated: Bundle, tmp_path: Path, folder: str, name: str
):
    written = write_calibrated(calibrated, as_calibrated(calibrated), tmp_path / folder)
    assert written.name == name
    assert (tmp_path / folder / "MODEL_CARD.md").read_text(encoding="utf-8").startswith(f"# {name}")


def test_a_manifest_says_nothing_of_the_machine(calibrated: Bundle):
    text = (calibrated.directory / "bundle.json").read_text()
    assert str(Path.home()) not in text
    assert "/tmp" not in text
