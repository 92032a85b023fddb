from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_graph import small_graph

from cartcls.calibration.head import Head
from cartcls.export.head import read_head, replace_head
from cartcls.runtime.bundle.bundle import INT8_MODEL, Bundle
from cartcls.runtime.errors import BundleError
from cartcls.runtime.images.resize import Image
from cartcls.runtime.inference.backend import Outputs
from cartcls.runtime.inference.openvino_backend import F32, OpenVINOBackend

RANDOM = np.random.default_rng(0)
OF_TWO = Head(*(RANDOM.normal(size=size).astype(np.float32) for size in ((2, 3968), 2)))


def outputs_of(model: bytes, images: Image) -> Outputs:
    backend = OpenVINOBackend(model, F32)
    outputs = backend.infer(images)
    backend.close()
    return outputs


@pytest.fixture(scope="module", params=["model.onnx", INT8_MODEL])
def graph(request: pytest.FixtureRequest, bundle: Bundle) -> bytes:
    """The shipped graph, and the one in 8 bits."""
    return bundle.file(str(request.param)).read()


@pytest.fixture(scope="module")
def replaced(graph: bytes) -> bytes:
    return replace_head(graph, OF_TWO)


def test_the_same_head_gives_the_same_answers_and_all_features(graph: bytes, crops: Image):
    head = read_head(graph)
    before, after = outputs_of(graph, crops[:2]), outputs_of(replace_head(graph, head), crops[:2])
    assert before.cams is not None and after.cams is not None
    assert np.abs(after.logits - before.logits).max() < 1e-4
    assert np.abs(after.cams - before.cams).max() < 1e-4
    assert after.features.shape == (2, 3968)
    assert np.abs(head.logits(after.features) - after.logits).max() < 1e-3


def test_another_head_for_other_classes_has_exact_maps_too(graph: bytes, replaced: bytes, crops: Image):
    found = outputs_of(replaced, crops[:3])
    assert found.cams is not None
    assert (found.logits.shape, found.cams.shape) == ((3, 2), (3, 2, 9, 9))
    assert np.abs(OF_TWO.logits(found.features) - found.logits).max() < 1e-3
    assert np.abs(found.cams.sum((2, 3)) + OF_TWO.bias - found.logits).max() < 1e-3
    assert len(replaced) < len(graph)
    assert np.array_equal(read_head(replaced).weight, OF_TWO.weight)


@pytest.mark.parametrize(("begin", "end"), [(0, 512), (512, 1792), (1792, 3072), (3072, 3968)])
def test_each_network_has_its_part_of_the_maps(graph: bytes, crops: Image, begin: int, end: int):
    chosen = (np.arange(3968) >= begin) & (np.arange(3968) < end)
    found = outputs_of(replace_head(graph, Head(np.where(chosen, OF_TWO.weight, 0), OF_TWO.bias)), crops[:2])
    assert found.cams is not None
    assert np.abs(found.logits - OF_TWO.bias).max() > 1
    assert np.abs(found.cams.sum((2, 3)) + OF_TWO.bias - found.logits).max() < 1e-3


def test_a_head_can_be_replaced_again(bundle: Bundle):
    int8 = bundle.file(INT8_MODEL).read()
    assert replace_head(replace_head(int8, OF_TWO), read_head(int8)) == replace_head(int8, read_head(int8))


def test_a_head_of_another_form_or_size_is_refused(bundle: Bundle):
    with pytest.raises(BundleError, match="the head is for 512 features, and the graph has 3968"):
        replace_head(bundle.model, replace(OF_TWO, weight=OF_TWO.weight[:, :512]))
    with pytest.raises(BundleError, match="its head is not one linear layer on pooled features"):
        read_head(small_graph(8))


def test_weights_of_the_other_layers_stay(graph: bytes, replaced: bytes):
    def arrays(model: bytes) -> dict[str, onnx.TensorProto]:
        return {tensor.name: tensor for tensor in onnx.load_from_string(model).graph.initializer}

    before, after = arrays(graph), arrays(replaced)
    kept = {name for name in before.keys() & after.keys() if before[name] == after[name]}
    changed = [numpy_helper.to_array(before[name]) for name in before.keys() & after.keys() - kept]
    parts = [(8, width) for width in (128, 256, 512, 512, 1280, 1280, 3968)]
    assert sorted(array.shape for array in changed if array.shape != (4,)) == [(8,), *parts]
    assert all(np.prod(before[name].dims) <= 1 for name in before.keys() - after.keys())
