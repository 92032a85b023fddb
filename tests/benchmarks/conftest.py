from collections.abc import Iterator
from pathlib import Path

import outputs as bench
import pytest

from cartcls.runtime.bundle.bundle import Bundle, load_bundle


@pytest.fixture(scope="session")
def shipped() -> Bundle:
    """The shipped bundle, with its checks."""
    return load_bundle()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the outputs of `cells` are kept."""
    return tmp_path_factory.mktemp("outputs") / "cache"


@pytest.fixture(scope="session")
def cells(data_dir: Path, shipped: Bundle, cache: Path) -> Iterator[bench.Outputs]:
    """Outputs of the shipped bundle for the cells of the tests, as a set of that name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bench.SETS, "cells", data_dir.name)
        yield bench.outputs("cells", data_dir.parent, shipped, cache)
