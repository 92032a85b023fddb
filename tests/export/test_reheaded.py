import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes import giving_findings
from msgspec import UNSET
from msgspec.structs import replace

from cartcls.calibration.head import Head
from cartcls.export.classes import cell_classes
from cartcls.export.reheaded import ParityCells, write_reheaded
from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.errors import DataError
from cartcls.runtime.images.resize import Image
from cartcls.runtime.inference.openvino_backend import INT8, OpenVINOBackend
from cartcls.runtime.inference.parity import read_reference

HOW = "made by a test"


def test_a_bundle_with_another_head_is_proved_and_waits_for_calibration(bundle: Bundle, crops: Image, tmp_path: Path):
    weight = np.random.default_rng(0).normal(size=(2, 3968)).astype(np.float32) / 3
    head, out = Head(weight, np.array([1, 0], np.float32)), tmp_path / "two"
    cells = ParityCells("select", crops[:4], [f"cell-{i}" for i in range(4)], np.arange(4) % 2)
    source = replace(bundle.manifest.source, head=HOW)
    made = write_reheaded(giving_findings(load_bundle()), head, cell_classes(["myelocyte", "ours"]), source, cells, out)
    assert [entry.title for entry in made.classes] == ["myelocyte", "ours"]
    assert (made.name, made.calibrated) == ("two", False)
    assert {path.name for path in out.iterdir()} >= {"model.onnx", "proof.npz", "NOTICE", "MODEL_CARD.md"}
    assert not (out / "calibration.npz").exists()
    reference = read_reference(made)
    found = OpenVINOBackend(made.model, "f32").infer(reference.images)
    assert found.cams is not None
    assert np.abs(found.logits - reference.logits).max() < 0.05  # by another engine, from half precision
    assert np.abs(found.cams.sum((2, 3)) + head.bias - found.logits).max() < 1e-3
    assert np.abs(head.logits(found.features) - found.logits).max() < 1e-3
    card = (out / "MODEL_CARD.md").read_text()
    assert f"# then the head: {HOW}" in card
    assert (made.manifest.report, made.report) == (UNSET, "finding")  # two classes
    assert "Its reports give a finding, no differential" in card
    assert "Parity with the same graph in float32, on the cells of `select`" in card
    assert (made.cpu_precision == INT8) == (out / "model.int8.onnx").exists()
    with pytest.raises(DataError, match="exists already"):
        write_reheaded(bundle, head, made.classes, source, cells, out)


def test_it_needs_no_pytorch():
    code = "import sys, cartcls.export.reheaded; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
