from pathlib import Path

import numpy as np
import pytest
from mosaic import Mosaic, mosaic

from cartcls.runtime.images.decode import read_image

CLASSES = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil")


@pytest.fixture(scope="session")
def field(slide: Path, labels: dict[str, str]) -> Mosaic:
    """A field of twelve real cells, of all classes but platelets, with red cells between."""
    chosen = [name for kind in CLASSES for name in [one for one, label in labels.items() if label == kind][:2]][:12]
    return mosaic([read_image(slide / name)[0] for name in chosen], 4, np.random.default_rng(0))
