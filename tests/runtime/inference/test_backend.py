import numpy as np

from cartcls.runtime.inference.backend import Outputs


def outputs(*values: float, maps: bool = True) -> Outputs:
    """Of as many images, all numbers of each the same."""
    column = np.array(values, np.float32)[:, None]
    cams = np.ones((1, 3, 2, 2), np.float32) * column[:, :, None, None] if maps else None
    return Outputs(column.repeat(3, 1), column.repeat(5, 1), cams)


def numbers(found: Outputs) -> list[list[float]]:
    """What is in logits, features and maps, by image; fails where an image's numbers are not all the same."""
    parts = [part for part in (found.logits, found.features, found.cams) if part is not None]
    flat = [part.reshape(len(part), -1) for part in parts]
    assert all((part == part[:, :1]).all() for part in flat)
    return [part[:, 0].tolist() for part in flat]


def test_batches_are_joined_in_their_order():
    assert numbers(Outputs.joined([outputs(1, 2), outputs(3)])) == [[1, 2, 3]] * 3
    assert numbers(Outputs.joined([outputs(1, 2, maps=False), outputs(3, maps=False)])) == [[1, 2, 3]] * 2


def test_what_another_backend_computed_takes_its_place_and_is_marked():
    first, chosen = outputs(1, 2, 3, 4), np.array([False, True, False, True])
    replaced = first.replaced(chosen, outputs(8, 9))
    assert numbers(replaced) == [[1, 8, 3, 9]] * 3
    assert replaced.recomputed is not None
    assert replaced.recomputed.tolist() == [False, True, False, True]
    assert numbers(first) == [[1, 2, 3, 4]] * 3
    assert first.recomputed is None


def test_maps_of_some_cells_alone_are_none():
    assert outputs(1, 2).replaced(np.array([True, False]), outputs(9, maps=False)).cams is None
    assert outputs(1, 2, maps=False).replaced(np.array([True, False]), outputs(9)).cams is None
