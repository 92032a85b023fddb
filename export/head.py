"""Another head for a bundle's graph, without PyTorch.

The head is one linear layer on the pooled features f of all members, logits = W·f + b, and the heat maps are W·A / Z of
the last feature map A with Z positions. So logits and maps of another W and b are as exact as those of the first.
"""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ..calibration.head import Head
from ..runtime.errors import BundleError

OTHER_GRAPH = "its head is not one linear layer on pooled features: export it again with this version"


def read_head(model: bytes) -> Head:
    """The head of a bundle's graph, in any of its precisions.

    Raises:
        BundleError: Its head is of another form.
    """
    graph = onnx.load_from_string(model).graph
    _, *names = _linear(graph).input
    weight, bias = (numpy_helper.to_array(_array(graph, name)) for name in names)
    return Head(weight, bias)


def replace_head(model: bytes, head: Head) -> bytes:
    """Give a bundle's graph another head, also for other classes; `features` become all that the head is applied to.

    Args:
        model: ONNX file, in any precision.
        head: For the D features of all members.

    Raises:
        BundleError: Its head is of another form, or for another number of features.
    """
    proto = onnx.load_from_string(model)
    graph = proto.graph
    linear = _linear(graph)
    classes, width = head.weight.shape
    if (found := _array(graph, linear.input[1]).dims[1]) != width:
        raise BundleError(f"the head is for {width} features, and the graph has {found}")
    _set(graph, linear.input[1], head.weight)
    _set(graph, linear.input[2], head.bias)
    outputs = {output.name: output.type.tensor_type.shape.dim for output in graph.output}
    outputs["logits"][1].dim_value = classes
    if "cams" in outputs:
        _replace_maps(graph, head, [size.dim_value for size in outputs["cams"][2:]])
        outputs["cams"][1].dim_value = classes
    _output_all_features(graph, linear.input[0])
    outputs["features"][1].dim_value = width
    del graph.value_info[:]
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


def _linear(graph: onnx.GraphProto) -> onnx.NodeProto:
    """The node of the head: features, weight (K, D) and bias to logits."""
    node = _maker(graph, "logits")
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type != "Gemm" or len(node.input) != 3 or not attributes["transB"].i:
        raise BundleError(OTHER_GRAPH)
    return node


def _maker(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    return next(node for node in graph.node if name in node.output)


def _array(graph: onnx.GraphProto, name: str) -> onnx.TensorProto:
    found = next((tensor for tensor in graph.initializer if tensor.name == name), None)
    if found is None:
        raise BundleError(OTHER_GRAPH)
    return found


def _set(graph: onnx.GraphProto, name: str, values: npt.NDArray[np.generic]) -> None:
    """Replace an initial array; its type stays."""
    tensor = _array(graph, name)
    dtype = numpy_helper.to_array(tensor).dtype
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, dtype), name))


def _replace_maps(graph: onnx.GraphProto, head: Head, sides: list[int]) -> None:
    """Set the weights of the heat maps of each network, and their shapes (N, K, h, w)."""
    begin = 0
    for reshape in _reshapes(graph, "cams"):
        product = _maker(graph, reshape.input[0])
        if product.op_type != "MatMul":
            raise BundleError(OTHER_GRAPH)
        width = _array(graph, product.input[0]).dims[1]
        _set(graph, product.input[0], head.weight[:, begin : begin + width] / np.prod(sides))
        shape = numpy_helper.to_array(_array(graph, reshape.input[1]))
        _set(graph, reshape.input[1], np.array([-1, len(head.bias), *shape[2:]]))
        begin += width
    if begin != head.weight.shape[1]:
        raise BundleError(OTHER_GRAPH)


def _reshapes(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    """The nodes that give the maps of each network, which are resized by matrix products and added."""
    node = _maker(graph, name)
    if node.op_type == "Reshape":
        return [node]
    if node.op_type not in ("Add", "MatMul"):
        raise BundleError(OTHER_GRAPH)
    constants = {tensor.name for tensor in graph.initializer}
    return [found for name in node.input if name not in constants for found in _reshapes(graph, name)]


def _output_all_features(graph: onnx.GraphProto, pooled: str) -> None:
    """Make what the head is applied to the output `features`, and remove what was only for the earlier one."""
    if pooled == "features":
        return
    graph.node.remove(_maker(graph, "features"))
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == pooled:
                    names[index] = "features"
    outputs = {output.name for output in graph.output}
    while unused := [n for n in graph.node if not outputs.union(*(m.input for m in graph.node)) & {*n.output}]:
        for node in unused:
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
