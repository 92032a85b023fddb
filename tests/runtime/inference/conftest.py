from pathlib import Path

import pytest
from small_graph import small_bundle

from cartcls.runtime.bundle.bundle import Bundle


@pytest.fixture
def small(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle with a small graph in a folder of its own, and a user's cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return small_bundle(bundle, tmp_path / "bundle")
