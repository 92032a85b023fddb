import dataclasses
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from msgspec import structs
from onnx import numpy_helper

from cartcls.runtime.bundle.bundle import INT8_MODEL, MODEL, Bundle, BundleFile
from cartcls.runtime.bundle.manifest import GraphInput
from cartcls.runtime.compiled_store import GRAPHS, CompiledStore
from cartcls.runtime.errors import BackendError
from cartcls.runtime.images.resize import Image
from cartcls.runtime.inference import openvino_backend
from cartcls.runtime.inference.backend import Backend
from cartcls.runtime.inference.choose import open_backend
from cartcls.runtime.inference.openvino_backend import BF16, F32, INT8, MIXED, OpenVINOBackend, has_bfloat16
from cartcls.runtime.inference.predictions import softmax

FIRST_ARRAYS = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from onnx import TensorProto, helper
from cartcls.runtime.inference.openvino_backend import OpenVINOBackend

nodes = [helper.make_node("Cast", ["image"], ["features"], to=TensorProto.FLOAT)]
nodes.append(helper.make_node("Identity", ["features"], ["logits"]))
image, *outputs = (
    helper.make_tensor_value_info(name, kind, ["n", 4, 4, 3])
    for name, kind in (("image", TensorProto.UINT8), ("features", TensorProto.FLOAT), ("logits", TensorProto.FLOAT))
)
graph = helper.make_graph(nodes, "cast", [image], outputs)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
backend = OpenVINOBackend(model.SerializeToString(), "f32")
images = np.full((8, 4, 4, 3), 7, np.uint8)
with ThreadPoolExecutor(3) as pool:
    assert all((outputs.logits == 7).all() for outputs in pool.map(backend.infer, [images] * 3))
"""


def test_the_graph_gives_logits_maps_and_features(backend: Backend, crops: Image):
    outputs = backend.infer(crops[:3])
    assert outputs.cams is not None
    assert (outputs.logits.shape, outputs.features.shape) == ((3, 8), (3, 3968))
    assert outputs.cams.shape == (3, 8, 9, 9)
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


def test_batches_may_come_from_several_threads(bundle: Bundle, crops: Image, monkeypatch: pytest.MonkeyPatch):
    graphs = bundle.file(MODEL), bundle.file(INT8_MODEL)
    batches = [crops[first : first + 4] for first in range(0, 16, 4)]
    exact = OpenVINOBackend(bundle.model, F32)
    expected = [exact.infer(batch).logits for batch in batches]
    monkeypatch.setattr(openvino_backend, "MARGIN", 1.1)  # all are unsure
    backend = OpenVINOBackend(graphs[0], INT8, graphs[1])
    assert backend._load_float32 is not None
    load, loaded = backend._load_float32, list[None]()
    backend._load_float32 = lambda: loaded.append(None) or load()
    with ThreadPoolExecutor(len(batches)) as pool:
        found = list(pool.map(backend.infer, batches))
    assert len(loaded) == 1
    np.testing.assert_allclose(np.concatenate([one.logits for one in found]), np.concatenate(expected), atol=1e-3)


class FakeGraph:
    """A compiled graph of three streams whose logits are its input."""

    def __init__(self):
        self.failing = False
        self.outputs = [SimpleNamespace(names={"logits"})]

    def get_property(self, name: str) -> int:
        return 3

    def create_infer_request(self) -> "FakeRequest":
        return FakeRequest(self)


class FakeRequest:
    def __init__(self, graph: FakeGraph):
        self.graph = graph

    def start_async(self, inputs: list[npt.NDArray[np.uint8]]) -> None:
        self.given = inputs[0]

    def wait(self) -> None:
        if self.graph.failing:
            raise RuntimeError("it failed")

    def get_tensor(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(data=self.given)


def test_the_first_image_runs_alone_and_a_request_that_fails_is_used_again():
    fake = FakeGraph()
    graph, images = openvino_backend._Graph(fake), np.arange(40, dtype=np.uint8)[:, None]
    fake.failing = True
    for _ in range(4):  # more than there are requests
        with pytest.raises(RuntimeError, match="it failed"):
            graph.run(images[:1])
    fake.failing = False
    assert graph._requests.qsize() == graph.streams == 3
    np.testing.assert_array_equal(graph.run(images)["logits"], images)
    waiting = openvino_backend._Graph(FakeGraph())
    assert waiting._requests.qsize() == 1
    waiting.run(images[:1])
    assert waiting._requests.qsize() == 3


def test_the_first_images_of_a_process_may_come_from_several_threads():
    for _ in range(6):  # 2 of 24 hung when the first image did not run alone
        subprocess.run([sys.executable, "-c", FIRST_ARRAYS], check=True, timeout=60)


def test_only_unsure_cells_are_computed_again_in_float32(bundle: Bundle, crops: Image, monkeypatch: pytest.MonkeyPatch):
    if not has_bfloat16():
        pytest.skip("this CPU does not compute in bfloat16")
    fast, exact, mixed = (OpenVINOBackend(bundle.model, precision) for precision in (BF16, F32, MIXED))
    assert [backend.precision for backend in (fast, exact, mixed)] == [BF16, F32, MIXED]
    in_bf16, in_f32 = fast.infer(crops), exact.infer(crops)
    second, first = np.sort(softmax(in_bf16.logits))[:, -2:].T
    monkeypatch.setattr(openvino_backend, "MARGIN", np.median(first - second))
    unsure = first - second < np.median(first - second)
    outputs = mixed.infer(crops)
    for name in ("logits", "features", "cams"):
        got, rough, true = (getattr(o, name) for o in (outputs, in_bf16, in_f32))
        np.testing.assert_array_equal(got[~unsure], rough[~unsure])
        np.testing.assert_allclose(got[unsure], true[unsure], atol=1e-3)
        assert np.abs(rough[unsure] - true[unsure]).max() > 1e-3


def test_a_graph_is_compiled_once(bundle: Bundle, crops: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    core = openvino_backend._openvino().Core
    compile_model, compiled = core.compile_model, list[Path]()

    def counted(*args: Any) -> Any:
        compiled.append(tmp_path)
        return compile_model(*args)

    monkeypatch.setattr(core, "compile_model", counted)
    store = CompiledStore(tmp_path, GRAPHS)
    first = OpenVINOBackend(bundle.file(MODEL), F32, store=store).infer(crops[:3])
    assert len(compiled) == 1
    with monkeypatch.context() as unread:
        unread.delattr(BundleFile, "read")
        again = OpenVINOBackend(bundle.file(MODEL), F32, store=store)
    assert len(compiled) == 1
    np.testing.assert_array_equal(again.infer(crops[:3]).logits, first.logits)
    assert again.precision == F32

    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for number, altered in enumerate((whole[:-1] + bytes([whole[-1] ^ 1]), b"", whole[:5], whole[:33])):
        file.write_bytes(altered)
        OpenVINOBackend(bundle.file(MODEL), F32, store=store)
        assert len(compiled) == 2 + number
    assert store.load(file, lambda size: memoryview(bytearray(size)))


def test_the_float32_graph_is_loaded_when_an_unsure_cell_comes(
    bundle: Bundle, crops: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    graphs = bundle.file(MODEL), bundle.file(INT8_MODEL)
    backend = OpenVINOBackend(graphs[0], INT8, graphs[1], CompiledStore(tmp_path, GRAPHS))
    monkeypatch.setattr(openvino_backend, "MARGIN", 0.0)
    backend.infer(crops[:2])
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(openvino_backend, "MARGIN", 1.1)
    exact = OpenVINOBackend(bundle.model, F32).infer(crops[:2])
    np.testing.assert_allclose(backend.infer(crops[:2]).logits, exact.logits, atol=1e-3)
    assert len(list(tmp_path.iterdir())) == 2


def test_openvino_tells_its_makers_nothing(tmp_path: Path):
    code = (
        "import sys; from cartcls.runtime.inference.openvino_backend import has_bfloat16; has_bfloat16();"
        " print([name for name in sys.modules if 'telemetry' in name])"
    )
    command, environment = [sys.executable, "-c", code], {**os.environ, "HOME": os.fspath(tmp_path)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (said.stdout.strip(), list(tmp_path.iterdir())) == ("[]", [])


def test_a_graph_that_is_none_is_a_clear_error():
    with pytest.raises(BackendError, match="OpenVINO cannot load the graph"):
        OpenVINOBackend(b"no graph", "f32")


def test_a_graph_that_does_not_fit_its_manifest_is_refused(bundle: Bundle):
    for values in ({"input": GraphInput(363, 363)}, {"classes": bundle.classes[1:]}):
        manifest = structs.replace(bundle.manifest, **values)
        with pytest.raises(BackendError, match="does not fit its"):
            open_backend(dataclasses.replace(bundle, manifest=manifest))


def test_a_failing_graph_is_a_clear_error(bundle: Bundle):
    backend = open_backend(bundle, "openvino")  # of its own: OpenVINO says the same error again afterwards
    with pytest.raises(BackendError, match="OpenVINO failed"):
        backend.infer(np.zeros((1, 7, 7, 3), np.uint8))
