"""What kind of file system a folder is on: files on network shares need longer waiting times."""

import os
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "glusterfs", "lustre")


def file_system(folder: Path) -> str:
    """Type of the file system that an existing folder is on, such as `ext4` or `cifs`; empty if unknown."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    try:
        path = os.path.realpath(folder)
    except OSError:  # a share that does not answer
        path = os.path.abspath(folder)
    best, found = "", ""
    for line in lines:
        # 36 35 98:0 /root /mount/point rw,noatime shared:1 - ext4 /dev/sda1 rw
        before, _, after = line.partition(" - ")
        point = _unescape(before.split(" ")[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # a later mount on the same point hides the earlier one
            best, found = point, after.split(" ")[0]
    return found


def is_network(kind: str) -> bool:
    """Whether a file system is (or, with FUSE, may be; `fuseblk` is a local disk) on another machine."""
    return kind in NETWORK or (kind.startswith("fuse") and kind != "fuseblk")


def _unescape(text: str) -> str:
    for code, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, sign)
    return text
