import json

import msgspec
import pytest

from cartcls.runtime.bundle.bundle import SHIPPED
from cartcls.runtime.bundle.manifest import CellClass, HomeScale, Manifest, decode_manifest, encode_manifest
from cartcls.runtime.errors import BundleError
from cartcls.runtime.images.adjust import Adjustment

DATA = (SHIPPED / "bundle.json").read_bytes()


def test_the_shipped_manifest_is_written_as_it_was_read():
    assert encode_manifest(decode_manifest(DATA, SHIPPED)) == DATA


def test_an_adjustment_of_pictures_comes_back_and_a_wrong_one_is_refused():
    plain = decode_manifest(DATA, SHIPPED)
    for adjustment in (Adjustment(1.42), Adjustment(0.7, ((0.9, 0.1, 0.0), (0.1, 0.8, 0.0), (0.0, 0.0, 1.2)))):
        made = msgspec.structs.replace(plain, adjustment=adjustment)
        assert decode_manifest(encode_manifest(made), "here") == made
    for wrong in ({"scale": 9.0}, {"scale": 1.0, "stain": [[1.0, 0.0, 0.0]]}, {"scale": None}):
        with pytest.raises(BundleError, match="here is malformed"):
            decode_manifest(json.dumps(json.loads(DATA) | {"adjustment": wrong}), "here")


def test_the_size_of_red_cells_comes_back_may_be_left_out_and_a_wrong_one_is_refused():
    plain = msgspec.structs.replace(decode_manifest(DATA, SHIPPED), home_scale=msgspec.UNSET)
    assert b"home_scale" not in encode_manifest(plain)
    known = HomeScale(75.5, 360, 363, 7.5 / 75.5, 40)
    made = msgspec.structs.replace(plain, home_scale=known)
    assert decode_manifest(encode_manifest(made), "here") == made
    right = msgspec.to_builtins(known)
    for wrong in ({"red_cell_px": 0}, {"mpp": -0.1}, {"crop_width": 0}, {"cells": -1}, {"crop_height": 1.5}):
        with pytest.raises(BundleError, match="here is malformed"):
            decode_manifest(json.dumps(json.loads(DATA) | {"home_scale": right | wrong}), "here")


def test_classes_are_read_in_a_haematologists_order_or_the_bundles_own():
    usual = ["neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil", "ig", "erythroblast", "platelet"]
    assert [entry.name for entry in decode_manifest(DATA, SHIPPED).classes_as_read] == usual
    own = decode_manifest(json.dumps(json.loads(DATA) | {"reading_order": usual[::-1]}), "here")
    assert [entry.name for entry in own.classes_as_read] == usual[::-1]
    assert decode_manifest(encode_manifest(own), "here") == own
    for wrong in (usual[1:], [*usual, "platelet"], [*usual[1:], "blast"]):
        with pytest.raises(BundleError, match="reading_order needs the name of each class once"):
            decode_manifest(json.dumps(json.loads(DATA) | {"reading_order": wrong}), "here")


def a_manifest(*kinds: str, **others: object) -> Manifest:
    classes = [{"name": f"c{n}", "title": f"c{n}", "kind": kind, "color": "#0a0b0c"} for n, kind in enumerate(kinds)]
    return decode_manifest(json.dumps(json.loads(DATA) | {"classes": classes} | others), "here")


def test_a_report_is_a_finding_where_two_classes_or_no_leukocytes_are_told_apart():
    assert decode_manifest(DATA, SHIPPED).kind_of_report == "differential"
    three = ("leukocyte", "leukocyte", "platelet")
    assert a_manifest(*three).kind_of_report == "differential"
    assert a_manifest(*three[:2]).kind_of_report == "finding"
    assert a_manifest("nrbc", "platelet", "other").kind_of_report == "finding"


def test_a_bundle_says_what_its_reports_give():
    three = ("leukocyte", "leukocyte", "platelet")
    own = a_manifest(*three, report="finding")
    assert own.kind_of_report == "finding"
    assert decode_manifest(encode_manifest(own), "here") == own
    assert a_manifest(*three[:2], report="differential").kind_of_report == "differential"
    with pytest.raises(BundleError, match="a differential needs a class of the kind leukocyte"):
        a_manifest("other", "other", "platelet", report="differential")
    with pytest.raises(BundleError, match="here is malformed"):
        a_manifest(*three, report="diagnosis")


def test_other_classes_stand_where_their_last_word_does():
    titles = ("debris", "Promyelocyte", "band neutrophil", "plasma cell", "reactive lymphocyte", "smudge", "platelet")
    kinds = ("other", *["leukocyte"] * 4, "other", "platelet")
    classes = [{"name": t, "title": t, "kind": k, "color": "#0a0b0c"} for t, k in zip(titles, kinds, strict=True)]
    read = decode_manifest(json.dumps(json.loads(DATA) | {"classes": classes}), "here").classes_as_read
    assert [entry.title for entry in read] == [
        *("band neutrophil", "reactive lymphocyte", "Promyelocyte", "plasma cell", "platelet", "debris", "smudge")
    ]


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
