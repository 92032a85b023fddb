from pathlib import Path

import pytest

from cartcls.runtime import mounts
from cartcls.runtime.mounts import file_system, is_network


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mount table with a share inside a disk, and one whose name has a space."""
    (tmp_path / "share" / "deep").mkdir(parents=True)
    (tmp_path / "shared").mkdir()
    (tmp_path / "my share").mkdir()
    root = str(tmp_path)
    file = tmp_path / "mountinfo"
    file.write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        f"40 22 0:50 / {root}/share rw - ext4 /dev/sdb1 rw\n"
        f"41 22 0:51 / {root}/share rw shared:9 master:3 - cifs //microscope/captures rw\n"
        f"42 22 0:52 / {root}/my\\040share rw - fuse.sshfs host: rw\n"
    )
    monkeypatch.setattr(mounts, "MOUNTS", file)
    return tmp_path


def test_the_last_mount_above_a_folder_counts(table: Path):
    assert file_system(table / "share") == "cifs"
    assert file_system(table / "share" / "deep") == "cifs"
    assert file_system(table / "shared") == "ext4"
    assert file_system(table / "my share") == "fuse.sshfs"


def test_links_are_followed_to_where_the_files_are(table: Path):
    (table / "link").symlink_to(table / "share" / "deep")
    assert file_system(table / "link") == "cifs"


def test_without_a_mount_table_nothing_is_known(table: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mounts, "MOUNTS", table / "none")
    assert file_system(table) == ""


def test_shares_are_told_from_disks():
    assert all(is_network(kind) for kind in ("cifs", "nfs4", "9p", "fuse.sshfs"))
    assert not any(is_network(kind) for kind in ("ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuseblk", ""))
