from pathlib import Path

import pytest

from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.resize import Image


@pytest.fixture
def pixels(slide: Path) -> Image:
    """A real cell, RGB."""
    return read_image(slide / "cell-01.jpg")[0]
