import json

import pytest

from cartcls.runtime.bundle.bundle import SHIPPED
from cartcls.runtime.bundle.manifest import CellClass, decode_manifest, encode_manifest
from cartcls.runtime.errors import BundleError

DATA = (SHIPPED / "bundle.json").read_bytes()


def test_the_shipped_manifest_is_written_as_it_was_read():
    assert encode_manifest(decode_manifest(DATA, SHIPPED)) == DATA


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "a/b", "..", ".", "", "c:x", "a\\b"])
def test_files_outside_the_folder_are_refused(name: str):
    manifest = json.loads(DATA) | {"files": {name: "0" * 64}}
    with pytest.raises(BundleError, match="outside its folder"):
        decode_manifest(json.dumps(manifest), "here")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "here is malformed"),
        (b"\xff" + DATA, "here is malformed"),
        (DATA[:-10], "here is malformed"),
        (b"[]", "here is malformed"),
        (b"{}", "missing required field `format`"),
        (b'{"format": 1, "more": ' + b"[" * 100_000, "here is malformed"),
        (b'{"format": 2, "whatever": "that holds"}', "here has bundle format 2: this version reads 1"),
    ],
)
def test_what_is_no_manifest_is_told_by_its_place(data: bytes, problem: str):
    with pytest.raises(BundleError, match=problem):
        decode_manifest(data, "here")


@pytest.mark.parametrize("name", ["CAR-T", "B cell", "µ 1.5+", "9_a"])
def test_ordinary_names_are_names_of_classes(name: str):
    assert CellClass(name, name, "other", "#0a0b0c").name == name


@pytest.mark.parametrize("name", ["", " a", "-a", "=1+1", "a/b", "a\n", "a,b", "not A cell", "UNSURE"])
def test_names_that_mean_something_else_are_none_of_classes(name: str):
    with pytest.raises(ValueError, match=r"has other characters|no class may have the name"):
        CellClass(name, "a", "other", "#0a0b0c")
