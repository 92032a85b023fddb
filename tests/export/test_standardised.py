from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from fakes import adjusting, giving_findings
from msgspec import structs

from cartcls.calibration.limits import gaussians
from cartcls.calibration.unlabelled import UnlabelledCells
from cartcls.export.head import read_head
from cartcls.export.reheaded import check_reheadable
from cartcls.export.standardised import PART, write_standardised
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import BundleError, DataError
from cartcls.runtime.images.adjust import Adjustment
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.inference.parity import read_reference

DIMENSIONS, COUNT = 3968, 120


@pytest.fixture(scope="module")
def home(bundle: Bundle) -> Bundle:
    """A bundle with all its features in its calibration."""
    features = np.random.default_rng(0).normal(size=(400, DIMENSIONS)) * 0.2 + 0.5
    usual = gaussians(features, np.arange(400) % len(bundle.classes))
    assert bundle.calibration is not None
    return replace(bundle, calibration=replace(bundle.calibration, features=usual))


def cells_with(features: npt.NDArray[np.float64], files: list[Path]) -> UnlabelledCells:
    probabilities = np.full((len(features), 8), 1 / 8)
    return UnlabelledCells(files, features.astype(np.float32), probabilities)


def test_its_head_takes_the_features_as_they_are_at_that_laboratory(
    home: Bundle, slide: Path, labels: dict[str, str], tmp_path: Path
):
    random = np.random.default_rng(1)
    usual = random.normal(size=(COUNT, DIMENSIONS)) * 0.2 + 0.5
    files = [slide / name for name in [*labels][:4]] * (COUNT // 4)
    start = giving_findings(adjusting(home, Adjustment(1.2)))
    made = write_standardised(start, cells_with(usual * 0.9 - 0.1, files), tmp_path / "ours")
    assert (made.adjustment, made.report) == (Adjustment(1.2), "finding")
    assert any((image == start.graph_input(read_image(files[0])[0])).all() for image in read_reference(made).images)
    before, after = read_head(home.model), read_head(made.model)
    assert (after.logits(usual * 0.9 - 0.1).argmax(1) == before.logits(usual).argmax(1)).mean() > 0.9
    assert (made.name, made.calibrated, made.manifest.metrics) == ("ours", False, {})
    assert made.manifest.parity.part == PART
    assert all(check.passed for check in made.manifest.parity.checks[-1:])
    card = (made.directory / "MODEL_CARD.md").read_text()
    assert f"# then the head: features standardised by {COUNT} cells without a label, for a usual differential" in card
    assert "| none yet |" in card
    with pytest.raises(DataError, match="exists already"):
        check_reheadable(home, made.directory)


def test_cells_like_those_of_home_change_nothing(home: Bundle, slide: Path, tmp_path: Path):
    usual = np.random.default_rng(1).normal(size=(COUNT, DIMENSIONS)) * 0.2 + 0.5
    with pytest.raises(DataError, match="use the bundle as it is"):
        write_standardised(home, cells_with(usual, [next(slide.glob("*.jpg"))] * COUNT), tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_a_bundle_without_all_its_features_is_refused(home: Bundle, tmp_path: Path):
    assert home.calibration is not None
    few = gaussians(np.random.default_rng(0).normal(size=(40, 5)), np.arange(40) % 8)
    with pytest.raises(BundleError, match="gives 5 of the 3968 features"):
        check_reheadable(replace(home, calibration=replace(home.calibration, features=few)), tmp_path / "ours")
    manifest = structs.replace(home.manifest, calibration=None)
    with pytest.raises(BundleError, match="is not calibrated: run `cartcls calibrate` on it first"):
        check_reheadable(replace(home, manifest=manifest, calibration=None), tmp_path / "ours")
