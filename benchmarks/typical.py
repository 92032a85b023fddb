"""Which share of cells of home is farther away than is typical: the alarm for a slide takes it to be at most 0.1.

    python benchmarks/typical.py DATA_DIR --cache CACHE_DIR

DATA_DIR holds `pbc-all`; its part `report` is opened once per release. The page goes to docs/results/typical.md.
"""

import argparse
from datetime import date
from pathlib import Path

import numpy as np
from outputs import Pool, outputs

from cartcls.runtime.bundle.bundle import SHIPPED, load_bundle
from cartcls.runtime.statistics import wilson_interval

ROOT = Path(__file__).resolve().parent.parent
SET = "report"


def main() -> None:
    """Count, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    bundle = load_bundle(SHIPPED)
    assert bundle.manifest.calibration is not None
    typical, names = bundle.manifest.calibration.typical, [entry.name for entry in bundle.classes]
    judged = Pool(outputs(SET, options.data_dir, bundle, options.cache), bundle).judged
    labels = np.array(names)[judged.predicted]
    far = [
        np.array([found.distance for found in judged.found]) > [typical.features[label] for label in labels],
        np.array([found.stain for found in judged.found]) > [typical.colours[label] for label in labels],
    ]
    lines = [
        "# How many cells of home are farther away than is typical",
        "",
        f"    python benchmarks/typical.py DATA_DIR --cache CACHE_DIR        # {date.today()}",
        "",
        f"{bundle.name} (`bundle.json` {bundle.sha256[:16]}…), on the part `{SET}`, split by image, which no"
        " weights and no limit have seen. The typical distances are of `select` and `calibrate`; the alarm takes at"
        " most 10 % to be far.",
        "",
        "| label | cells | by features | by colours |",
        "|---|---|---|---|",
    ]
    for name in (*names, "all"):
        own = np.full(len(labels), True) if name == "all" else labels == name
        lines.append(
            f"| {name} | {own.sum()} | {' | '.join(_share(int((f & own).sum()), int(own.sum())) for f in far)} |"
        )
    (ROOT / "docs" / "results" / "typical.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _share(successes: int, count: int) -> str:
    low, high = wilson_interval(successes, count)
    return f"{successes / max(count, 1):.1%} ({low:.1%} to {high:.1%})"


if __name__ == "__main__":
    main()
