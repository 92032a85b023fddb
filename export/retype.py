"""A bundle's graph in another precision: all float32, also with half-precision rounding."""

import onnx
from onnx import TensorProto, helper, numpy_helper


def to_float32(model: bytes) -> bytes:
    """Retype a half-precision graph to float32; a float32 graph stays as it is."""
    proto = onnx.load_from_string(model)
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name))
    for node in proto.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    del proto.graph.value_info[:]
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


def emulate_half(model: bytes) -> bytes:
    """Retype a half-precision graph to float32 and round every tensor that was float16.

    ONNX Runtime computes float16 graphs in float32 on a CPU and rounds seldom; a cast to float16 and back
    after each such tensor shows what a GPU would round.
    """
    typed = onnx.shape_inference.infer_shapes(onnx.load_from_string(model)).graph
    half = {value.name for value in typed.value_info if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    proto = onnx.load_from_string(to_float32(model))
    graph = proto.graph
    nodes = []
    for node in graph.node:
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name in half:
                node.output[index] = f"{name}.exact"
                nodes.append(helper.make_node("Cast", [f"{name}.exact"], [f"{name}.half"], to=TensorProto.FLOAT16))
                nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()
