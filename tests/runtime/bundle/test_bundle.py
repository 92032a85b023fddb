import hashlib
import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from fakes import write_manifest

from cartcls.runtime.bundle import bundle as bundles
from cartcls.runtime.bundle.bundle import SHIPPED, Bundle, BundleFile, load_bundle
from cartcls.runtime.bundle.manifest import decode_manifest
from cartcls.runtime.errors import BackendError, BundleError
from cartcls.runtime.inference import openvino_backend
from cartcls.runtime.inference.choose import open_backend
from cartcls.runtime.inference.parity import read_reference

ONE = {"name": "a", "title": "a", "kind": "other", "color": "#ffffff"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "copy"))


def change(copy: Path, **values: object) -> None:
    write_manifest(copy, json.loads((copy / "bundle.json").read_text()) | values)


def test_the_shipped_bundle_is_whole(bundle: Bundle):
    names = [entry.name for entry in bundle.classes]
    assert names == ["basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet"]
    assert (bundle.width, bundle.height) == (290, 290)
    assert len(bundle.model) < 45_000_000
    kinds = {entry.name: entry.kind for entry in bundle.classes}
    assert kinds["erythroblast"] == "nrbc"
    assert kinds["platelet"] == "platelet"


def test_the_shipped_bundle_names_nothing_of_the_machine_it_was_made_on(bundle: Bundle):
    text = (SHIPPED / "bundle.json").read_text() + (SHIPPED / "MODEL_CARD.md").read_text()
    assert "data_dir" not in text
    assert "../" not in text
    source = bundle.manifest.source
    assert source.command.startswith("cartcls train join ")
    for member in source.members:
        assert member.provenance.command.startswith("cartcls train fit DATA_DIR ")


def accepted_flips(copy: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files of a bundle that may hold a flipped bit without being refused before anything parses them."""
    parsed: list[str] = []
    monkeypatch.setattr(
        bundles, "decode_manifest", lambda data, where: parsed.append("bundle.json") or decode_manifest(data, where)
    )
    accepted = []
    for file in sorted(copy.iterdir()):
        data = file.read_bytes()
        for position in (0, len(data) // 3, len(data) // 2, len(data) - 1):
            parsed.clear()
            file.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
            try:
                load_bundle(copy)
                accepted.append(file.name)
            except BundleError as error:
                refused = re.search(r"altered or damaged", str(error)) and file.name not in parsed
                accepted += [] if refused else [file.name]
        file.write_bytes(data)
    return accepted


def test_one_flipped_bit_in_any_file_is_refused_before_anything_parses_it(copy: Path, monkeypatch: pytest.MonkeyPatch):
    assert len(list(copy.iterdir())) >= 6
    assert accepted_flips(copy, monkeypatch) == []


def test_the_trial_of_flipped_bits_finds_a_bundle_that_is_not_verified(copy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(BundleFile, "verify", lambda file: None)
    assert "model.onnx" in accepted_flips(copy, monkeypatch)


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.file,)


def test_a_pickle_in_the_place_of_any_file_is_never_run(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(openvino_backend, "MARGIN", 1.1)  # else its float32 graph is not looked at
    canary = pickle.dumps(Canary(tmp_path / "sings"))
    names = [file.name for file in copy.iterdir() if file.name not in ("bundle.json", "bundle.json.sha256")]
    names.sort(key=lambda name: name != "calibration.npz")  # first, while there still is a calibration
    whole = {name: (copy / name).read_bytes() for name in names}
    for name in names:
        (copy / name).write_bytes(canary)
        digests = {name: hashlib.sha256((copy / name).read_bytes()).hexdigest() for name in names}
        if name == "calibration.npz":
            change(copy, files=digests)
            with pytest.raises(BundleError, match="malformed"):
                load_bundle(copy)
        # Without its calibration, which would refuse another graph before anything parses that.
        change(copy, files={file: digests[file] for file in digests if file != "calibration.npz"}, calibration=None)
        altered = load_bundle(copy)
        if name == "model.onnx":
            image = np.zeros((1, altered.height, altered.width, 3), np.uint8)
            with pytest.raises(BackendError, match="OpenVINO cannot load the graph"):
                open_backend(altered, "openvino").infer(image)
        if name == "proof.npz":
            with pytest.raises(BundleError):
                read_reference(altered)
        (copy / name).write_bytes(whole[name])
    (copy / "bundle.json").write_bytes(canary)
    (copy / "bundle.json.sha256").unlink()
    with pytest.raises(BundleError, match="malformed"):
        load_bundle(copy)
    assert not (tmp_path / "sings").exists()
    pickle.loads(canary)  # what a careless reader would do: the canary can sing
    assert (tmp_path / "sings").exists()


def test_a_graph_that_was_altered_after_the_bundle_was_loaded_is_refused(copy: Path):
    loaded, data = load_bundle(copy), (copy / "model.onnx").read_bytes()
    assert loaded.model == data
    (copy / "model.onnx").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BundleError, match="altered or damaged"):
        _ = loaded.model


def test_a_missing_or_linked_file_is_refused(copy: Path):
    (copy / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx has vanished"):
        load_bundle(copy)
    (copy / "model.onnx").symlink_to(SHIPPED / "model.onnx")
    with pytest.raises(BundleError, match="symbolic link"):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"format": 2}, "this version reads 1"),
        ({"classes": []}, "at least two classes"),
        ({"classes": [ONE, ONE]}, "each with its own name"),
        ({"classes": [ONE, {**ONE, "name": "=1"}]}, "has other characters"),
        ({"classes": [ONE, {**ONE, "name": "Unsure"}]}, "no class may have the name 'unsure'"),
        ({"classes": [ONE, {**ONE, "name": "b", "color": "red; x"}]}, "a colour #rrggbb"),
        ({"classes": [ONE, {**ONE, "name": "b", "title": "\x1b[31m"}]}, "printable title"),
        ({"classes": [ONE, {**ONE, "name": "b", "kind": "alien"}]}, r"'alien' - at `\$\.classes\[1\]\.kind`"),
        ({"name": "=cmd"}, "has other characters"),
        ({"source": {}}, "data_sha256"),
        ({"preprocessing": {"name": "crop"}}, "another preprocessing"),
        (
            {"preprocessing": {"name": "stretch-area-linear", "sha256": "0"}},
            r"another preprocessing \(stretch-area-linear\)",
        ),
        ({"files": {}}, r"has no model\.onnx"),
        ({"input": {}}, "malformed"),
    ],
)
def test_a_malformed_manifest_is_refused(copy: Path, values: dict[str, object], problem: str):
    change(copy, **values)
    with pytest.raises(BundleError, match=problem):
        load_bundle(copy)


def test_a_graph_with_data_in_other_files_is_refused(copy: Path):
    model = onnx.load(copy / "model.onnx")
    onnx.save(model, copy / "model.onnx", save_as_external_data=True, location="weights.bin")
    digest = hashlib.sha256((copy / "model.onnx").read_bytes()).hexdigest()
    change(copy, files={"model.onnx": digest}, calibration=None, precision={"graph": "float32", "cpu": "f32"})
    bundle = load_bundle(copy)
    with pytest.raises(BundleError, match="keeps data in other files"):
        open_backend(bundle)


def test_text_that_is_no_json_and_a_missing_folder_are_refused(copy: Path, tmp_path: Path):
    (copy / "bundle.json.sha256").unlink()
    (copy / "bundle.json").write_text("{")
    with pytest.raises(BundleError, match="malformed"):
        load_bundle(copy)
    with pytest.raises(BundleError, match="is not a bundle"):
        load_bundle(tmp_path / "nothing")
