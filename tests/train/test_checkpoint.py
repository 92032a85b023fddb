import shutil
from pathlib import Path

import pytest
import torch

from cartcls.runtime.errors import DataError
from cartcls.train.checkpoint import load_checkpoint


def test_foreign_files_are_no_checkpoints_and_are_not_executed(tmp_path: Path):
    (tmp_path / "a.ckpt").write_bytes(b"junk")
    with pytest.raises(DataError, match="is not a checkpoint"):
        load_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(DataError, match="does not exist"):
        load_checkpoint(tmp_path / "none.ckpt")

    class Canary:
        def __reduce__(self):
            return (shutil.rmtree, (str(tmp_path),))

    torch.save(Canary(), tmp_path / "canary.ckpt")
    with pytest.raises(DataError, match="is not a checkpoint"):
        load_checkpoint(tmp_path / "canary.ckpt")
    assert tmp_path.exists()
