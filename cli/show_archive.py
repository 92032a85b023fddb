"""What `cartcls archive` shows."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .show import counted, results

if TYPE_CHECKING:
    from ..runtime.archive.archive import Archived


def archived(table: Path, done: "Archived") -> None:
    """Print what a run of an archive did, and the folder of its table."""
    rows = ", ".join(f"{count} {name}" for name, count in sorted(done.status.items()))
    speed = f" in {done.seconds:.0f} s, {done.images / done.seconds:.0f} images/s" if done.seconds else ""
    lines = [
        f"{counted(done.slides, 'slide')}: {done.written} written, {done.unchanged} unchanged,"
        f" {len(done.failed)} failed",
        f"{counted(done.images, 'image')}{speed}: {rows}" if done.images else "",
        f"warning: unlike home, every cell is for review: {counted(done.alarms, 'slide')}" if done.alarms else "",
        os.fspath(table),
    ]
    results.print("\n".join(filter(None, lines)), markup=False, soft_wrap=True)
