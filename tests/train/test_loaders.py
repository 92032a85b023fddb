import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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


def test_batches_are_the_images_that_were_drawn(data_dir: Path, split_file: Path):
    data = CellData(data_dir, read_split(split_file), [Stage((48, 48), 1)], 8, seed=0)
    loaded = data.images("fit", (48, 48))
    drawn = list(BalancedSampler(loaded.labels, 0))
    images, labels = (torch.cat(tensors).numpy() for tensors in zip(*data.train_dataloader(), strict=True))
    assert np.array_equal(images, loaded.images[drawn])
    assert np.array_equal(labels, loaded.labels[drawn])
    evaluated = torch.cat([labels for _, labels in data.val_dataloader()]).numpy()
    assert np.array_equal(evaluated, data.images("select", (48, 48)).labels)


def test_images_stay_in_host_memory_where_they_would_fill_the_gpu(
    data_dir: Path, split_file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4000, 8000))
    gpu = torch.device("cuda", 0)
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=gpu))
    data = CellData(data_dir, read_split(split_file), [Stage((48, 48), 1)], 8, seed=0)
    data.trainer = trainer
    assert data._device(1000) == gpu
    assert data._device(1001) == torch.device("cpu")
