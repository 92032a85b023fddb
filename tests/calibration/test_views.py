import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from fakes import FakeBackend

from cartcls.calibration.head import Head
from cartcls.calibration.views import VIEWS, gather_views
from cartcls.runtime.bundle.bundle import INT8_MODEL, Bundle
from cartcls.runtime.errors import DataError
from cartcls.runtime.inference.backend import Outputs
from cartcls.runtime.inference.classifier import Classifier
from cartcls.runtime.inference.openvino_backend import F32, INT8, OpenVINOBackend


class Corner(FakeBackend):
    """Gives the mean colour of the upper left corner as features."""

    def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
        outputs = super().infer(images)
        corners = images[:, :40, :40].mean((1, 2)).astype(np.float32)
        features = np.zeros_like(outputs.features)
        features[:, :3] = corners
        return Outputs(outputs.logits, features, outputs.cams)


def test_each_cell_is_seen_turned_and_mirrored(bundle: Bundle, slide: Path):
    files, done = sorted(slide.glob("*.jpg"))[:2], []
    found = gather_views(files, Classifier(bundle, Corner()), lambda *step: done.append(step))
    assert done == [(1, 2), (2, 2)]
    assert len(found.qualities) == len(found.features) == 2
    assert found.turned.shape[:2] == (2, VIEWS) == (2, 6)
    assert not np.allclose(found.features[0], found.turned[0].mean(0), atol=0.5)  # its corners differ
    single = next(iter(Classifier(bundle, Corner()).predict(files[:1])))
    assert np.allclose(found.features[0], single.features)


def test_cells_that_a_head_is_unsure_of_are_answered_in_float32(bundle: Bundle, slide: Path):
    files = sorted(slide.glob("*.jpg"))[:4]
    with Classifier(bundle, OpenVINOBackend(bundle.model, INT8, bundle.file(INT8_MODEL).read())) as classifier:
        found = gather_views(files, classifier, lambda *step: None)
    with Classifier(bundle, OpenVINOBackend(bundle.model, F32)) as classifier:
        exact = np.stack([prediction.features for prediction in classifier.predict(files)])
    assert np.array_equal(found.exact, exact)
    assert not np.allclose(found.exact, found.features, rtol=1e-3)
    first = np.zeros((2, exact.shape[1]))
    first[0] = found.features[0] - found.features[1:].mean(0)
    places, sure, unsure = np.arange(4), Head(first, np.array([100.0, 0])), Head(first * 1e-6, np.zeros(2))
    assert np.array_equal(found.answers(sure, places)[1], found.features)
    logits, features = found.answers(unsure, places[1:])
    assert np.array_equal(features, exact[1:])
    assert np.array_equal(logits, unsure.logits(exact[1:]).astype(np.float32))


def test_a_picture_that_cannot_be_read_is_named(bundle: Bundle, slide: Path, tmp_path: Path):
    good, bad = Path(shutil.copy(next(slide.glob("*.jpg")), tmp_path / "good.jpg")), tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff no image")
    with pytest.raises(DataError, match=r"bad.jpg .*mend it, or take it out of the folder"):
        gather_views([good, bad], Classifier(bundle, FakeBackend()), lambda *step: None)
