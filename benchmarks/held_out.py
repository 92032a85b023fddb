"""Which score tells cells of a class that a model never saw: EfficientNet-Lite0, trained without that class.

    python benchmarks/held_out.py PBC_ALL --out RUNS [--without erythroblast]

PBC_ALL holds the class folders that splits/pbc-all.csv was made of. Trains from ImageNet weights (once; 15 minutes on
two cores), then compares the cells of `calibrate`. Prints a table.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from cartcls.calibration.limits import gaussians
from cartcls.calibration.split import read_split
from cartcls.runtime.bundle.provenance import Stage
from cartcls.runtime.inference.predictions import softmax
from cartcls.train.checkpoint import Checkpoint, load_checkpoint
from cartcls.train.images import load_images
from cartcls.train.models.base import normalize
from cartcls.train.training import TrainingSettings, fit

ROOT = Path(__file__).resolve().parent.parent
SPLIT = ROOT / "splits" / "pbc-all.csv"
STAGE, ARCH, SEED = Stage((128, 128), 3), "efficientnet_lite0", 5
KNOWN_FLAGGED = 0.05  # share of the known cells
NEIGHBOURS = 10
BATCH = 64

Floats = npt.NDArray[np.floating]
Indices = npt.NDArray[np.intp]


def train_without(name: str, data_dir: Path, out: Path) -> Checkpoint:
    """Train on all classes but one, if that was not done before."""
    run = out / f"without-{name}"
    if not (run / "metrics.json").exists():
        cells = out / f"cells-without-{name}"
        cells.mkdir(parents=True, exist_ok=True)
        split = read_split(SPLIT)
        for folder in {path.split("/")[0] for path in split.parts} - {name}:
            link = cells / folder
            link.unlink(missing_ok=True)
            link.symlink_to((data_dir / folder).resolve())
        split_file = out / f"without-{name}.csv"
        with split_file.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["path", "part"])
            writer.writerows([path, part] for path, part in split.parts.items() if not path.startswith(f"{name}/"))
        fit(cells, split_file, run, TrainingSettings([STAGE], ARCH, seed=SEED), (run / "last.ckpt").exists())
    return load_checkpoint(run / "best.ckpt")


def outputs(checkpoint: Checkpoint, data_dir: Path, part: str, names: list[str]) -> tuple[Floats, Floats, Indices]:
    """Features (N, D), logits (N, K) and indices in `names` (N,) of the cells of a part that are of these classes."""
    paths = [path for path in read_split(SPLIT).paths(part) if path.split("/")[0] in names]
    cells = load_images(data_dir, paths, names, STAGE.size)
    features, logits = [], []
    with torch.inference_mode():
        for first in range(0, len(paths), BATCH):
            images = normalize(torch.from_numpy(cells.images[first : first + BATCH]))
            features.append(checkpoint.model.features(images).numpy())
            logits.append(checkpoint.model(images).numpy())
    return np.concatenate(features), np.concatenate(logits), cells.labels.astype(np.intp)


def scores(features: Floats, logits: Floats, known: Floats, labels: Indices) -> dict[str, Floats]:
    """Scores (N,) of cells: more is less like the known cells, whose features and labels are given."""
    centre, spread = known.mean(0), known.std(0) + 1e-6
    near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit((known - centre) / spread)
    return {
        "1 − p": 1 - softmax(logits).max(1),
        "energy": -np.log(np.exp(logits.astype(np.float64)).sum(1)),
        "distance (shipped)": gaussians(known.astype(np.float64), labels).distances(features),
        f"mean distance of {NEIGHBOURS} neighbours": near.kneighbors((features - centre) / spread)[0].mean(1),
    }


def main(data_dir: Path, out: Path, name: str) -> None:
    """Train, compare, print."""
    checkpoint = train_without(name, data_dir, out)
    names = list(checkpoint.classes)
    known, _, labels = outputs(checkpoint, data_dir, "fit", names)
    known_features, known_logits, truth = outputs(checkpoint, data_dir, "calibrate", names)
    new_features, new_logits, _ = outputs(checkpoint, data_dir, "calibrate", [name])
    right = int((known_logits.argmax(1) == truth).sum())
    print(f"calibrate: {right} of {len(truth)} known cells right; {len(new_features)} of {name}\n")
    print("| score | AUC | flagged where 5 % of the known are | AUC of the wrong ones among the known |")
    print("|---|---|---|---|")
    of_known = scores(known_features, known_logits, known, labels)
    of_new = scores(new_features, new_logits, known, labels)
    for title, values in of_known.items():
        new = of_new[title]
        auc = roc_auc_score(np.repeat([0, 1], [len(values), len(new)]), np.concatenate([values, new]))
        flagged = (new > np.quantile(values, 1 - KNOWN_FLAGGED)).mean()
        wrong = roc_auc_score(known_logits.argmax(1) != truth, values)
        print(f"| {title} | {auc:.3f} | {flagged:.1%} | {wrong:.3f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pbc", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--without", default="erythroblast")
    options = parser.parse_args()
    main(options.pbc, options.out, options.without)
