"""A checkpoint in float16 in small parts, and back.

python benchmarks/gpu/weights.py join .gpu/out-cuda runs/from-gpu
cartcls export runs/from-gpu/best.ckpt --data CELLS --out my-model
"""

import io
import re
import sys
from pathlib import Path

import torch
from place import Place, SkippedError

from cartcls.runtime.errors import DataError
from cartcls.train.checkpoint import load_checkpoint

PART_BYTES = 15 * 1024**2
CHECKPOINT = "best.ckpt"
NAME = re.compile(r"weights-(\d+)-of-(\d+)\.part")
FILES = ("split.csv", "run.json", "history.csv", "metrics.json")  # that are kept with the weights


def step_weights(place: Place) -> None:
    """The best checkpoint of the training, whether it came to its end or not."""
    if not (place.run / CHECKPOINT).exists():
        raise SkippedError("no epoch of the training was finished")
    out = place.state.parent / f"out-{place.device}"
    parts = split_weights(place.run, out)
    trained = load_checkpoint(place.run / CHECKPOINT)
    sizes = ", ".join(f"{part.name} {part.stat().st_size:,} bytes" for part in parts)
    place.note("best epoch", f"{trained.epochs} of {sum(stage.epochs for stage in trained.provenance.stages)}")
    place.note("parts", sizes)


def split_weights(run: Path, out: Path, part_bytes: int = PART_BYTES) -> list[Path]:
    """Write the best checkpoint of a run folder in parts: matrices in float16, all else as it is.

    Args:
        run: Run folder.
        out: Folder for the parts; earlier ones are removed.
        part_bytes: Largest size of a part.
    """
    checkpoint = torch.load(run / CHECKPOINT, map_location="cpu", weights_only=True)
    weights = {
        name: value.half() if value.ndim > 1 and value.dtype == torch.float32 else value
        for name, value in checkpoint["state_dict"].items()
    }
    files = {name: (run / name).read_text(encoding="utf-8") for name in FILES if (run / name).exists()}
    kept = {name: checkpoint[name] for name in ("hyper_parameters", "epoch")}
    stream = io.BytesIO()
    torch.save({**kept, "state_dict": weights, "files": files}, stream)
    data = stream.getvalue()
    pieces = [data[first : first + part_bytes] for first in range(0, len(data), part_bytes)]
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("weights-*.part"):
        old.unlink()
    parts = [out / f"weights-{number}-of-{len(pieces)}.part" for number in range(1, len(pieces) + 1)]
    for part, piece in zip(parts, pieces, strict=True):
        part.write_bytes(piece)
    return parts


def join_weights(parts_dir: Path, run: Path) -> Path:
    """Make a run folder from such parts, with a checkpoint in float32 that `cartcls export` takes.

    Args:
        parts_dir: Folder with all parts.
        run: Run folder to make.

    Raises:
        DataError: Parts are missing, or the run folder is not empty.
    """
    found = {file: NAME.fullmatch(file.name) for file in parts_dir.glob("weights-*.part")}
    numbered = {int(match[1]): file for file, match in found.items() if match}
    count = max((int(match[2]) for match in found.values() if match), default=0)
    if not count or sorted(numbered) != list(range(1, count + 1)):
        raise DataError(f"{parts_dir} has {len(numbered)} of {count} parts of weights: bring the others")
    if run.exists() and any(run.iterdir()):
        raise DataError(f"{run} is not empty: choose another folder")
    data = b"".join(numbered[number].read_bytes() for number in sorted(numbered))
    held = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    run.mkdir(parents=True, exist_ok=True)
    for name in held["files"].keys() & set(FILES):
        (run / name).write_text(held["files"][name], encoding="utf-8")
    weights = {
        name: value.float() if value.dtype == torch.float16 else value for name, value in held["state_dict"].items()
    }
    torch.save(
        {**{name: held[name] for name in ("hyper_parameters", "epoch")}, "state_dict": weights}, run / CHECKPOINT
    )
    load_checkpoint(run / CHECKPOINT)
    return run / CHECKPOINT


if __name__ == "__main__":
    if sys.argv[1:2] != ["join"] or len(sys.argv) != 4:
        sys.exit(__doc__)
    print(join_weights(Path(sys.argv[2]), Path(sys.argv[3])))
