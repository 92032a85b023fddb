import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scene import Scene

from cartcls.runtime.backend import Backend, open_backend
from cartcls.runtime.bundle import Bundle, load_bundle
from cartcls.runtime.decode import read_image
from cartcls.runtime.open_ledger import open_ledger
from cartcls.runtime.preprocess import Image, stretch

SLIDE = Path(__file__).parent.parent / "examples" / "slide-01"


@pytest.fixture(scope="session")
def slide() -> Path:
    """The example slide: 32 real cells, four of each class."""
    return SLIDE


@pytest.fixture(scope="session")
def labels() -> dict[str, str]:
    """True class by file name of the example slide."""
    with (SLIDE / "labels.csv").open(newline="", encoding="utf-8") as file:
        return {row["file"]: row["label"] for row in csv.DictReader(file)}


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """The shipped bundle."""
    return load_bundle()


@pytest.fixture(scope="session")
def backend(bundle: Bundle) -> Iterator[Backend]:
    """The shipped bundle, loaded."""
    opened = open_backend(bundle)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def crops(bundle: Bundle, labels: dict[str, str]) -> Image:
    """The example slide's cells at the bundle's input size, (32, H, W, 3)."""
    return np.stack([stretch(read_image(SLIDE / name)[0], bundle.width, bundle.height) for name in labels])


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory, labels: dict[str, str]) -> Path:
    """The example slide's cells as class folders."""
    directory = tmp_path_factory.mktemp("data") / "cells"
    for name, label in labels.items():
        (directory / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(SLIDE / name, directory / label / name)
    return directory


@pytest.fixture(scope="session")
def split_file(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """A split of `data_dir`: of each class two cells to fit, one to select, one to report."""
    file = tmp_path_factory.mktemp("split") / "cells.csv"
    parts = ("fit", "fit", "select", "report")
    rows = [
        f"{path.relative_to(data_dir).as_posix()},{part}"
        for folder in sorted(data_dir.iterdir())
        for path, part in zip(sorted(folder.iterdir()), parts, strict=True)
    ]
    file.write_text("\n".join(["path,part", *rows]) + "\n")
    return file


@pytest.fixture
def scene(tmp_path: Path, bundle: Bundle) -> Iterator[Scene]:
    with open_ledger(tmp_path / "out", bundle) as ledger:
        yield Scene(tmp_path, bundle, ledger)


@pytest.fixture(scope="session")
def cells(slide: Path) -> list[bytes]:
    """Bytes of real cells."""
    return [path.read_bytes() for path in sorted(slide.glob("*.jpg"))]
