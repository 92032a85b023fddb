"""`cartcls train fit` in one of several processes, which notes its cells: `torchrun_fit.py NOTES ARGUMENTS…`."""

import json
import os
import sys
from pathlib import Path

from cartcls.train import loaders
from cartcls.train.commands import app


def main(notes: Path, arguments: list[str]) -> None:
    """Train, and note each batch as a line: how many cells its part has, and which ones were taken."""
    take = loaders.HeldImages.__getitems__
    file = notes / f"{os.environ.get('RANK', '0')}.jsonl"

    def noting(self: loaders.HeldImages, indices: list[int]) -> loaders.Batch:
        with file.open("a") as lines:
            lines.write(json.dumps([len(self), indices]) + "\n")
        return take(self, indices)

    loaders.HeldImages.__getitems__ = noting
    app(["fit", *arguments])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
