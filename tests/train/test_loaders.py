import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from cartcls.calibration.split import class_of, list_images, read_split
from cartcls.runtime.bundle.provenance import Stage
from cartcls.runtime.errors import DataError
from cartcls.train.images import load_images
from cartcls.train.loaders import BalancedSampler, CellData


def test_images_are_loaded_with_labels_and_a_digest(data_dir: Path):
    paths = list_images(data_dir)
    classes = sorted({class_of(path) for path in paths})
    loaded = load_images(data_dir, paths, classes, (64, 70))
    assert loaded.images.shape == (32, 70, 64, 3)
    assert [classes[label] for label in loaded.labels] == [class_of(path) for path in paths]
    assert loaded.sha256 == load_images(data_dir, paths, classes, (32, 32)).sha256
    assert loaded.sha256 != load_images(data_dir, paths[1:], classes, (32, 32)).sha256


def test_unreadable_images_are_named_before_training(data_dir: Path, tmp_path: Path):
    copy = Path(shutil.copytree(data_dir, tmp_path / "copy"))
    (copy / "ig" / "broken.jpg").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"1 image\(s\) cannot be used: ig/broken\.jpg is not a JPEG"):
        load_images(copy, list_images(copy), ["ig"] * 8 + [path.name for path in copy.iterdir()], (64, 64))


def test_every_class_comes_equally_often_and_every_image_comes():
    labels = np.array([0] * 50 + [1] * 10 + [2] * 3)
    order = list(BalancedSampler(labels, seed=0))
    assert Counter(labels[order]) == {0: 21, 1: 21, 2: 21}
    assert set(np.flatnonzero(labels)) <= set(order)
    assert max(Counter(order).values()) == 7
    assert order != list(BalancedSampler(labels, seed=1))
    assert len(BalancedSampler(labels, seed=0)) == len(order)


def test_stages_follow_each_other(data_dir: Path, split_file: Path):
    data = CellData(data_dir, read_split(split_file), [Stage((48, 48), 2), Stage((64, 70), 1)], 8, seed=0)
    assert [data.stage_index(epoch) for epoch in range(4)] == [0, 0, 1, 1]
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (8, 48, 48, 3)
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
