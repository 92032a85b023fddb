"""Graphs that tell more than a label: the cell's box, or a spatial attention."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from attentive import TINY, TinyAttention
from graphs import onnx_bytes_once
from msgspec import UNSET

from cartcls.calibration.boxes import Box, write_boxes
from cartcls.calibration.head import Head
from cartcls.calibration.split import list_images
from cartcls.export.bundle import export_bundle
from cartcls.export.classes import cell_classes
from cartcls.export.parity import check_parity, onnxruntime_infer
from cartcls.export.reheaded import ParityCells, write_reheaded
from cartcls.export.retype import emulate_half, to_float32
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import INT8_MODEL, Bundle, load_bundle
from cartcls.runtime.bundle.provenance import Stage
from cartcls.runtime.errors import ParityError
from cartcls.runtime.inference.backend import Outputs
from cartcls.runtime.inference.cuda_protocol import Gpu
from cartcls.runtime.inference.engine_store import build_record_for
from cartcls.runtime.inference.openvino_backend import OpenVINOBackend
from cartcls.runtime.inference.parity import HALF_LIMIT, Reference, compare, infer_all, read_reference
from cartcls.runtime.inference.tensorrt_engine import build_engine
from cartcls.train.checkpoint import predict, predict_further
from cartcls.train.freeze import STAGES
from cartcls.train.models.base import FeatureClassifier, normalize
from cartcls.train.models.build import MODELS, build
from cartcls.train.models.marzahl import MARZAHL, Marzahl
from cartcls.train.training import TrainingSettings, fit

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's and the exporter's own
SIZE = (64, 70)
Images = np.ndarray


@pytest.fixture(scope="module")
def images() -> Images:
    return np.random.default_rng(0).integers(0, 256, (3, SIZE[1], SIZE[0], 3), np.uint8)


@pytest.fixture(scope="module")
def models() -> dict[str, FeatureClassifier]:
    """A network of each kind, with boxes that reach beyond the picture."""
    torch.manual_seed(0)
    marzahl = build(MARZAHL, 5, SIZE)
    assert isinstance(marzahl, Marzahl)
    with torch.no_grad():
        last = marzahl.box[-1]
        assert isinstance(last, torch.nn.Linear)
        last.weight *= 30
    return {MARZAHL: marzahl.eval(), TINY: TinyAttention(5).eval()}


@pytest.fixture(params=[MARZAHL, TINY])
def model(request: pytest.FixtureRequest, models: dict[str, FeatureClassifier]) -> FeatureClassifier:
    return models[request.param]


def reference_of(model: FeatureClassifier, images: Images) -> Reference:
    logits = predict(model, images)
    return Reference(images, logits.argmax(1), logits, model.fc.bias.detach().numpy(), *predict_further(model, images))


def further(found: Reference | Outputs) -> tuple[Images | None, Images | None]:
    return found.boxes, found.attention


def boxes_of(model: FeatureClassifier, images: Images) -> Images:
    """As the network has them: centre and size, from −1 to 1."""
    assert isinstance(model, Marzahl)
    with torch.inference_mode():
        return model.class_and_box(normalize(torch.from_numpy(images)))[1].numpy()


def test_each_precision_gives_what_pytorch_gives(model: FeatureClassifier, images: Images):
    reference, half = reference_of(model, images), onnx_bytes_once(model, SIZE, half=True)
    exact = compare("", "", onnxruntime_infer(onnx_bytes_once(model, SIZE, half=False)), reference, 0.001)
    assert exact.passed
    for graph in (emulate_half(half), to_float32(half)):
        rounded = compare("", "", onnxruntime_infer(graph), reference, HALF_LIMIT)
        assert rounded.passed
        for name in ("max_box_difference", "max_attention_difference"):
            far, near = getattr(rounded, name), getattr(exact, name)
            assert (far is None) == (near is None)
            assert far is None or far > near


def test_a_box_lies_within_the_picture(models: dict[str, FeatureClassifier], images: Images):
    found = onnxruntime_infer(onnx_bytes_once(models[MARZAHL], SIZE, half=True))(images)
    assert found.boxes is not None and found.cams is None and found.attention is None
    assert (found.boxes.shape, found.features.shape) == ((3, 4), (3, 512))
    low, high = found.boxes[:, :2], found.boxes[:, :2] + found.boxes[:, 2:]
    centre, size = np.split((boxes_of(models[MARZAHL], images) + 1) / 2, 2, axis=1)
    assert (centre + size / 2 > 1.1).any()  # else nothing is cut off
    np.testing.assert_allclose(low, (centre - size / 2).clip(0, 1), atol=0.01)
    np.testing.assert_allclose(high, (centre + size / 2).clip(0, 1), atol=0.01)


def test_attention_comes_beside_the_heat_maps(models: dict[str, FeatureClassifier], images: Images):
    found = onnxruntime_infer(onnx_bytes_once(models[TINY], SIZE, half=True))(images)
    assert found.attention is not None and found.cams is not None and found.boxes is None
    assert (found.attention.shape, found.cams.shape) == ((3, 1, 18, 16), (3, 5, 9, 8))
    assert 0 < found.attention.min() < found.attention.max() < 1


def test_a_graph_that_loses_or_moves_them_is_not_written(model: FeatureClassifier, images: Images):
    reference, graph = reference_of(model, images), onnx_bytes_once(model, SIZE, half=False)
    boxes, attention = (None if array is None else array + np.float32(0.01) for array in further(reference))
    with pytest.raises(ParityError, match=r"(boxes|attention) by 0\.0100 \(limit 0\.001\)"):
        check_parity(replace(reference, boxes=boxes, attention=attention), graph, graph, half=False)
    ordinary = onnx_bytes_once(build("resnet18", 5, SIZE).eval(), SIZE, half=False)
    lost = compare("", "", onnxruntime_infer(ordinary), reference, HALF_LIMIT)
    assert 1.0 in (lost.max_box_difference, lost.max_attention_difference)


@pytest.mark.parametrize("target", ["sm86", "sm89"])
def test_it_compiles_with_tensorrt_ahead_of_time(model: FeatureClassifier, bundle: Bundle, tmp_path: Path, target: str):
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    record = replace(build_record_for(trt, bundle, "fp16", Gpu("", target, "", 0)), gpu="", driver="")
    graph = onnx_bytes_once(model, SIZE, half=True)
    engine = build_engine(trt, graph, record, (SIZE[1], SIZE[0]), tmp_path)
    assert len(engine.data) > 10_000
    assert engine.half_share > 0.3


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, data_dir: Path, split_file: Path) -> dict[str, Bundle]:
    """A bundle of each kind, trained for one epoch, with an 8-bit graph."""
    folder = tmp_path_factory.mktemp("further")
    write_boxes(folder / "boxes.csv", {path: Box(90, 121, 180, 121) for path in list_images(data_dir)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, TINY, lambda arch, classes, size: TinyAttention(classes))
        patch.setitem(STAGES, TINY, {})
        for arch, boxes in ((MARZAHL, folder / "boxes.csv"), (TINY, None)):
            settings = TrainingSettings([Stage(SIZE, 1)], arch, batch_size=8, boxes=boxes)
            fit(data_dir, split_file, folder / f"run-{arch}", settings)
            export_bundle(folder / f"run-{arch}" / "best.ckpt", folder / arch, "int8")
    return {arch: load_bundle(folder / arch) for arch in (MARZAHL, TINY)}


def test_a_bundle_says_what_its_graph_gives(exported: dict[str, Bundle], bundle: Bundle):
    found = {arch: (made.has_boxes, made.has_attention) for arch, made in exported.items()}
    assert found == {MARZAHL: (True, False), TINY: (False, True)}
    assert (bundle.manifest.outputs, bundle.has_boxes, bundle.has_attention) == (UNSET, False, False)
    for arch, words in ((MARZAHL, "of a box, as a share of the picture"), (TINY, "of an attention, from 0 to 1")):
        made = exported[arch]
        checks = made.manifest.parity.checks
        assert all((check.max_box_difference is UNSET) == (arch == TINY) for check in checks)
        assert all((check.max_attention_difference is UNSET) == (arch == MARZAHL) for check in checks)
        card = (made.directory / "MODEL_CARD.md").read_text()
        assert words in card
        header, rule, *rows = card.split("| graph |")[1].split("\n\n")[0].splitlines()
        assert {line.count("|") for line in ("| graph |" + header, rule, *rows)} == {10}
    assert "--boxes BOXES" in (exported[MARZAHL].directory / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("arch", [MARZAHL, TINY])
def test_every_machine_can_check_them(exported: dict[str, Bundle], arch: str):
    made = exported[arch]
    reference = read_reference(made)
    given = reference.boxes if arch == MARZAHL else reference.attention
    assert given is not None and len(given) == len(reference.labels)
    backend = OpenVINOBackend(made.model, made.cpu_precision, made.file(INT8_MODEL).read())
    assert compare("", "", backend.infer, reference.repeated(3), HALF_LIMIT).passed
    found = infer_all(backend.infer, reference.images, (1, 2))
    is_there = [array is not None for array in (found.boxes, found.attention, found.cams)]
    assert is_there == ([True, False, False] if arch == MARZAHL else [False, True, True])
    backend.close()


def test_a_prediction_has_them(exported: dict[str, Bundle], slide: Path):
    with Classifier(exported[MARZAHL]) as classifier:
        (found,) = classifier.predict([slide / "cell-01.jpg"])
    assert (found.attention, found.heat_map) == (None, None)
    assert found.box is not None and found.box.shape == (4,)
    with Classifier(exported[TINY]) as classifier:
        (found,) = classifier.predict([slide / "cell-01.jpg"])
    assert found.box is None and found.heat_map is not None
    assert found.attention is not None and found.attention.shape == (18, 16)


@pytest.mark.parametrize("arch", [MARZAHL, TINY])
def test_another_head_leaves_them_as_they_are(exported: dict[str, Bundle], arch: str, tmp_path: Path):
    before = exported[arch]
    reference = read_reference(before)
    given = onnxruntime_infer(before.model)(reference.images)
    weight = np.random.default_rng(0).normal(size=(2, given.features.shape[1])).astype(np.float32)
    cells = ParityCells("cells", reference.images, [str(label) for label in reference.labels])
    head, classes = Head(weight, np.zeros(2, np.float32)), cell_classes(["ours", "theirs"])
    made = write_reheaded(before, head, classes, before.manifest.source, cells, tmp_path / "two")
    assert made.manifest.outputs == before.manifest.outputs
    assert made.manifest.parity.checks[-1].passed
    found = onnxruntime_infer(made.model)(reference.images)
    assert found.logits.shape == (8, 2)
    for kept, known, proven in zip(further(found), further(given), further(read_reference(made)), strict=True):
        assert (kept is None) == (known is None) == (proven is None)
        np.testing.assert_array_equal(kept, known)  # type: ignore[arg-type]
