"""A natural mix of classes, and labelled cells in it."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ..runtime.bundle.manifest import CellClass

NATURAL = {"neutrophil": 0.60, "lymphocyte": 0.29, "monocyte": 0.06, "eosinophil": 0.03, "basophil": 0.01, "ig": 0.01}
"""Share of each class, by its usual name, among the leukocytes of a normal slide."""

_TITLES = {"ig": "immature granulocyte"}


def natural_mix(classes: Sequence[CellClass]) -> dict[str, float] | None:
    """The share of each class by its name in these classes; None where one of the natural mix is not among them."""
    names = {entry.title.casefold(): entry.name for entry in classes}
    names |= {entry.name.casefold(): entry.name for entry in classes}
    found = {names.get(usual) or names.get(_TITLES.get(usual, "")): share for usual, share in NATURAL.items()}
    return {name: share for name, share in found.items() if name} if None not in found else None


def natural_sample(
    labels: npt.NDArray[np.intp], names: Sequence[str], mix: Mapping[str, float]
) -> npt.NDArray[np.intp]:
    """Choose labelled cells in a mix at random, as many as the scarcest class allows, none twice.

    Each class has its share of them, rounded. That leaves less to chance than drawing one cell after another, so a
    binomial bound on them errs on the safe side (Hoeffding 1956).

    Args:
        labels: True class indices, (N,).
        names: Names of the classes.
        mix: Share of each class, by its name; they sum to 1.

    Returns:
        Their indices, ascending.
    """
    of_class = {name: np.flatnonzero(labels == names.index(name)) for name in mix}
    total = min(int(len(of_class[name]) / share) for name, share in mix.items())
    quotas = {name: total * share for name, share in mix.items()}
    counts = {name: int(quota) for name, quota in quotas.items()}
    largest_rest = sorted(mix, key=lambda name: counts[name] - quotas[name])
    for name in largest_rest[: total - sum(counts.values())]:
        counts[name] += 1
    random = np.random.default_rng(0)
    return np.sort(np.concatenate([random.permutation(of_class[name])[: counts[name]] for name in mix]))
