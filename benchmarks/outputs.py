"""Outputs of a bundle for labelled cells, as the edge computes them, kept in a folder; and slides drawn on them."""

import csv
import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from msgspec import structs
from sklearn.metrics import confusion_matrix

from cartcls.calibration.evidence import Evidence, gather
from cartcls.calibration.judged import Judged, always_reviewed, judge
from cartcls.calibration.split import choose_part, class_of
from cartcls.runtime import Classifier
from cartcls.runtime.bundle.bundle import INT8_MODEL, MODEL, Bundle
from cartcls.runtime.bundle.drift import alarm
from cartcls.runtime.images.quality import FLAWS, Quality
from cartcls.runtime.ledger.records import Cell
from cartcls.runtime.reports.slide_review import slide_review

ROOT = Path(__file__).resolve().parent.parent
SPLIT = ROOT / "splits" / "pbc-all.csv"
FOREIGN = ("tecom", "cvblog", "bccd")
HOME = "pbc-all"
SETS = {"calibrate": HOME, "report": HOME} | {name: f"foreign/{name}" for name in FOREIGN}
"""Folder of each set within the data; `calibrate` and `report` are parts of `splits/pbc-all.csv`."""

Indices = npt.NDArray[np.intp]


def choose_halves(data: Path) -> dict[str, list[Path]]:
    """Images of the foreign sets' halves to choose by, which lie in DATA/foreign, by set."""
    found: dict[str, list[Path]] = {name: [] for name in FOREIGN}
    with (ROOT / "splits" / "foreign.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["half"] == "choose":
                found[row["set"]].append(data / "foreign" / row["set"] / row["path"])
    return found


@dataclass(frozen=True)
class Outputs:
    """N labelled cells, and what a bundle says of them before calibration.

    Attributes:
        paths: Set, true class and file name of each, `/`-separated.
        evidence: Of them, in that order; its labels are the true classes.
    """

    paths: list[str]
    evidence: Evidence

    @property
    def truth(self) -> list[str]:
        """Name of the true class of each."""
        return [path.split("/")[-2] for path in self.paths]

    def take(self, indices: Sequence[int] | Indices) -> "Outputs":
        """Some of the cells, in that order."""
        found, at = self.evidence, np.asarray(indices, np.intp)
        qualities = [found.qualities[i] for i in at]
        evidence = Evidence(found.labels[at], found.logits[at], found.features[at], qualities)
        return Outputs([self.paths[i] for i in at], evidence)


@dataclass(frozen=True)
class Pool:
    """Labelled cells that slides are drawn from, judged one by one by a bundle's calibration.

    Attributes:
        outputs: Of the cells.
        bundle: The bundle.
    """

    outputs: Outputs
    bundle: Bundle

    @cached_property
    def judged(self) -> Judged:
        """What the edge says of each cell by itself."""
        assert self.bundle.calibration is not None
        found = judge(self.bundle.calibration, self.outputs.evidence, self.bundle.temperature)
        return always_reviewed(found, self.bundle.classes)

    @cached_property
    def truth(self) -> npt.NDArray[np.str_]:
        """Name of the true class of each, (N,)."""
        return np.array(self.outputs.truth)

    @cached_property
    def _rows(self) -> list[Cell]:
        return [self._row(i, path) for i, path in enumerate(self.outputs.paths)]

    def _row(self, i: int, path: str) -> Cell:
        found, entry = self.judged.found[i], self.bundle.classes[self.judged.probabilities[i].argmax()]
        return Cell(
            seq=0,
            path=path,
            status="review" if found.reasons else "ok",
            reason="; ".join(found.reasons),
            analysed_at="",
            label=entry.name,
            probabilities=tuple(self.judged.probabilities[i].tolist()),
            distance=found.distance,
            stain=found.stain,
        )

    def slide(self, indices: Sequence[int] | Indices) -> list[Cell]:
        """Rows of a slide with these cells in this order, as a ledger has them; one cell may come several times."""
        return [replace(self._rows[i], seq=seq) for seq, i in enumerate(indices, 1)]

    def reviewed(self, indices: Sequence[int] | Indices) -> tuple[str, list[Cell]]:
        """What of a slide alarms, and its rows as the slide makes them."""
        assert self.bundle.manifest.calibration is not None
        cells = self.slide(indices)
        measured = [(cell.label or "", cell.distance or 0.0, cell.stain or 0.0) for cell in cells]
        found = ", ".join(alarm(measured, self.bundle.manifest.calibration.typical))
        review = slide_review(cells, self.bundle, found)
        return found, [review.applied_to(cell) for cell in cells]

    def draw(
        self,
        shares: Mapping[str, float],
        size: int | tuple[int, int],
        random: np.random.Generator,
        among: Indices | None = None,
    ) -> Indices:
        """Draw cells with replacement: the class of each by its share, then a cell of that class.

        Args:
            shares: By class.
            size: Number of cells, or of slides and of cells of each.
            random: What draws them.
            among: Cells to draw from; all of them if not given.
        """
        chosen = np.arange(len(self.truth)) if among is None else among
        weights = np.zeros(len(chosen))
        for name, share in shares.items():
            of_class = self.truth[chosen] == name
            if not of_class.any():
                raise ValueError(f"there is no cell of the class {name}")
            weights[of_class] = share / of_class.sum()
        return random.choice(chosen, size, p=weights / weights.sum())


def joined(parts: Sequence[Outputs]) -> Outputs:
    """The cells of several sets, one set after the other."""
    found = [part.evidence for part in parts]
    labels, logits = np.concatenate([e.labels for e in found]), np.concatenate([e.logits for e in found])
    features, qualities = np.concatenate([e.features for e in found]), [q for e in found for q in e.qualities]
    return Outputs([path for part in parts for path in part.paths], Evidence(labels, logits, features, qualities))


def home(data: Path, bundle: Bundle, cache: Path) -> Outputs:
    """Cells of home that no weights have seen; but the threshold was set on them."""
    return outputs("calibrate", data, bundle, cache)


def crossed(cells: Outputs, bundle: Bundle, seed: int = 0) -> list[Pool]:
    """Two random halves of the cells, alike by class; each with a confusion that was counted on the other one."""
    record = bundle.manifest.calibration
    assert record is not None
    order = np.random.default_rng(seed).permutation(len(cells.paths))
    order = order[np.argsort(cells.evidence.labels[order], kind="stable")]
    halves = [cells.take(order[start::2]) for start in (0, 1)]
    pools = []
    for half, other in zip(halves, halves[::-1], strict=True):
        counts = confusion_matrix(
            other.evidence.labels, other.evidence.logits.argmax(1), labels=range(len(bundle.classes))
        )
        calibrate = structs.replace(record.calibrate, confusion=counts.tolist())
        changed = structs.replace(record, calibrate=calibrate)
        pools.append(Pool(half, replace(bundle, manifest=structs.replace(bundle.manifest, calibration=changed))))
    return pools


def outputs(name: str, data: Path, bundle: Bundle, cache: Path) -> Outputs:
    """Outputs of a bundle by OpenVINO for one of `SETS`: from the cache, or else computed and put there.

    They hold for every calibration of the same graph.

    Args:
        name: One of `SETS`.
        data: Folder of all data.
        bundle: The bundle.
        cache: Folder for the outputs.
    """
    folder = data / SETS[name]
    paths, _ = choose_part(folder, SPLIT if SETS[name] == HOME else None, name)
    files = bundle.manifest.files
    key = "\n".join([files[MODEL], files.get(INT8_MODEL, ""), bundle.cpu_precision, *paths])
    file = cache / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if not file.exists():
        with Classifier(bundle, "openvino") as classifier:
            _store(file, gather(folder, paths, classifier, _progress))
    return Outputs([f"{name}/{path}" for path in paths], _stored(file, [class_of(path) for path in paths], bundle))


def _store(file: Path, evidence: Evidence) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"new-{file.name}")  # never a half-written one in the cache
    measures = np.stack([evidence.measure(name) for name in FLAWS], axis=1)
    np.savez(new, logits=evidence.logits, features=evidence.features, measures=measures, stains=evidence.stains)
    new.replace(file)


def _stored(file: Path, truth: list[str], bundle: Bundle) -> Evidence:
    names = [entry.name for entry in bundle.classes]
    with np.load(file, allow_pickle=False) as found:
        logits, features, measures, stains = (found[key] for key in ("logits", "features", "measures", "stains"))
    qualities = [Quality(dict(zip(FLAWS, m.tolist(), strict=True)), s) for m, s in zip(measures, stains, strict=True)]
    return Evidence(np.array([names.index(name) for name in truth], np.intp), logits, features, qualities)


def _progress(done: int, count: int) -> None:
    if done == count or done % 500 == 0:
        print(f"{done} of {count} cells", file=sys.stderr, flush=True)
