"""How many cells of each class a slide really has: what the model's errors make of its counts.

Labels are counts of true classes after a confusion, and a slide has another mix of classes than the cells that the
confusion was measured on (label shift: Saerens, Latinne and Decaestecker, 2002). So the mix and the true classes behind
each label are drawn from their posterior, by Gibbs sampling from their solution. The confusion itself is known from few
cells, so each chain draws its own; the slide does not change it.

Priors are Dirichlet's: of the mix with half a cell for each class (Jeffreys), of each row of the confusion with one
cell, shared among the labels (Perks; for two classes it is Jeffreys'). Half a cell for each of eight labels would be
3.5 wrong cells a row: more than were seen, and the estimate would be farther from the slide than its counts are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PRIOR = 0.5  # cells for each class of the mix
STEPS, CHAINS, SWEEPS, KEPT = 20, 400, 10, 4
SEED = 20  # fixed, so that a report is rebuilt byte for byte
ENDS = (0.025, 0.975)  # of a 95 % interval
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """Draws of the numbers of cells by true class.

    Attributes:
        names: Names of the classes.
        cells: Number of cells, (draws, classes).
        weights: Gamma variables of those shapes, (draws, classes): their shares are the population's, as
            Clopper–Pearson has them where one more cell, of unknown class, is counted with the others.
        unknown: Gamma variables of that one cell, (draws,).
    """

    names: tuple[str, ...]
    cells: Ints
    weights: Floats
    unknown: Floats

    def expected(self, name: str) -> tuple[int, int]:
        """95 % interval of the number of cells of a class on the slide."""
        low, high = np.quantile(self.cells[:, self.names.index(name)], ENDS, method="inverted_cdf")
        return int(low), int(high)

    def mean(self, name: str) -> float:
        """Mean of the same."""
        return float(self.cells[:, self.names.index(name)].mean())

    def share(self, name: str, others: Sequence[str]) -> tuple[float, float]:
        """95 % interval of the population's share of a class among it and others."""
        part, rest = self._weights(name, others)
        whole = part + rest + self.unknown
        return _interval(part / whole, (part + self.unknown) / whole)

    def ratio(self, name: str, others: Sequence[str]) -> tuple[float, float]:
        """95 % interval of the population's ratio of a class to others; infinite where there may be none of them."""
        part, rest = self._weights(name, others)
        with np.errstate(divide="ignore"):
            return _interval(part / (rest + self.unknown), (part + self.unknown) / rest)

    def _weights(self, name: str, others: Sequence[str]) -> tuple[Floats, Floats]:
        rest = [self.names.index(other) for other in others if other != name]
        return self.weights[:, self.names.index(name)], self.weights[:, rest].sum(1)


def estimate(
    labels: Mapping[str, int], decided: Mapping[str, int], names: Sequence[str], confusion: Sequence[Sequence[int]]
) -> Estimate:
    """Estimate how many cells of each class a slide has.

    It is assumed that a class looks as it does in the cells of the confusion. Whether a cell is reviewed may depend on
    its label, since the error is known for each label. Where cells of low confidence are reviewed, the others are wrong
    less often than is assumed: the interval is wider then than it need be.

    Args:
        labels: Number of cells that no person has decided on, by the model's label; missing ones are 0.
        decided: Number of the other cells, by the label of a person, which is taken as true.
        names: Classes in the order of the confusion.
        confusion: Counts of cells by true class (rows) and the model's label (columns).
    """
    random = np.random.default_rng(SEED)
    given, known = (np.array([counts.get(name, 0) for name in names], np.int64) for counts in (labels, decided))
    rows = np.array(confusion) + 1 / len(names)
    seen = np.flatnonzero(given)
    mix = _likely_mix(given[seen], known, rows.T[seen] / rows.sum(1))
    errors = random.standard_gamma(rows, (CHAINS, *rows.shape))
    errors /= errors.sum(2, keepdims=True)
    by_label = np.ascontiguousarray(errors.transpose(0, 2, 1)[:, seen])  # (chains, labels, true classes)
    kept: list[Ints] = []
    for _ in range(SWEEPS):
        kept.append(known + random.multinomial(given[seen], _true_classes(mix, by_label)).sum(1))
        mix = random.standard_gamma(kept[-1] + PRIOR)
    cells = np.concatenate(kept[-KEPT:])
    return Estimate(tuple(names), cells, random.standard_gamma(cells), random.standard_exponential(len(cells)))


def _likely_mix(given: Ints, known: Ints, by_label: Floats) -> Floats:
    """The mix that explains the labels, for the mean confusion, (classes,): where the chains start."""
    mix = np.full(len(known), 1.0)
    for _ in range(STEPS):
        mix = known + PRIOR + given @ _true_classes(mix, by_label)
    return mix


def _true_classes(mix: Floats, by_label: Floats) -> Floats:
    """Probability of each true class behind each label, ([chains,] labels, true classes)."""
    joint = mix[..., None, :] * by_label
    return joint / joint.sum(-1, keepdims=True)


def _interval(low: Floats, high: Floats) -> tuple[float, float]:
    ends = [np.quantile(draws, end, method="inverted_cdf") for draws, end in zip((low, high), ENDS, strict=True)]
    return float(ends[0]), float(ends[1])
