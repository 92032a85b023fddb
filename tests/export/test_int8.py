from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cartcls.export.int8 import KEPT, int8_bytes
from cartcls.export.retype import to_float32
from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.images.resize import Image
from cartcls.runtime.inference.backend import no_progress
from cartcls.runtime.inference.cuda_protocol import Gpu
from cartcls.runtime.inference.engine_store import build_record_for
from cartcls.runtime.inference.openvino_backend import F32, INT8, MARGIN, OpenVINOBackend
from cartcls.runtime.inference.predictions import softmax
from cartcls.runtime.inference.tensorrt_engine import build_engine


@pytest.fixture(scope="module")
def quantised(bundle: Bundle, crops: Image) -> bytes:
    """The shipped graph with 8-bit convolutions; the example slide shows the ranges."""
    return int8_bytes(to_float32(bundle.model), crops[::4])


def test_convolutions_are_quantised_as_tensorrt_asks_it(quantised: bytes):
    graph = onnx.load_from_string(quantised).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    quantise = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for node in quantise:
        zero_point = arrays[node.input[2]]
        assert (zero_point.dtype, np.any(zero_point)) == (np.int8, False)
    quantised_weights = 0
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        weights = made_by.get(node.input[1])
        if weights is None:
            assert any(part in node.input[1] for part in KEPT)
            continue
        quantised_weights += 1
        values, scales = (arrays[name] for name in weights.input[:2])
        assert len(scales) == len(values)  # one for each channel
        assert np.abs(values.astype(int)).max() <= 64
        assert arrays[node.input[2]].dtype == np.float32  # the bias
        assert made_by[node.input[0]].op_type == "DequantizeLinear"
    # ResNet18 and the block with attention; 1×1 convolutions of the small ensemble members
    assert quantised_weights == 22 + 26 + 34
    assert {node.op_type for node in graph.node} >= {"MatMul", "Softmax", "Gemm"}


def test_sure_cells_keep_their_label_and_unsure_ones_are_exact(bundle: Bundle, quantised: bytes, crops: Image):
    exact = OpenVINOBackend(bundle.model, F32).infer(crops)
    got = OpenVINOBackend(bundle.model, INT8, quantised).infer(crops)
    assert got.cams is not None and exact.cams is not None
    difference = np.abs(softmax(got.logits) - softmax(exact.logits)).max(1)
    assert difference.max() < 0.1
    assert (got.logits.argmax(1) == exact.logits.argmax(1)).all()
    assert (difference > 1e-4).mean() > 0.5  # they were computed in 8 bits
    second, first = np.sort(softmax(got.logits))[:, -2:].T
    assert (difference[first - second < MARGIN] < 1e-3).all()
    assert np.abs(got.cams.sum((2, 3)) - exact.cams.sum((2, 3))).max() < 1


def test_tensorrt_takes_it(bundle: Bundle, quantised: bytes, tmp_path: Path):
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    record = build_record_for(trt, bundle, "int8", Gpu("", "sm86", "", 0))
    engine = build_engine(trt, quantised, record, (bundle.height, bundle.width), tmp_path, no_progress)
    assert len(engine.data) > 10_000_000
    assert engine.file.name == "tensorrt_rtx-int8-sm86.engine"
