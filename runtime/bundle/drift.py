"""Whether the last cells of a slide are still like those that the model was trained on.

A slide has other numbers of each class than the training cells, so each cell is compared with those of its own label.
"""

from collections.abc import Sequence

from .calibration import Typical

WINDOW, FEWEST = 200, 50
TYPICAL = 0.9  # share of the cells of `select` that are no farther away than the distance kept for their class
ALARM = 0.3  # share that may be farther: 0.1 expected; a false alarm in 1 of 50,000 checks of 50 cells, none of 200
SUBJECTS = ("features", "colours")


def drift(cells: Sequence[tuple[str, float, float]], typical: Typical) -> list[str]:
    """Compare the last cells of a slide with the training cells.

    Args:
        cells: Label, distance of the features and distance of the colours of each cell, in order of arrival.
        typical: Distances of the training cells from their class.

    Returns:
        A sentence for each alarm; none if there are too few cells.
    """
    last = cells[-WINDOW:]
    if len(last) < FEWEST:
        return []
    alarms = []
    for position, (subject, usual) in enumerate(zip(SUBJECTS, (typical.features, typical.colours), strict=True), 1):
        share = sum(not float(cell[position]) <= usual[cell[0]] for cell in last) / len(last)
        if share > ALARM:
            alarms.append(
                f"the {subject} of the last {len(last)} cells have left the training distribution: {share:.0%} of them"
                f" are farther away than {TYPICAL:.0%} of the training cells (alarm above {ALARM:.0%})"
            )
    return alarms
