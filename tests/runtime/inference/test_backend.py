import numpy as np

from cartcls.runtime.inference.backend import Outputs


def outputs(*values: float, maps: bool = True) -> Outputs:
    """Of as many images, all numbers of each the same; with maps, also what else there may be."""
    column = np.array(values, np.float32)[:, None]
    given = {"logits": column.repeat(3, 1), "features": column.repeat(5, 1)}
    if maps:
        ones = np.ones((1, 3, 2, 2), np.float32) * column[:, :, None, None]
        given |= {"cams": ones, "boxes": column.repeat(4, 1), "attention": ones[:, :1]}
    return Outputs.of(given)


def numbers(found: Outputs) -> list[list[float]]:
    """What is in all of it, by image; fails where an image's numbers are not all the same."""
    every = (found.logits, found.features, found.cams, found.boxes, found.attention)
    parts = [part for part in every if part is not None]
    flat = [part.reshape(len(part), -1) for part in parts]
    assert all((part == part[:, :1]).all() for part in flat)
    return [part[:, 0].tolist() for part in flat]


def test_batches_are_joined_in_their_order():
    assert numbers(Outputs.joined([outputs(1, 2), outputs(3)])) == [[1, 2, 3]] * 5
    assert numbers(Outputs.joined([outputs(1, 2, maps=False), outputs(3, maps=False)])) == [[1, 2, 3]] * 2


def test_what_another_backend_computed_takes_its_place_and_is_marked():
    first, chosen = outputs(1, 2, 3, 4), np.array([False, True, False, True])
    replaced = first.replaced(chosen, outputs(8, 9))
    assert numbers(replaced) == [[1, 8, 3, 9]] * 5
    assert replaced.recomputed is not None
    assert replaced.recomputed.tolist() == [False, True, False, True]
    assert numbers(first) == [[1, 2, 3, 4]] * 5
    assert first.recomputed is None


def test_maps_of_some_cells_alone_are_none():
    for first, other in ((True, False), (False, True)):
        found = outputs(1, 2, maps=first).replaced(np.array([True, False]), outputs(9, maps=other))
        assert (found.cams, found.boxes, found.attention) == (None, None, None)
