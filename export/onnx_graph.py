"""From a trained model to ONNX bytes."""

import warnings

import onnx
import onnx_ir.passes.common as passes
import onnxscript.optimizer
import onnxscript.rewriter
import torch
from onnxscript.rewriter.rules import common as rules

from ..train.models.base import FeatureClassifier
from .graph import graph_of

OPSET = 18
_KEPT_RULES = [
    rules.materialize_reshape_shape_rule,
    rules.no_op_cast_rule,
    rules.remove_optional_bias_from_conv_rule,
]


def onnx_bytes(model: FeatureClassifier, image_size: tuple[int, int], half: bool) -> bytes:
    """Export a model as the graph of a bundle, weights inside.

    The exporter's own optimiser would fold batch norms into convolutions. It is left out, so that the weights
    keep their names and can be trained further; every engine folds them when it compiles the graph.

    Args:
        model: Trained model, float32.
        image_size: Width and height of the input in pixels.
        half: See `Graph`.
    """
    width, height = image_size
    graph = graph_of(model, half)
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecations
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            optimize=False,
            verbose=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(graph.outputs),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    exported = program.model
    passes.InlinePass()(exported)
    onnxscript.optimizer.fold_constants(exported, input_size_limit=1 << 20, output_size_limit=1 << 20)
    onnxscript.rewriter.rewrite(exported, _KEPT_RULES)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(exported)
    passes.CommonSubexpressionEliminationPass()(exported)
    passes.ClearMetadataAndDocStringPass()(exported)
    proto = program.model_proto
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()
