import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from fakes import FakeBackend
from typer.testing import CliRunner

from cartcls.calibration import adapted_head
from cartcls.calibration.adapted_head import HomeCells
from cartcls.calibration.limits import gaussians
from cartcls.calibration.own_cells import OwnCells
from cartcls.calibration.picture_measures import measure_pictures
from cartcls.calibration.views import VIEWS
from cartcls.cli import app, show_calibration
from cartcls.export import adapted, reheaded
from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.errors import BundleError
from cartcls.runtime.images.adjust import Adjustment, adjust
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.resize import stretch
from cartcls.runtime.inference import choose
from cartcls.runtime.inference.backend import Outputs


@pytest.fixture
def own_dir(data_dir: Path, tmp_path: Path) -> Path:
    """Eight cells of each of two classes."""
    for name in ("ig", "monocyte"):
        for cell in (data_dir / name).iterdir():
            (tmp_path / "own" / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(cell, tmp_path / "own" / name)
    extra = sorted((data_dir / "basophil").iterdir()) + sorted((data_dir / "neutrophil").iterdir())
    for cell, name in zip(extra, ["ig", "monocyte"] * 4, strict=True):
        shutil.copy(cell, tmp_path / "own" / name)
    return tmp_path / "own"


@dataclass
class Made:
    """What `cartcls adapt` would have written."""

    starts: list[Bundle] = field(default_factory=list)
    cells: list[OwnCells] = field(default_factory=list)
    seen: list[npt.NDArray[np.uint8]] = field(default_factory=list)


@pytest.fixture
def made(bundle: Bundle, own_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Nothing is written; home's cells are those of the laboratory, as they are."""
    usual = gaussians(np.random.default_rng(0).normal(size=(80, 3968)), np.arange(80) % 8)
    names, found = [entry.name for entry in bundle.classes], Made()
    files = sorted(own_dir.glob("*/*.jpg"))
    measures = measure_pictures(bundle.graph_input(read_image(file)[0]) for file in files)
    labels = np.array([names.index(file.parent.name) for file in files])
    home = HomeCells(usual.means[labels], labels, names, measures)

    class Watching(FakeBackend):
        def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
            found.seen.extend(images)
            return super().infer(images)

    def write(start, adapted, own, curve, backend, out):  # type: ignore[no-untyped-def]
        found.starts.append(start)
        found.cells.append(own)
        assert curve.startswith(b"\x89PNG")
        return load_bundle()

    monkeypatch.setattr(reheaded, "check_reheadable", lambda bundle, out: usual)
    monkeypatch.setattr(adapted_head, "read_home_cells", lambda bundle: home)
    monkeypatch.setattr(adapted, "write_adapted", write)
    monkeypatch.setattr(choose, "open_backend", lambda *arguments, **options: Watching())
    monkeypatch.setattr(show_calibration, "adapted", lambda bundle: None)
    return found


def test_labelled_cells_become_a_bundle(own_dir: Path, tmp_path: Path, made: Made):
    done = CliRunner().invoke(app, ["adapt", str(own_dir), "--out", str(tmp_path / "ours"), "--json"])
    assert done.exit_code == 0, done.output
    assert made.cells[0].cells.classes == ["ig", "monocyte"]
    assert made.cells[0].views.features.shape == (16, 3968)
    assert made.starts[0].adjustment is None
    assert made.starts[0].home_scale is None  # 16 cells are too few
    assert "this bundle cannot classify whole fields" in " ".join(done.stderr.split())


def test_pictures_of_another_size_are_adjusted_before_anything_is_made_of_them(
    own_dir: Path, bundle: Bundle, tmp_path: Path, made: Made
):
    for file in own_dir.glob("*/*.jpg"):
        smaller = adjust(read_image(file)[0], Adjustment(0.7))
        cv2.imwrite(str(file), smaller[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    options = ["--out", str(tmp_path / "ours"), "--scale", "--stain"]
    done = CliRunner().invoke(app, ["adapt", str(own_dir), *options])
    assert done.exit_code == 0, done.output
    adjustment = made.starts[0].adjustment
    assert adjustment is not None
    assert adjustment.scale == pytest.approx(1 / 0.7, rel=0.1)
    said = " ".join(done.stderr.split())
    assert f"--scale: pictures enlarged {adjustment.scale:.2f} times, so that nuclei are as large as at home" in said
    found, home = made.starts[0].home_scale, bundle.home_scale
    assert found is not None and home is not None
    assert found.red_cell_px == pytest.approx(0.7 * home.red_cell_px, rel=0.1)
    assert "--stain: colours are near home's, and nothing is mapped" in said
    assert f"for the model: pictures enlarged {adjustment.scale:.2f} times" in said
    first = own_dir / made.cells[0].cells.paths[0]
    raw = stretch(read_image(first)[0], bundle.width, bundle.height)
    np.testing.assert_array_equal(made.seen[0], adjust(raw, adjustment))
    assert len(made.seen) == 16 * VIEWS


def test_a_bundle_of_an_older_version_must_be_calibrated_again_first(
    own_dir: Path, tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch
):
    old = replace(adapted_head.read_home_cells(load_bundle()), measures=None)
    monkeypatch.setattr(adapted_head, "read_home_cells", lambda bundle: old)
    arguments = ["adapt", str(own_dir), "--out", str(tmp_path / "ours")]
    for option in ("--scale", "--stain"):
        with pytest.raises(BundleError, match="calibrate the bundle again with this version"):
            CliRunner().invoke(app, [*arguments, option], catch_exceptions=False)
    assert CliRunner().invoke(app, arguments).exit_code == 0
