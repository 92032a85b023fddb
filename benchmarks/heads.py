"""Other heads on the shipped bundle's features, at home and abroad, with and without standardised features.

python benchmarks/heads.py PBC_ALL FOREIGN --cache DIR

PBC_ALL holds the class folders that splits/pbc-all.csv was made of, FOREIGN the sets of splits/foreign.csv, of which
only the halves to choose by are read. The features are kept in DIR: 13,000 cells take 10 minutes or more. Prints a
table.
"""

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cartcls.calibration.head import Head, fit_head
from cartcls.calibration.laboratory import standardise, strangeness, usual_mix
from cartcls.calibration.limits import gaussians
from cartcls.calibration.split import read_split
from cartcls.calibration.temperature import fit_temperature
from cartcls.export.head import read_head, replace_head
from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.resize import stretch
from cartcls.runtime.inference.openvino_backend import BF16, OpenVINOBackend
from cartcls.runtime.inference.predictions import softmax

ROOT = Path(__file__).resolve().parent.parent
DECAYS = (0.01, 0.1, 1.0)
BATCH = 16

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Cells:
    """Features (N, D) and true class indices (N,) of cells."""

    features: Floats
    labels: npt.NDArray[np.intp]

    def right(self, head: Head) -> int:
        """How many cells a head classifies right."""
        return int((head.logits(self.features).argmax(1) == self.labels).sum())

    def recall(self, head: Head) -> float:
        """Share of right cells, the mean over the classes that have cells."""
        called = head.logits(self.features).argmax(1)
        return float(np.mean([(called[self.labels == k] == k).mean() for k in np.unique(self.labels)]))


def features_of(bundle: Bundle, directory: Path, paths: list[str], file: Path) -> Cells:
    """Features of cells, computed once; `paths` end with the class and the file name."""
    names = [entry.name for entry in bundle.classes]
    labels = np.array([names.index(path.split("/")[-2]) for path in paths], np.intp)
    if file.exists():
        with np.load(file) as kept:
            place = {path: row for row, path in enumerate(kept["paths"].tolist())}
            return Cells(kept["features"][[place[path] for path in paths]].astype(np.float32), labels)
    backend = OpenVINOBackend(replace_head(bundle.model, read_head(bundle.model)), BF16)
    found = []
    for first in range(0, len(paths), BATCH):
        files = [directory / path for path in paths[first : first + BATCH]]
        images = np.stack([stretch(read_image(path)[0], bundle.width, bundle.height) for path in files])
        found.append(backend.infer(images).features)
    backend.close()
    features = np.concatenate(found)
    np.savez(file, paths=np.array(paths), features=features.astype(np.float16))
    return Cells(features, labels)


def sets_of(bundle: Bundle, pbc: Path, foreign: Path, cache: Path) -> tuple[dict[str, Cells], dict[str, Cells]]:
    """Cells of home, by part, and of other laboratories, by set."""
    earlier, every = (read_split(ROOT / "splits" / name) for name in ("pbc.csv", "pbc-all.csv"))
    parts = {"fit": every.paths("fit"), "select": every.paths("select"), "calibrate": earlier.paths("calibrate")}
    parts["further"] = [path for path in every.paths("calibrate") if path not in earlier.parts]
    home = {name: features_of(bundle, pbc, paths, cache / f"{name}.npz") for name, paths in parts.items()}
    with (ROOT / "splits" / "foreign.csv").open(newline="", encoding="utf-8") as file:
        chosen = [(row["set"], row["path"]) for row in csv.DictReader(file) if row["half"] == "choose"]
    abroad = {}
    for name in dict(chosen):
        paths = [path for its_set, path in chosen if its_set == name]
        abroad[name] = features_of(bundle, foreign / name, paths, cache / f"{name}.npz")
    return home, abroad


def main(pbc: Path, foreign: Path, cache: Path) -> None:
    """Fit the heads and print the table."""
    bundle = load_bundle()
    cache.mkdir(parents=True, exist_ok=True)
    home, abroad = sets_of(bundle, pbc, foreign, cache)
    fit, select = home["fit"], home["select"]
    shipped = read_head(bundle.model)
    nothing = Head(np.zeros_like(shipped.weight), np.zeros_like(shipped.bias))
    heads = {"shipped": shipped}
    heads |= {f"near shipped, decay {decay:g}": fit_head(fit.features, fit.labels, shipped, decay) for decay in DECAYS}
    heads |= {f"near zero, decay {decay:g}": fit_head(fit.features, fit.labels, nothing, decay) for decay in DECAYS}
    usual = gaussians(fit.features.astype(np.float64), fit.labels)
    mix = usual_mix([entry.name for entry in bundle.classes])
    counted = [f"{name} (of {len(home[name].labels)})" for name in ("select", "calibrate", "further")]
    print("|", " | ".join(["head", *counted, *(f"{name}, %, as it is; standardised" for name in abroad)]), "|")
    print("|---" * (4 + len(abroad)) + "|")
    for name, head in heads.items():
        row = [str(home[part].right(head)) for part in ("select", "calibrate", "further")]
        for cells in abroad.values():
            made = standardise(cells.features, usual, mix)
            shares = [
                f"{cells.right(one) / len(cells.labels):.1%} ({cells.recall(one):.1%})"
                for one in (head, head.after(made.scale, made.shift))
            ]
            row.append("; ".join(shares))
        print("|", " | ".join([name, *row]), "|", flush=True)
    temperature = fit_temperature(shipped.logits(select.features), select.labels)
    for name, cells in {**{part: home[part] for part in ("select", "calibrate", "further")}, **abroad}.items():
        probabilities = softmax(shipped.logits(cells.features) / temperature)
        print(f"strangeness of {name}: {strangeness(cells.features, probabilities, usual):.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pbc", type=Path)
    parser.add_argument("foreign", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    main(options.pbc, options.foreign, options.cache)
