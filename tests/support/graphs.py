"""Exports a model once for all tests: that takes ten seconds, and most tests are about what comes after."""

import hashlib

from cartcls.export.onnx_graph import onnx_bytes
from cartcls.train.models.base import FeatureClassifier

_made: dict[tuple[str, str, tuple[int, int], bool], bytes] = {}


def onnx_bytes_once(model: FeatureClassifier, image_size: tuple[int, int], half: bool) -> bytes:
    """As `onnx_bytes`; a model of the same layers and weights gets the same bytes again."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    key = repr(model), digest.hexdigest(), image_size, half
    if key not in _made:
        _made[key] = onnx_bytes(model, image_size, half)
    return _made[key]
