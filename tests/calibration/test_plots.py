from io import BytesIO

import numpy as np
import PIL.Image
import pytest

from cartcls.calibration.plots import draw_confusion, draw_reliability, draw_risk_coverage
from cartcls.calibration.reliability import reliability
from cartcls.calibration.risk import promise


def size(png: bytes) -> tuple[int, int]:
    with PIL.Image.open(BytesIO(png)) as image:
        assert image.format == "PNG"
        return image.size


@pytest.mark.parametrize("wrong", [0, 3, 40])
def test_curves_are_drawn_also_where_nothing_or_everything_is_wrong(wrong: int):
    confidences = np.linspace(1, 0.5, 40)
    correct = np.arange(40) < 40 - wrong
    figures = reliability(np.stack([confidences, 1 - confidences], 1), (~correct).astype(int))
    found = promise(confidences, correct, [0.9, 0.0], 0.02)
    assert size(draw_reliability(confidences, correct, figures, "calibrate")) == (840, 780)
    assert size(draw_risk_coverage(confidences, correct, found, "calibrate")) == (840, 780)


def test_a_confusion_matrix_grows_with_its_classes_and_takes_any_name_of_a_folder():
    assert size(draw_confusion([[3, 1], [0, 0]], ["a", "b"], "all of $x^")) == (840, 840)
    width, height = size(draw_confusion(np.eye(20, dtype=int).tolist(), [f"class {i}" for i in range(20)], "report"))
    assert width == height == 1800
