"""What labels of other laboratories' cells are worth, what of them is `ok` on slides, and when the alarm comes.

    python benchmarks/foreign.py DATA --outputs FOLDER

DATA holds pbc-all (which splits/pbc-all.csv was made of) and foreign/{tecom,cvblog,bccd}; FOLDER keeps the outputs of
the graph. The page goes to docs/results/foreign.md. The halves for figures are opened once per release: --trial leaves
them closed.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import false_alarms
import numpy as np
import numpy.typing as npt
from foreign_split import CHOOSE, REPORT, read_halves
from outputs import FOREIGN, ROOT, Indices, Pool, home, joined, outputs
from scipy import stats

from cartcls.calibration.natural import NATURAL
from cartcls.calibration.reliability import reliability
from cartcls.runtime.bundle.bundle import SHIPPED, Bundle, load_bundle

SIZES = (20, 50, 100, 200)
SHARES = (0.1, 0.3, 0.5, 1.0)
SLIDES = 500
SEED = 0
Random = np.random.Generator
TITLES = {
    "tecom": "tecom: rapid stain, 120×120",
    "cvblog": "cvblog: CellaVision's teaching pictures, 300×300",
    "bccd": "bccd: cells cut from BCCD",
}


@dataclass(frozen=True)
class Group:
    """Cells of one set in the pool: all of them, or one half; and the classes that the set has, by index."""

    name: str
    part: str
    at: Indices
    own: Indices


@dataclass(frozen=True)
class Slides:
    """Slides of one size, as the laboratory would see them.

    Attributes:
        at: Cells of each, (S, N).
        alarms: Whether each alarms, (S,).
        wrong: Whether each cell is wrong and still `ok`, (S, N).
    """

    at: Indices
    alarms: npt.NDArray[np.bool_]
    wrong: npt.NDArray[np.bool_]


def main() -> None:
    """Measure everything, and write the page."""
    options = _options()
    bundle = load_bundle(options.bundle)
    sets = [outputs(name, options.data, bundle, options.outputs) for name in FOREIGN]
    pool = Pool(joined([home(options.data, bundle, options.outputs), *sets]), bundle)
    found = list(groups(pool, [CHOOSE] if options.trial else [REPORT, "all"]))
    lines = [*_head(bundle, options.trial), *labels(pool, found), *whole(pool, found), *mixed(pool, found)]
    text = "\n".join([*lines, "", *false_alarms.section()]) + "\n"
    if not options.trial:
        options.out.write_text(text, encoding="utf-8")
    print(text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--outputs", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=SHIPPED)
    parser.add_argument("--trial", action="store_true", help="only the halves to choose by; no page is written")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "foreign.md")
    return parser.parse_args()


def groups(pool: Pool, parts: Sequence[str]) -> Iterator[Group]:
    """Home, and each foreign set by `choose`, `report`, or `all` of it."""
    of_half = read_halves()
    of_set = np.array([path.split("/")[0] for path in pool.outputs.paths])
    halves = np.array([of_half.get(path, "") for path in pool.outputs.paths])
    for name in ("home", *FOREIGN):
        inside = of_set == name if name in FOREIGN else ~np.isin(of_set, FOREIGN)
        for part in parts if name in FOREIGN else ["all"]:
            at = np.flatnonzero(inside & ((halves == part) | (part == "all")))
            yield Group(name, part, at, np.unique(pool.outputs.evidence.labels[inside]))


def _head(bundle: Bundle, trial: bool) -> list[str]:
    return [
        "# Other laboratories' cells",
        "",
        f"    python benchmarks/foreign.py DATA --outputs FOLDER{' --trial' * trial}        # {date.today()}",
        "",
        f"{bundle.name} (`bundle.json` {bundle.sha256[:16]}…) by openvino ({bundle.cpu_precision}). Nothing was chosen"
        " on the halves for figures. Each is split once, by class, into a half to choose by and a half for figures"
        " (`report`; [splits/foreign.csv](../../splits/foreign.csv)). One of the 751 cells has the bytes of another,"
        " and is left out. Labels are those of X. Zheng et al., segmentation_WBC (tecom, cvblog; not verified by its"
        " authors), and of BCCD with apple2373's subtypes. Home is `calibrate`, split by image, which no weights have"
        " seen, but the threshold was set on it. Intervals: 95 % (Clopper–Pearson).",
    ]


def labels(pool: Pool, groups: Sequence[Group]) -> list[str]:
    """A table of what the labels of each set are worth, cell by cell."""
    lines = [
        "",
        "## Labels",
        "",
        "| set | part | cells | right of 8 | right of its own classes | flagged | wrong and `ok` | calibration error |",
        "|" + "---|" * 8,
    ]
    for group in groups:
        at, n = group.at, len(group.at)
        truth, probabilities = pool.outputs.evidence.labels[at], pool.judged.probabilities[at]
        right_of_own = int((group.own[probabilities[:, group.own].argmax(1)] == truth).sum())
        right, flagged = pool.judged.correct[at], ~pool.judged.passes[at]
        error = reliability(probabilities, truth).ece_equal_mass
        low, high = error.interval
        cells = [share(int(right.sum()), n), share(right_of_own, n), share(int(flagged.sum()), n)]
        cells += [share(int((~right & ~flagged).sum()), n, 2), f"{error.value:.2f} ({low:.2f} to {high:.2f})"]
        lines.append(f"| {TITLES.get(group.name, group.name)} | {group.part} | {n} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        "Shares are of all cells; `flagged` and `ok` by each picture alone. Calibration error: in 15 bins of as many.",
    ]


def whole(pool: Pool, groups: Sequence[Group]) -> list[str]:
    """A table of each foreign set cut into slides."""
    lines = [
        "",
        "## Slides of one set",
        "",
        f"Cells in an order drawn with seed {SEED}, cut into as many whole slides as they give. A slide counts as a"
        " laboratory sees it: with rare classes and the alarm.",
        "",
        "| set | part | cells of a slide | slides | with an alarm | wrong and `ok`, of all cells |",
        "|" + "---|" * 6,
    ]
    for group in (group for group in groups if group.name != "home"):
        for size in SIZES:
            order = np.random.default_rng(SEED).permutation(group.at)
            if count := len(order) // size:
                found = review(pool, order[: count * size].reshape(count, size))
                wrong = share(int(found.wrong.sum()), found.wrong.size, 2)
                lines.append(
                    f"| {group.name} | {group.part} | {size} | {count} | {int(found.alarms.sum())} | {wrong} |"
                )
    return lines


def mixed(pool: Pool, groups: Sequence[Group]) -> list[str]:
    """Tables of made-up slides of home with foreign cells among them: alarms, and what is wrong and `ok`."""
    random = np.random.default_rng(SEED)
    title = " | ".join(f"{size} cells" for size in SIZES)
    alarms = [f"| foreign cells | {title} |", "|" + "---|" * (1 + len(SIZES))]
    wrong = list(alarms)
    last = {group.name: group for group in groups}
    for name, part in [("home", 0.0), *((name, part) for name in FOREIGN for part in SHARES)]:
        found = [review(pool, _draw(pool, last, name, part, size, random)) for size in SIZES]
        row = f"{part:.0%} {name}" if part else "none"
        alarms.append(f"| {row} | " + " | ".join(f"{slides.alarms.mean():.1%}" for slides in found) + " |")
        wrong.append(f"| {row} | " + " | ".join(drawn_share(slides) for slides in found) + " |")
    mix = ", ".join(f"{name} {part:.0%}" for name, part in NATURAL.items())
    parts = " or ".join(sorted({f"`{last[name].part}`" for name in FOREIGN}))
    return [
        "",
        "## Slides of home with foreign cells among them",
        "",
        f"{SLIDES} slides each, drawn with replacement and in random order: home in the mix {mix}, and cells of a set"
        f" ({parts}). Cells of one slide are independent here. Slides with an alarm:",
        "",
        *alarms,
        "",
        "Wrong and `ok`, of all cells. Cells are drawn many times, so the interval counts only as many as there are"
        " different ones (Kish's effective number).",
        "",
        *wrong,
    ]


def _draw(pool: Pool, last: dict[str, Group], name: str, part: float, size: int, random: Random) -> Indices:
    count = round(part * size)
    own = pool.draw(NATURAL, (SLIDES, size - count), random, last["home"].at)
    return random.permuted(np.hstack([own, random.choice(last[name].at, (SLIDES, count))]), axis=1)


def review(pool: Pool, slides: Indices) -> Slides:
    """Review slides, each row the cells of one."""
    found = [pool.reviewed(slide) for slide in slides]
    ok = np.array([[cell.status == "ok" for cell in cells] for _, cells in found])
    return Slides(slides, np.array([bool(alarm) for alarm, _ in found]), ok & ~pool.judged.correct[slides])


def share(count: float, total: float, digits: int = 1) -> str:
    """A share with its Clopper–Pearson interval; the numbers need not be whole."""
    low = stats.beta.ppf(0.025, count, total - count + 1) if count else 0.0
    high = stats.beta.ppf(0.975, count + 1, total - count) if count < total else 1.0
    return f"{count / total:.{digits}%} ({low:.{digits}%} to {high:.{digits}%})"


def drawn_share(slides: Slides) -> str:
    """The share of wrong `ok` cells, with the interval of as many cells as there are different ones."""
    times = np.bincount(slides.at.ravel()).astype(float)
    different = times.sum() ** 2 / (times**2).sum()
    return share(slides.wrong.mean() * different, different, 2)


if __name__ == "__main__":
    main()
