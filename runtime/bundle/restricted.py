"""A bundle whose answer is restricted to some of its classes, for a slide that is known to have no others."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from ..errors import UsageError
from .bundle import Bundle


def restricted(bundle: Bundle, wanted: Sequence[str]) -> Bundle:
    """Restrict the answer of a bundle. What its calibration promises does not hold then: no cell is `ok`.

    Args:
        bundle: The bundle.
        wanted: Names or titles of at least two of its classes, in capitals or not.

    Raises:
        UsageError: One is no class of it, or there are fewer than two.
    """
    name_of = {entry.title.casefold(): entry.name for entry in bundle.classes}
    name_of |= {entry.name.casefold(): entry.name for entry in bundle.classes}
    names = [name.strip() for name in wanted if name.strip()]
    known = ", ".join(entry.name for entry in bundle.classes)
    if unknown := [name for name in names if name.casefold() not in name_of]:
        raise UsageError(f"--classes: {bundle.name} has no class {', '.join(unknown)}: its classes are {known}")
    chosen = {name_of[name.casefold()] for name in names}
    if len(chosen) < 2:
        raise UsageError(
            f"--classes needs at least two classes, separated by commas: those of {bundle.name} are {known}"
        )
    of_bundle = tuple(entry.name for entry in bundle.classes if entry.name in chosen)
    calibration = bundle.calibration and replace(bundle.calibration, reached=False)
    manifest = msgspec.structs.replace(bundle.manifest, restricted_to=of_bundle)
    return replace(bundle, manifest=manifest, calibration=calibration)
