"""A graph with the ports of a bundle's that takes no time, and a bundle with it."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from msgspec import structs
from onnx import TensorProto, helper

from cartcls.runtime.bundle.bundle import MODEL, PARITY_CELLS, Bundle
from cartcls.runtime.inference.parity import Reference

SIZE = 8


def small_bundle(bundle: Bundle, directory: Path, further: bool = False) -> Bundle:
    """A bundle with a small graph, and cells with its right answers."""
    model = small_graph(len(bundle.classes), further=further)
    images = np.random.default_rng(1).integers(0, 256, (16, SIZE, SIZE, 3), np.uint8)
    logits = expected(model, images)["logits"]
    cells = Reference(images, logits.argmax(1), logits, np.zeros(logits.shape[1], np.float32)).to_bytes()
    directory.mkdir(parents=True, exist_ok=True)
    files = {PARITY_CELLS: cells, MODEL: model}
    for name, content in files.items():
        (directory / name).write_bytes(content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = structs.replace(
        bundle.manifest, files=digests, input=structs.replace(bundle.manifest.input, width=SIZE, height=SIZE)
    )
    return replace(bundle, directory=directory, manifest=manifest)


def expected(model: bytes, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """What a graph gives for images."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return {name: np.asarray(answer) for name, answer in zip(names, session.run(names, {"image": images}), strict=True)}


def small_graph(classes: int, size: int = SIZE, further: bool = False) -> bytes:
    """An ONNX graph with the ports of a bundle's: each pixel of an image takes part in its answer.

    Args:
        classes: K.
        size: Width and height of its input.
        further: Whether it gives boxes and an attention too.
    """
    height = width = size
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(height * width * 3, classes)).astype(np.float32) / 255
    initial = [
        helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.ravel()),
        helper.make_tensor("flat", TensorProto.INT64, [2], [0, -1]),
        helper.make_tensor("map", TensorProto.INT64, [4], [0, classes, 1, 1]),
        helper.make_tensor("few", TensorProto.INT64, [1], [0]),
        helper.make_tensor("many", TensorProto.INT64, [1], [5]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["float", "flat"], ["pixels"]),
        helper.make_node("MatMul", ["pixels", "weights"], ["logits"]),
        helper.make_node("Reshape", ["logits", "map"], ["cams"]),
        helper.make_node("Slice", ["pixels", "few", "many", "axis"], ["features"]),
    ]
    outputs = {"logits": [classes], "features": [5], "cams": [classes, 1, 1]}
    if further:
        initial += [
            helper.make_tensor("box", TensorProto.INT64, [1], [4]),
            helper.make_tensor("square", TensorProto.INT64, [4], [0, 1, 2, 2]),
        ]
        nodes += [
            helper.make_node("Slice", ["pixels", "few", "box", "axis"], ["boxes"]),
            helper.make_node("Reshape", ["boxes", "square"], ["attention"]),
        ]
        outputs |= {"boxes": [4], "attention": [1, 2, 2]}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", height, width, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in outputs.items()],
        initial,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    return model.SerializeToString()
