import csv
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import KnowingBackend, cell_key, without_checks
from scene import Scene

from cartcls.calibration.calibrate import PARTS, calibrate
from cartcls.calibration.evidence import gather
from cartcls.calibration.split import read_split
from cartcls.export.recalibrated import write_calibrated
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.resize import Image, stretch
from cartcls.runtime.inference.backend import Backend
from cartcls.runtime.inference.choose import open_backend
from cartcls.runtime.ledger.folder import open_ledger

TESTS = Path(__file__).parent
SLIDE = TESTS.parent / "examples" / "tests" / "slide-01"
LONGEST = {"train", "export"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that take longest come first, so that processes side by side end together."""
    items.sort(key=lambda item: not LONGEST & {*item.path.relative_to(TESTS).parts})


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled graphs of the tests and of the processes that they start are kept apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def slide() -> Path:
    """The slide of the tests: 32 real cells, four of each class."""
    return SLIDE


@pytest.fixture(scope="session")
def labels() -> dict[str, str]:
    """True class by file name of the tests' slide."""
    with (SLIDE / "labels.csv").open(newline="", encoding="utf-8") as file:
        return {row["file"]: row["label"] for row in csv.DictReader(file)}


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """The shipped bundle without its checks: what a test's own model says is not to be marked for review."""
    return without_checks(load_bundle())


@pytest.fixture(scope="session")
def backend(bundle: Bundle) -> Iterator[Backend]:
    """The shipped bundle, loaded."""
    opened = open_backend(bundle)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def classifier(bundle: Bundle, backend: Backend) -> Classifier:
    """The shipped bundle, loaded, without its checks."""
    return Classifier(bundle, backend)


@pytest.fixture(scope="session")
def crops(bundle: Bundle, labels: dict[str, str]) -> Image:
    """The cells of `slide` at the bundle's input size, (32, H, W, 3)."""
    return np.stack([stretch(read_image(SLIDE / name)[0], bundle.width, bundle.height) for name in labels])


@pytest.fixture(scope="session")
def originals(labels: dict[str, str]) -> Image:
    """The cells of `slide` as they were taken, (32, 363, 360, 3)."""
    return np.stack([stretch(read_image(SLIDE / name)[0], 360, 363) for name in labels])


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory, labels: dict[str, str]) -> Path:
    """The cells of `slide` as class folders."""
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
def share_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a server that does not answer."""
    share, stat = tmp_path / "share", os.stat

    def down(path: os.PathLike[str] | str | bytes | int, **options: bool) -> os.stat_result:
        if not isinstance(path, int) and os.fsdecode(path).startswith(os.fspath(share)):
            raise OSError(errno.EHOSTDOWN, os.strerror(errno.EHOSTDOWN), path)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", down)
    return share


@pytest.fixture
def scene(tmp_path: Path, bundle: Bundle) -> Iterator[Scene]:
    with open_ledger(tmp_path / "out", bundle) as ledger:
        yield Scene(tmp_path, bundle, ledger)


@pytest.fixture(scope="session")
def cells(slide: Path) -> list[bytes]:
    """Bytes of real cells."""
    return [path.read_bytes() for path in sorted(slide.glob("*.jpg"))]


@pytest.fixture(scope="session")
def knowing(crops: Image, labels: dict[str, str], bundle: Bundle) -> KnowingBackend:
    """A model that knows the cells of `slide`."""
    names = [entry.name for entry in bundle.classes]
    return KnowingBackend(
        {cell_key(crop): names.index(label) for crop, label in zip(crops, labels.values(), strict=True)}
    )


@pytest.fixture(scope="session")
def many_cells(tmp_path_factory: pytest.TempPathFactory, labels: dict[str, str]) -> tuple[Path, Path]:
    """A data folder of 1,120 files with bytes of their own, the cells of `slide` many times; and its split."""
    directory = tmp_path_factory.mktemp("many") / "cells"
    rows = []
    for number, (name, label) in enumerate(labels.items()):
        data = (SLIDE / name).read_bytes()
        (directory / label).mkdir(parents=True, exist_ok=True)
        for copy in range(35):
            path = directory / label / f"{number:02d}-{copy:02d}.jpg"
            path.write_bytes(data + b"%d" % copy)  # bytes behind the end marker
            part = "fit" if copy < 10 else "select" if copy < 15 else "calibrate"
            rows.append(f"{label}/{path.name},{part}")
    split = directory.with_name("cells.csv")
    split.write_text("\n".join(["path,part", *rows]) + "\n")
    return directory, split


@pytest.fixture(scope="session")
def calibrated(
    tmp_path_factory: pytest.TempPathFactory,
    many_cells: tuple[Path, Path],
    bundle: Bundle,
    knowing: KnowingBackend,
) -> Bundle:
    """The shipped graph, calibrated for what `knowing` says."""
    directory, file = many_cells
    split = read_split(file)
    classifier = Classifier(bundle, knowing)
    evidence = {part: gather(directory, split.paths(part), classifier, lambda done, count: None) for part in PARTS}
    made = calibrate(bundle, knowing, evidence, split, 0.05)
    return write_calibrated(bundle, made, tmp_path_factory.mktemp("calibrated") / "rcmnet-pbc8")
