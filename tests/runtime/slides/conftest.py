from pathlib import Path

import numpy as np
import pytest
from fakes import without_checks
from field_bench import FieldBench
from mosaic import Mosaic, mosaic

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.images.decode import read_image

KINDS = ("lymphocyte", "monocyte", "neutrophil", "eosinophil")


@pytest.fixture(scope="session")
def wide(slide: Path, labels: dict[str, str]) -> Mosaic:
    """A field of two rows with six cells each, of which every window shows some."""
    chosen = [name for kind in KINDS for name in [one for one, label in labels.items() if label == kind][:3]]
    return mosaic([read_image(slide / name)[0] for name in chosen], 6, np.random.default_rng(3))


@pytest.fixture
def bench(tmp_path: Path, bundle: Bundle) -> FieldBench:
    return FieldBench(tmp_path, without_checks(bundle))
