"""The 8-bit graph of a bundle: convolutions in integers, attention and head in floating point."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from ..runtime.inference.parity import Images

BATCH = 8
LITE_KEPT = (".conv_stem", ".blocks.0.", ".blocks.1.", ".conv_dw", ".conv_head")  # of EfficientNet-Lite
KEPT = (".cbam.", ".attention.", *LITE_KEPT)  # in names of weights


def int8_bytes(float32_graph: bytes, images: Images) -> bytes:
    """Quantise the convolutions of a graph, with batch norms folded into them, except those of `KEPT`.

    Attention and EfficientNet-Lite's stem, first two stages, depthwise and last convolutions lose accuracy in 8 bits.
    Symmetric with zero point 0, weights per channel, biases unchanged, as TensorRT requires it. Weights take 7 of the 8
    bits: processors without VNNI instructions add pairs of products in 16 bits, which would overflow.

    Args:
        float32_graph: The bundle's graph in float32.
        images: Cells that show the range of each activation, uint8, (N, H, W, 3).

    Returns:
        An ONNX graph with QuantizeLinear and DequantizeLinear around each of those convolutions.
    """
    with tempfile.TemporaryDirectory(prefix="cartcls-") as name:
        folded, quantised = Path(name, "folded.onnx"), Path(name, "quantised.onnx")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        onnxruntime.InferenceSession(float32_graph, options, providers=["CPUExecutionProvider"])
        convolutions = [node for node in onnx.load(folded).graph.node if node.op_type == "Conv"]
        kept = [node.name for node in convolutions if any(part in weight for part in KEPT for weight in node.input)]
        quantize_static(
            folded,
            quantised,
            _Batches(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=kept,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )
        return quantised.read_bytes()


class _Batches(CalibrationDataReader):
    def __init__(self, images: Images):
        self._batches: Iterator[Images] = iter(np.split(images, range(BATCH, len(images), BATCH)))

    def get_next(self) -> dict[str, Images] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}
