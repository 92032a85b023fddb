from collections.abc import Iterator

import pytest
from graphs import onnx_bytes_once

from cartcls.export import bundle


@pytest.fixture(scope="session", autouse=True)
def models_are_exported_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "onnx_bytes", onnx_bytes_once)
        yield
