"""Whether a slide is like those that its bundle was calibrated on.

A slide has other numbers of each class than the training cells, so each cell is compared with those of its own label:
at home, at most one in ten is farther away than the typical distance of its class. An exact binomial test looks at the
first 20, 50 and 100 cells, and then after every 50 at the last 200. The looks share the error, so that at most one in
1,000 slides of home alarms if its cells are independent. They are not: cells of one slide are alike.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from math import comb

from .calibration import Typical

FEWEST = 20
TYPICAL = 0.9  # share of the cells of home that is no farther away than the typical distance of its class
EXPECTED = 1 - TYPICAL
FALSE_ALARMS = 0.001  # share of the slides of home that alarm at any look
SUBJECTS = ("features", "colours")
FIRST_LOOKS, STEP, WINDOW = (FEWEST, 50, 100), 50, 200

Measured = tuple[str, float, float]
"""Label of a cell, distance of its features, and distance of its colours."""


def alarm(cells: Sequence[Measured], typical: Typical) -> tuple[str, ...]:
    """Judge a slide by its cells.

    Args:
        cells: In order of arrival.
        typical: Distances of the cells of home from their class.

    Returns:
        What is unlike home at the first look that alarms: `features`, `colours`, both; nothing where none alarms.
    """
    for look, (first, end) in enumerate(looks(len(cells)), 1):
        if found := alarm_at(look, cells[first:end], typical):
            return found
    return ()


def looks(count: int) -> Iterator[tuple[int, int]]:
    """Which of so many cells each look takes: place of its first cell, and the place after its last."""
    yield from ((0, end) for end in FIRST_LOOKS if end <= count)
    yield from ((max(0, end - WINDOW), end) for end in range(FIRST_LOOKS[-1] + STEP, count + 1, STEP))


def alarm_at(look: int, cells: Sequence[Measured], typical: Typical) -> tuple[str, ...]:
    """What is unlike home at one look, by its number from 1 and its cells."""
    most = most_far(look, len(cells))
    far = {
        subject: sum(not float(cell[place]) <= usual[cell[0]] for cell in cells)  # so that not-a-number is far
        for place, (subject, usual) in enumerate(zip(SUBJECTS, (typical.features, typical.colours), strict=True), 1)
    }
    return tuple(subject for subject in SUBJECTS if far[subject] > most)


@cache
def most_far(look: int, count: int) -> int:
    """How many of the cells of a look may be far without an alarm.

    The k-th look has 1 / (k (k + 1)) of the error, which sums to all of it; both subjects have half.
    """
    error = FALSE_ALARMS / len(SUBJECTS) / (look * (look + 1))
    tail, far = 0.0, count
    while far >= 0:
        tail += comb(count, far) * EXPECTED**far * (1 - EXPECTED) ** (count - far)
        if tail > error:
            break
        far -= 1
    return far
