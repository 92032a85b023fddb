import hashlib
from collections.abc import Callable
from dataclasses import fields, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from cartcls.runtime.bundle.bundle import PARITY_CELLS, Bundle
from cartcls.runtime.errors import BundleError
from cartcls.runtime.inference.backend import Outputs
from cartcls.runtime.inference.parity import (
    FLOAT32_CAM_LIMIT,
    FLOAT32_LIMIT,
    HALF_LIMIT,
    INT8_LIMIT,
    Check,
    Images,
    Reference,
    answer_limit,
    compare,
    explain,
    read_reference,
)

COUNT = 6
NUMBERS = np.arange(COUNT)
LABELS = NUMBERS % 3
IMAGES = np.zeros((COUNT, 2, 2, 3), np.uint8) + NUMBERS[:, None, None, None].astype(np.uint8)
REFERENCE = Reference(IMAGES, LABELS, 5 * np.eye(3, dtype=np.float32)[LABELS], np.array([1, 2, 3], np.float32))

BOXES = np.linspace(0, 0.5, 4 * COUNT, dtype=np.float32).reshape(COUNT, 4)
ATTENTION = np.linspace(0.1, 0.9, 6 * COUNT, dtype=np.float32).reshape(COUNT, 1, 2, 3)


def graph(change: dict[int, list[float]] | None = None, maps: float | None = 0.0) -> Callable[[Images], Outputs]:
    """Says what PyTorch did, but for some cells; its maps are off their logits by so much, or not there."""
    logits = REFERENCE.logits.copy()
    for number, values in (change or {}).items():
        logits[number] = values

    def infer(images: Images) -> Outputs:
        mine = logits[images[:, 0, 0, 0]]
        sums = mine - REFERENCE.bias + (maps or 0)
        cams = (sums / 4)[:, :, None, None] * np.ones((1, 1, 2, 2), np.float32)
        return Outputs(mine, np.zeros((len(images), 4), np.float32), None if maps is None else cams)

    return infer


def checked(infer: Callable[[Images], Outputs], limit: float = 1.0) -> Check:
    return compare("half", "a graph", infer, REFERENCE, limit, batches=(3, 2))


def test_the_same_answers_pass_in_batches_of_any_size():
    sizes: list[int] = []
    same = graph()
    check = checked(lambda images: sizes.append(len(images)) or same(images), FLOAT32_LIMIT)
    assert sizes == [3, 2, 1]
    assert (check.passed, check.count, check.correct, check.reference_correct, check.changed) == (True, 6, 6, 6, [])
    assert (check.max_probability_difference, check.max_logit_difference) == (0, 0)
    assert check.cam_sum_error < FLOAT32_CAM_LIMIT


def test_a_probability_may_be_off_by_the_limit_and_no_more():
    other = graph({4: [0, 4, 0]})
    check = checked(other)
    difference = check.max_probability_difference
    assert difference == pytest.approx(np.exp(5) / (np.exp(5) + 2) - np.exp(4) / (np.exp(4) + 2))
    assert check.max_logit_difference == 1
    assert checked(other, difference).passed
    assert not checked(other, np.nextafter(difference, 0)).passed


def test_one_right_answer_fewer_or_more_may_be_chance_and_two_are_not():
    wrong = [0.0, 0.0, 5.0]
    one, two = checked(graph({0: wrong})), checked(graph({0: wrong, 3: wrong}))
    assert (one.passed, one.correct, one.changed) == (True, 5, [0])
    assert (two.passed, two.correct, two.reference_correct, two.changed) == (False, 4, 6, [0, 3])


def test_maps_add_up_to_the_logits_or_there_are_none():
    off = graph(maps=0.05)  # a hundredth of the largest logit
    assert checked(off, HALF_LIMIT).cam_sum_error == pytest.approx(0.01, rel=1e-3)
    assert checked(off, HALF_LIMIT).passed
    assert not checked(off, FLOAT32_LIMIT).passed
    assert not checked(graph(maps=0.2), HALF_LIMIT).passed
    none = checked(graph(maps=None), FLOAT32_LIMIT)
    assert (none.passed, none.cam_sum_error) == (True, 0)


@pytest.mark.parametrize(
    ("limit", "box", "attention"), [(FLOAT32_LIMIT, 0.001, 0.001), (HALF_LIMIT, 0.02, 0.05), (INT8_LIMIT, 0.1, 0.2)]
)
def test_boxes_and_attention_may_be_off_by_their_own_limit(limit: float, box: float, attention: float):
    same, expected = graph(), replace(REFERENCE, boxes=BOXES, attention=ATTENTION)

    def passed(boxes: np.ndarray | None, attentions: np.ndarray | None) -> bool:
        def infer(images: Images) -> Outputs:
            at = images[:, 0, 0, 0]
            given = [None if array is None else array[at].astype(np.float32) for array in (boxes, attentions)]
            return replace(same(images), boxes=given[0], attention=given[1])

        return compare("", "", infer, expected, limit, batches=(3, 2)).passed

    def moved(array: np.ndarray, by: float) -> np.ndarray:
        return array + by * (np.arange(COUNT) == 4).reshape(-1, *[1] * (array.ndim - 1))

    assert passed(moved(BOXES, 0.99 * box), moved(ATTENTION, 0.99 * attention))
    assert not passed(moved(BOXES, 1.01 * box), ATTENTION)
    assert not passed(BOXES, moved(ATTENTION, 1.01 * attention))
    assert not passed(None, ATTENTION)
    assert not passed(BOXES, ATTENTION[:, :, :1])
    assert not passed(moved(BOXES, np.nan), ATTENTION)


def test_what_is_off_is_said():
    check = replace(checked(graph(), HALF_LIMIT), max_box_difference=0.125)
    assert explain(check).endswith("by 0.0%, boxes by 0.1250 (limit 0.02)")
    assert explain(replace(check, max_box_difference=None)).endswith("by 0.0%")


def test_some_cells_of_each_class_or_all_of_them_again():
    first, twice = REFERENCE.first_of_each_class(1), REFERENCE.repeated(2)
    assert (first.labels.tolist(), first.images[:, 0, 0, 0].tolist()) == ([0, 1, 2], [0, 1, 2])
    assert twice.labels.tolist() == [*LABELS, *LABELS]
    assert twice.images[:, 0, 0, 0].tolist() == [*NUMBERS, *NUMBERS]
    for part in (first, twice):
        assert (part.logits.argmax(1) == part.labels).all()


def bundle_with(bundle: Bundle, folder: Path, data: bytes) -> Bundle:
    """A bundle that carries such a file of cells, with the right digest."""
    (folder / PARITY_CELLS).write_bytes(data)
    files = {PARITY_CELLS: hashlib.sha256(data).hexdigest()}
    return replace(bundle, directory=folder, manifest=structs.replace(bundle.manifest, files=files))


def test_what_a_bundle_carries_comes_back(bundle: Bundle, tmp_path: Path):
    given = replace(REFERENCE, boxes=BOXES, attention=ATTENTION)
    found = read_reference(bundle_with(bundle, tmp_path, given.to_bytes()))
    for field in fields(Reference):
        before, after = getattr(given, field.name), getattr(found, field.name)
        assert (before.dtype, before.tolist()) == (after.dtype, after.tolist())
    without = read_reference(bundle_with(bundle, tmp_path, REFERENCE.to_bytes()))
    assert (without.boxes, without.attention) == (None, None)


def saved(**arrays: np.ndarray) -> bytes:
    file = BytesIO()
    np.savez(file, allow_pickle=True, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"junk",
        REFERENCE.to_bytes()[:-30],
        saved(images=IMAGES, labels=LABELS, logits=REFERENCE.logits),
        saved(images=IMAGES, labels=LABELS, logits=REFERENCE.logits, bias=np.array([object()])),
    ],
    ids=["junk", "cut", "incomplete", "pickle"],
)
def test_a_file_of_cells_that_is_malformed_is_refused(bundle: Bundle, tmp_path: Path, data: bytes):
    with pytest.raises(BundleError, match=r"proof\.npz is malformed"):
        read_reference(bundle_with(bundle, tmp_path, data))


def test_each_precision_has_its_limit(bundle: Bundle):
    precision = structs.replace(bundle.manifest.precision, graph="float32")
    full = replace(bundle, manifest=structs.replace(bundle.manifest, precision=precision))
    assert (answer_limit(bundle), answer_limit(full)) == (HALF_LIMIT, FLOAT32_LIMIT)
    assert answer_limit(bundle, "int8") == answer_limit(full, "int8") == INT8_LIMIT
