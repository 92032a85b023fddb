import dataclasses

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cartcls.runtime.backend import Backend, open_backend
from cartcls.runtime.bundle import Bundle
from cartcls.runtime.errors import BackendError
from cartcls.runtime.openvino_backend import OpenVINOBackend
from cartcls.runtime.preprocess import Image


def test_the_graph_gives_logits_maps_and_features(backend: Backend, crops: Image):
    outputs = backend.infer(crops[:3])
    assert outputs.cams is not None
    assert (outputs.logits.shape, outputs.features.shape) == ((3, 8), (3, 512))
    assert outputs.cams.shape == (3, 8, 12, 12)
    assert {outputs.logits.dtype, outputs.features.dtype, outputs.cams.dtype} == {np.dtype(np.float32)}


def test_maps_and_bias_add_up_to_the_logits(backend: Backend, bundle: Bundle, crops: Image):
    initializers = {tensor.name: tensor for tensor in onnx.load_from_string(bundle.model).graph.initializer}
    bias = numpy_helper.to_array(initializers["fc.bias"])
    outputs = backend.infer(crops)
    assert outputs.cams is not None
    difference = np.abs(outputs.cams.sum((2, 3)) + bias - outputs.logits).max()
    assert difference < 0.02 * np.abs(outputs.logits).max()  # both are bfloat16 on some processors


def test_a_cell_gets_the_same_answer_in_any_batch(backend: Backend, crops: Image):
    together = backend.infer(crops[:5]).logits
    alone = np.concatenate([backend.infer(crops[i : i + 1]).logits for i in range(5)])
    assert np.abs(together - alone).max() < 0.05


def test_a_graph_that_is_none_is_a_clear_error():
    with pytest.raises(BackendError, match="OpenVINO does not take the graph"):
        OpenVINOBackend(b"no graph", "f32")


def test_a_graph_that_does_not_fit_its_manifest_is_refused(bundle: Bundle):
    for values in ({"width": 363}, {"classes": bundle.classes[1:]}):
        with pytest.raises(BackendError, match="does not fit its"):
            open_backend(dataclasses.replace(bundle, **values))


def test_a_failing_graph_is_a_clear_error(backend: Backend):
    with pytest.raises(BackendError, match="OpenVINO failed"):
        backend.infer(np.zeros((1, 7, 7, 3), np.uint8))
