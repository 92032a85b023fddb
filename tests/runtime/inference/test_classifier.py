import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import numpy as np
import numpy.typing as npt
import pytest
from fakes import FakeBackend, adjusting

from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import BackendError, BundleError
from cartcls.runtime.images.adjust import Adjustment, adjust
from cartcls.runtime.images.resize import Image
from cartcls.runtime.inference.backend import Outputs
from cartcls.runtime.inference.classifier import in_order


def test_results_come_in_order_and_only_a_bounded_number_waits():
    started = []
    with ThreadPoolExecutor(4) as pool:
        results = in_order(pool, lambda i: started.append(i) or i, iter(range(100)), ahead=5)
        assert next(results) == 0
        assert len(started) <= 5
        assert list(results) == list(range(1, 100))


def test_paths_and_pixels_give_the_same_answers(slide: Path, crops: Image, labels: dict[str, str], bundle: Bundle):
    with Classifier() as classifier:
        of_files = list(classifier.predict(slide / name for name in labels))
        of_pixels = list(classifier.predict(crops))
    assert classifier.bundle.sha256 == bundle.sha256
    assert [prediction.label for prediction in of_files] == list(labels.values())
    for by_file, by_pixels in zip(of_files, of_pixels, strict=True):
        np.testing.assert_array_equal(by_file.logits, by_pixels.logits)
        assert by_file.heat_map is not None
        assert by_file.heat_map.shape == (9, 9)
        assert by_file.confidence == by_file.probabilities.max()
        assert (by_file.reading.sha256 or "") > "" and by_pixels.reading.sha256 is None
        assert by_file.distance is not None


def test_the_model_gets_adjusted_pictures_and_the_checks_those_that_there_are(
    slide: Path, crops: Image, labels: dict[str, str], bundle: Bundle
):
    seen: list[npt.NDArray[np.uint8]] = []

    class Watching(FakeBackend):
        def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
            seen.extend(images)
            return super().infer(images)

    adjustment = Adjustment(0.7, ((0.9, 0.1, 0.0), (0.1, 0.8, 0.0), (0.0, 0.0, 1.2)))
    sources = [slide / name for name in labels][:2]
    with Classifier(adjusting(bundle, adjustment), Watching()) as classifier:
        found = list(classifier.predict([*sources, *crops[:2]]))
    expected = [adjust(crop, adjustment) for crop in crops[:2]]
    np.testing.assert_array_equal(np.stack(seen), np.stack(expected * 2))
    np.testing.assert_array_equal(classifier.bundle.graph_input(crops[0]), expected[0])
    with Classifier(bundle, FakeBackend()) as plain:
        for before, after in zip(plain.predict(sources), found[:2], strict=True):
            assert before.reading.quality is not None and after.reading.quality is not None
            assert before.reading.quality.measures == after.reading.quality.measures
            np.testing.assert_array_equal(before.reading.quality.stain, after.reading.quality.stain)
            np.testing.assert_array_equal(before.reading.small, after.reading.small)


def test_a_backend_that_takes_two_batches_at_once_gets_them(crops: Image, bundle: Bundle):
    both = Barrier(2, timeout=60)

    class Pair(FakeBackend):
        batches_at_once = 2

        def infer(self, images: npt.NDArray[np.uint8]) -> Outputs:
            both.wait()  # until there is another one
            return replace(super().infer(images), features=np.full((len(images), 3968), images.mean(), np.float32))

    with Classifier(bundle, Pair()) as classifier:
        found = list(classifier.predict(crops[:16]))
    expected = [crops[first : first + 4].mean(dtype=np.float32) for first in (0, 4, 8, 12) for _ in range(4)]
    np.testing.assert_allclose([prediction.features[0] for prediction in found], expected, rtol=1e-3)


def test_what_a_person_must_look_at_says_why(slide: Path):
    with Classifier() as classifier:
        black, plain = classifier.predict([np.zeros((363, 360, 3), np.uint8), str(slide / "cell-01.jpg")])
    assert black.status == "review"
    assert any(reason.startswith("unlike the training cells") for reason in black.reasons)
    assert (plain.status, plain.reasons) == ("ok", ())


def test_what_cannot_be_read_is_rejected_in_its_place(slide: Path, tmp_path: Path, bundle: Bundle):
    (tmp_path / "junk.jpg").write_bytes(b"junk")
    shutil.copy(slide / "cell-01.jpg", tmp_path / "cell.jpg")
    images = [tmp_path / "junk.jpg", tmp_path / "cell.jpg", tmp_path / "none.jpg", np.zeros((3, 3), np.float64)]
    with Classifier(bundle, FakeBackend()) as classifier:
        found = list(classifier.predict(images))
    assert [prediction.status for prediction in found] == ["rejected", "ok", "rejected", "rejected"]
    assert [prediction.source is image for prediction, image in zip(found, images, strict=True)] == [True] * 4
    assert found[2].reasons == ("has vanished",)
    assert "RGB, uint8" in found[3].reasons[0]
    assert (found[0].label, found[0].confidence, found[0].heat_map, len(found[0].probabilities)) == (None,) * 3 + (0,)


def test_images_are_read_as_they_are_needed(crops: Image, bundle: Bundle):
    drawn: list[int] = []

    def images():  # type: ignore[no-untyped-def]
        for number in range(1000):
            drawn.append(number)
            yield crops[number % len(crops)]

    predictions = Classifier(bundle, FakeBackend()).predict(images())
    next(predictions)
    assert len(drawn) < 40
    predictions.close()  # type: ignore[attr-defined]


def test_a_model_that_cannot_be_used_is_a_clear_error(tmp_path: Path, bundle: Bundle):
    with pytest.raises(BundleError, match="is not a bundle"):
        Classifier(tmp_path / "none")
    with pytest.raises(BackendError, match="is not a backend"):
        Classifier(bundle, "abacus")


def test_nothing_heavy_is_imported_before_a_classifier_is_made():
    code = "import sys, cartcls.runtime; print([m for m in ('cv2', 'numpy', 'openvino') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
