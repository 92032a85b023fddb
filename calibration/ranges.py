"""Which cells show the range of every activation to a graph that is to be quantised."""

import numpy as np
import numpy.typing as npt

PER_CLASS = 32


def range_cells(labels: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Choose as many cells of every class, at random; all of a class that has fewer.

    Args:
        labels: Class of each cell of `fit`, (N,).

    Returns:
        Their indices, ascending.
    """
    labels, random = np.asarray(labels), np.random.default_rng(0)
    chosen = [random.permutation(np.flatnonzero(labels == label))[:PER_CLASS] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))
