"""What a person looks at on natural slides, and what is wrong and `ok`: by each cell alone, and by its slide as well.

    python benchmarks/slides.py DATA_DIR --cache CACHE_DIR

DATA_DIR holds `pbc-all`, the class folders that splits/pbc-all.csv was made of. The page goes to
docs/results/slides.md.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
from outputs import Pool, crossed, home
from scipy import stats

from cartcls.calibration.natural import NATURAL
from cartcls.runtime.bundle.bundle import SHIPPED, Bundle, load_bundle
from cartcls.runtime.inference.predictions import RARE
from cartcls.runtime.ledger.records import Cell
from cartcls.runtime.reports.estimate import estimate

ROOT = Path(__file__).resolve().parent.parent
SLIDES, SEED, AIM = 500, 0, 13
IMMATURE = "ig"
OWN, ALWAYS, RARE_HERE = "the cell itself", "class that a person always sees", "class rare on the slide"

Mix = Mapping[str, float]


def with_share(mix: Mix, name: str, share: float) -> dict[str, float]:
    """The mix with this share of one class, the others in the same proportions."""
    rest = sum(other for key, other in mix.items() if key != name)
    return {key: share if key == name else other * (1 - share) / rest for key, other in mix.items()}


MIXES: dict[str, Mix] = {
    "natural": NATURAL,
    "natural, 2 erythroblasts and 2 platelets to 100 leukocytes": {**NATURAL, "erythroblast": 0.02, "platelet": 0.02},
    "30 % immature granulocytes": with_share(NATURAL, IMMATURE, 0.30),
    "10 % basophils": with_share(NATURAL, "basophil", 0.10),
    "lymphocytes alone": {"lymphocyte": 1.0},
}
NORMAL = ("natural", 200)
ROWS = [("natural", 20), *((name, size) for name in MIXES for size in (100, 200, 500))]


@dataclass(frozen=True)
class Slide:
    """What becomes of one slide; where there are two counts: by each cell alone, and by its slide as well.

    Attributes:
        truth: Number of cells by true class.
        looked: How many cells a person must look at.
        wrong: Cells that are wrong and `ok`, by true class.
        alarm: What of the slide is unlike home.
        reasons: Cells to look at, by label and first reason.
        right: Those with the right label, by label.
        off: Sum over the leukocyte classes of |share − true share|, in percent: of the labels, and of the estimate.
    """

    truth: Counter[str]
    looked: tuple[int, int]
    wrong: tuple[Counter[str], Counter[str]]
    alarm: str
    reasons: Counter[tuple[str, str]]
    right: Counter[str]
    off: tuple[float, float]


def look_at(alone: Sequence[Cell], judged: Sequence[Cell], truth: Sequence[str], unlike: str, bundle: Bundle) -> Slide:
    """Count what becomes of a slide.

    Args:
        alone: Rows as the ledger has them; that their class is always looked at is left out.
        judged: The same as the slide makes them.
        truth: True class of each.
        unlike: What of the slide is unlike home.
        bundle: The bundle that made them; it is calibrated.
    """
    alone = [_without_class(cell) for cell in alone]
    always = {entry.name for entry in bundle.classes if entry.always_review}
    reasons, right = Counter[tuple[str, str]](), Counter[str]()
    for own, cell, true in zip(alone, judged, truth, strict=True):
        if cell.status == "review":
            rare = (ALWAYS if cell.label in always else RARE_HERE) if RARE in cell.reason else cell.reason
            reasons[str(cell.label), OWN if own.status == "review" else rare] += 1
            right[str(cell.label)] += cell.label == true
    return Slide(
        truth=Counter(truth),
        looked=(_looked(alone), _looked(judged)),
        wrong=(wrong_and_ok(alone, truth), wrong_and_ok(judged, truth)),
        alarm=unlike,
        reasons=reasons,
        right=right,
        off=_off(alone, Counter(truth), bundle),
    )


def _without_class(cell: Cell) -> Cell:
    reasons = [reason for reason in cell.reason.split("; ") if reason not in ("", RARE)]
    return replace(cell, status="review" if reasons else "ok", reason="; ".join(reasons))


def wrong_and_ok(cells: Sequence[Cell], truth: Sequence[str]) -> Counter[str]:
    """Cells that are `ok` under another label than their true one, by their true class."""
    pairs = zip(cells, truth, strict=True)
    return Counter(true for cell, true in pairs if cell.status == "ok" and cell.label != true)


def share_of_all(wrong: Counter[str], drawn: Counter[str], pool: Counter[str]) -> tuple[float, float, float]:
    """Share of all cells that are wrong and `ok`, with its 95 % interval as the cells that slides are drawn from allow.

    Zou and Donner (2008): the interval of a weighted sum from those of its parts, here one for each class (Jeffreys).

    Args:
        wrong: Wrong and `ok` cells on all slides, by true class.
        drawn: All cells on all slides, by true class.
        pool: Cells that they were drawn from, by class.
    """
    share, below, above = 0.0, 0.0, 0.0
    for name, count in drawn.items():
        weight, rate, cells = count / drawn.total(), wrong[name] / count, pool[name]
        low, high = stats.beta.ppf([0.025, 0.975], rate * cells + 0.5, (1 - rate) * cells + 0.5)
        low, high = 0.0 if rate == 0 else low, 1.0 if rate == 1 else high
        share += weight * rate
        below, above = below + (weight * (rate - low)) ** 2, above + (weight * (high - rate)) ** 2
    return share, max(0.0, share - below**0.5), min(1.0, share + above**0.5)


def _looked(cells: Sequence[Cell]) -> int:
    return sum(cell.status == "review" for cell in cells)


def _off(cells: Sequence[Cell], truth: Counter[str], bundle: Bundle) -> tuple[float, float]:
    """How far labels and estimate are from the true shares of the leukocytes, in percent."""
    assert bundle.manifest.calibration is not None
    names = [entry.name for entry in bundle.classes]
    leukocytes = [entry.name for entry in bundle.classes if entry.kind == "leukocyte"]
    labels, true = Counter(str(cell.label) for cell in cells), _shares(truth, leukocytes)
    found = estimate(labels, {}, names, bundle.manifest.calibration.calibrate.confusion)
    expected = {name: found.mean(name) for name in leukocytes}
    of_labels, of_estimate = (float(np.abs(_shares(counts, leukocytes) - true).sum()) for counts in (labels, expected))
    return of_labels, of_estimate


def _shares(counts: Mapping[str, float], names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Percent of each class, (L,)."""
    found = np.array([counts.get(name, 0) for name in names], np.float64)
    return 100 * found / max(found.sum(), 1)


def row(name: str, size: int, slides: Sequence[Slide], pool: Counter[str]) -> str:
    """The line of the table for slides of one mix and size."""
    drawn = sum((slide.truth for slide in slides), Counter[str]())
    looked = [[slide.looked[when] for slide in slides] for when in (0, 1)]
    wrong = [sum((slide.wrong[when] for slide in slides), Counter[str]()) for when in (0, 1)]
    shares = [share_of_all(found, drawn, pool) for found in wrong]
    off = [np.mean([slide.off[which] for slide in slides]) for which in (0, 1)]
    cells = [
        name,
        str(size),
        " → ".join(f"{np.mean(each):.1f} ({np.quantile(each, 0.95):.0f})" for each in looked),
        " → ".join(f"{each.total() / len(slides):.3f}" for each in wrong),
        " → ".join(f"{share:.3%} ({low:.2%} to {high:.2%})" for share, low, high in shares),
        " → ".join(f"{each[IMMATURE]}" for each in wrong) + f" of {drawn[IMMATURE]}",
        f"{off[0]:.2f} → {off[1]:.2f}",
        str(sum(bool(slide.alarm) for slide in slides)),
    ]
    return f"| {' | '.join(cells)} |"


def reasons_table(slides: Sequence[Slide], bundle: Bundle) -> list[str]:
    """Cells to look at on a slide, by label and first reason."""
    counted = sum((slide.reasons for slide in slides), Counter[tuple[str, str]]())
    right = sum((slide.right for slide in slides), Counter[str]())
    columns = [OWN, ALWAYS, RARE_HERE, *sorted({why for _, why in counted} - {OWN, ALWAYS, RARE_HERE})]
    lines = ["| label | " + " | ".join(columns) + " | all | with the right label |", "|" + "---|" * (len(columns) + 3)]
    for name in [*(entry.name for entry in bundle.classes), None]:
        found = [sum(n for (label, why), n in counted.items() if name in (label, None) and why == c) for c in columns]
        of_right = right.total() if name is None else right[name]
        if total := sum(found):
            shown = " | ".join(f"{n / len(slides):.2f}" for n in [*found, total, of_right])
            lines.append(f"| {name or 'all'} | {shown} |")
    return lines


def page(pool: Pool, slides: Mapping[tuple[str, int], Sequence[Slide]], command: str) -> list[str]:
    """All lines of the page."""
    bundle, cells, normal = pool.bundle, Counter(pool.outputs.truth), slides[NORMAL]
    looked = float(np.mean([slide.looked[1] for slide in normal]))
    left = sum((slide.wrong[1] for slide in normal), Counter[str]())
    by_class = ", ".join(f"{count / len(normal):.3f} {name}" for name, count in left.most_common()) or "none"
    off = [np.mean([slide.off for slide in found], axis=0) for found in slides.values()]
    return [
        "# Natural slides",
        "",
        f"    python benchmarks/slides.py {command}        # {date.today()}",
        "",
        f"{bundle.name} (`bundle.json` {bundle.sha256[:16]}…), {len(normal)} slides a row, drawn with replacement from"
        f" the {cells.total()} cells of `calibrate`, split by image, which no weights have seen"
        f" ({', '.join(f'{n} {name}' for name, n in sorted(cells.items()))}). Half of the slides are of one half of"
        " them, half of the other, and the estimate's confusion was counted on the half that a slide is not of; but the"
        " threshold was set on both."
        f" Natural mix: {', '.join(f'{name} {share:.0%}' for name, share in NATURAL.items())}. Left of each arrow by"
        " what speaks against each cell alone, right of it with the rules of its slide. Σ|Δ| is the sum over the"
        " leukocyte classes of |share − true share on the slide|, in percent: of the labels before review → of the"
        " estimate.",
        "",
        "| mix | cells | to look at: mean (95 % quantile) | wrong and `ok` a slide | their share of all cells (95 %) |"
        " immature granulocytes lost without review | Σ\\|Δ\\| | slides that alarm |",
        "|" + "---|" * 8,
        *(row(name, size, found, cells) for (name, size), found in slides.items()),
        "",
        "The intervals are as wide as the cells that slides are drawn from allow, above all the few lymphocytes."
        " The typical distances were made on these cells and `select`. Cells are drawn by themselves,"
        " those of a real slide are alike: [more slides alarm then](../trust.md). The estimate is nearer to the true"
        f" shares than the labels in {sum(after < before for before, after in off)} of {len(off)} rows.",
        "",
        f"## Why a cell is looked at (natural mix, slides of {NORMAL[1]})",
        "",
        *reasons_table(normal, bundle),
        "",
        f"**{looked:.1f}** cells of {NORMAL[1]} are looked at (aim: at most {AIM},"
        f" {'reached' if looked <= AIM else 'not reached'}); a cell counts once, for the leftmost reason. What stays"
        f" wrong and `ok` on such a slide, by its true class: {by_class}.",
    ]


def main() -> None:
    """Draw all slides, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=SHIPPED)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "slides.md")
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    if not bundle.calibrated:
        sys.exit(f"{options.bundle}: {bundle.problem}: run `cartcls calibrate` first")
    cells = home(options.data_dir, bundle, options.cache)
    pools = crossed(cells, bundle)
    slides = {
        (name, size): [slide for pool in pools for slide in draw(pool, MIXES[name], size, SLIDES // len(pools))]
        for name, size in ROWS
    }
    lines = page(Pool(cells, bundle), slides, "DATA_DIR --cache CACHE_DIR")
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def draw(pool: Pool, mix: Mix, size: int, count: int) -> list[Slide]:
    """Draw slides of one mix and size, and look at each; the same ones at each call."""
    random, slides = np.random.default_rng([SEED, size]), []
    for _ in range(count):
        indices = pool.draw(mix, size, random)
        unlike, judged = pool.reviewed(indices)
        truth = [str(name) for name in pool.truth[indices]]
        slides.append(look_at(pool.slide(indices), judged, truth, unlike, pool.bundle))
    return slides


if __name__ == "__main__":
    main()
