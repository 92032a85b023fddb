import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from cartcls.runtime.bundle import SHIPPED, Bundle, load_bundle
from cartcls.runtime.errors import BundleError

ONE = {"name": "a", "title": "a", "kind": "other", "color": "#ffffff"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "copy"))


def change(copy: Path, **values: Any) -> None:
    manifest = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps(manifest | values))


def test_the_shipped_bundle_is_whole(bundle: Bundle):
    names = [entry.name for entry in bundle.classes]
    assert names == ["basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet"]
    assert (bundle.width, bundle.height) == (360, 363)
    assert len(bundle.model) < 30_000_000
    kinds = {entry.name: entry.kind for entry in bundle.classes}
    assert kinds["erythroblast"] == "nrbc"
    assert kinds["platelet"] == "platelet"


def test_the_shipped_bundle_names_nothing_of_the_machine_it_was_made_on(bundle: Bundle):
    text = json.dumps(bundle.manifest) + (SHIPPED / "MODEL_CARD.md").read_text()
    assert "data_dir" not in text
    assert "../" not in text
    assert bundle.manifest["source"]["command"].startswith("python -m cartcls.train fit DATA_DIR ")


@pytest.mark.parametrize("name", ["model.onnx", "MODEL_CARD.md", "NOTICE"])
def test_one_flipped_bit_is_refused(copy: Path, name: str):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} was altered or damaged"):
        load_bundle(copy)


def test_a_missing_or_linked_file_is_refused(copy: Path):
    (copy / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx has vanished"):
        load_bundle(copy)
    (copy / "model.onnx").symlink_to(SHIPPED / "model.onnx")
    with pytest.raises(BundleError, match="symbolic link"):
        load_bundle(copy)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "a/b", "..", "c:x"])
def test_files_outside_the_folder_are_refused(copy: Path, name: str):
    change(copy, files={name: "0" * 64})
    with pytest.raises(BundleError, match="outside its folder"):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"format": 2}, "this version reads 1"),
        ({"classes": []}, "at least two classes"),
        ({"classes": [ONE, ONE]}, "each of its own name"),
        ({"classes": [ONE, {**ONE, "name": "=1"}]}, "has other signs"),
        ({"classes": [ONE, {**ONE, "name": "b", "color": "red; x"}]}, "a colour #rrggbb"),
        ({"classes": [ONE, {**ONE, "name": "b", "title": "\x1b[31m"}]}, "printable title"),
        ({"classes": [ONE, {**ONE, "name": "b", "kind": "alien"}]}, "needs a kind"),
        ({"name": "=cmd"}, "has other signs"),
        ({"calibration": {"temperature": 2}}, r"has no calibration\.npz"),
        ({"source": {}}, "split_unit"),
        ({"preprocessing": {"name": "crop", "sha256": "0"}}, "another preprocessing"),
        ({"files": {}}, "malformed"),
        ({"input": {}}, "malformed"),
    ],
)
def test_a_malformed_manifest_is_refused(copy: Path, values: dict[str, Any], problem: str):
    change(copy, **values)
    with pytest.raises(BundleError, match=problem):
        load_bundle(copy)


def test_a_graph_with_data_in_other_files_is_refused(copy: Path):
    model = onnx.load(copy / "model.onnx")
    onnx.save(model, copy / "model.onnx", save_as_external_data=True, location="weights.bin")
    digest = hashlib.sha256((copy / "model.onnx").read_bytes()).hexdigest()
    change(copy, files={"model.onnx": digest})
    with pytest.raises(BundleError, match="keeps data in other files"):
        load_bundle(copy)


def test_text_that_is_no_json_and_a_missing_folder_are_refused(copy: Path, tmp_path: Path):
    (copy / "bundle.json").write_text("{")
    with pytest.raises(BundleError, match="malformed"):
        load_bundle(copy)
    with pytest.raises(BundleError, match="is not a bundle"):
        load_bundle(tmp_path / "nothing")
