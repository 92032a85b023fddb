"""How often slides of home alarm if the cells of a slide are alike, by simulation, and how many far cells alarm."""

import numpy as np

from cartcls.runtime.bundle.drift import EXPECTED, SUBJECTS, looks, most_far

SIZES = (20, 50, 100, 200, 1000)
CORRELATIONS = (0.0, 0.02, 0.05, 0.1)
FAR = (EXPECTED, 0.06)  # what the alarm allows for, and about what home shows (docs/results/typical.md)
SLIDES = 1_000_000


def false_alarms(far_share: float, correlation: float, slides: int, random: np.random.Generator) -> dict[int, float]:
    """Share of made-up slides of home that have alarmed, by their number of cells.

    The share of far cells on one slide is drawn from a beta distribution, so that their number is beta-binomial;
    features and colours are drawn independently.

    Args:
        far_share: Mean share of far cells.
        correlation: Of two cells of one slide, whether they are far.
        slides: Number of slides.
        random: What draws them.
    """
    spread = (1 - correlation) / correlation if correlation else np.inf
    alarmed = np.zeros((len(list(looks(SIZES[-1]))), slides), bool)  # at each look, and stays
    for _ in SUBJECTS:
        shares = random.beta(far_share * spread, (1 - far_share) * spread, slides) if correlation else far_share
        far, last = {0: np.zeros(slides, np.intp)}, 0
        for look, (first, end) in enumerate(looks(SIZES[-1]), 1):
            far[end] = far[last] + random.binomial(end - last, shares, slides)
            alarmed[look - 1 :] |= far[end] - far[first] > most_far(look, end - first)
            last = end
    return {end: float(found.mean()) for (_, end), found in zip(looks(SIZES[-1]), alarmed, strict=True)}


def section() -> list[str]:
    """The section of a page on false alarms, with what alarms at each look."""
    random = np.random.default_rng(0)
    lines = [
        "## False alarms at home, by simulation",
        "",
        f"{SLIDES:,} made-up slides: cells are far in their features, and independently in their colours, as often as"
        f" the first column says ({FAR[0]:.0%} is what the alarm allows for, {FAR[1]:.0%} about what [home"
        " shows](typical.md)). Whether two cells of a slide are far correlates as the second says (beta-binomial).",
        "",
        "| far | correlation | " + " | ".join(f"{cells:,} cells" for cells in SIZES) + " |",
        "|" + "---|" * (2 + len(SIZES)),
    ]
    for far_share in FAR:
        for correlation in CORRELATIONS:
            rates = false_alarms(far_share, correlation, SLIDES, random)
            cells = " | ".join(f"{rates[count]:.2%}" for count in SIZES)
            lines.append(f"| {far_share:.0%} | {correlation:g} | {cells} |")
    ends = [(end, end - first, most_far(look, end - first)) for look, (first, end) in enumerate(looks(SIZES[-1]), 1)]
    ends = [found for found in ends if found[0] in SIZES]
    return [
        *lines,
        "",
        "| cells looked at | far cells that alarm, from |",
        "|---|---|",
        *(f"| {f'first {n}' if end == n else f'{end - n + 1} to {end}'} | {most + 1} |" for end, n, most in ends),
    ]


if __name__ == "__main__":
    print("\n".join(section()))
