"""Loads the model for a command, and prints which it is."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..runtime import Classifier
    from ..runtime.bundle.bundle import Bundle
    from ..runtime.fields.reading import FieldSearch
    from ..runtime.images.levels import Levels


def open_classifier(
    bundle: "Bundle | Path | None",
    backend: str,
    build: bool = True,
    in_worker: bool = False,
    levels: "Levels | None" = None,
    fields: "FieldSearch | None" = None,
) -> "Classifier":
    """Load a bundle; progress is shown where an engine is built for it.

    Args:
        bundle: The bundle or its folder; the shipped one where none is named.
        backend: What runs its graph.
        build: Whether an engine may be built.
        in_worker: Whether the graph runs in a child process, for a service.
        levels: Values of 16 bits that are black and white; the full range where none are named.
        fields: How cells are searched in whole fields; None where each file is one cell.

    Raises:
        BundleError: A file of the bundle is missing, altered or malformed.
        BackendError: The backend cannot load the graph.
    """
    from ..runtime import Classifier
    from ..runtime.bundle.bundle import SHIPPED, Bundle, load_bundle
    from ..runtime.console import keep_until_end
    from ..runtime.images.levels import FULL_RANGE
    from ..runtime.inference.choose import open_backend
    from ..runtime.inference.worker import open_in_child
    from ..runtime.slides.service import notify_systemd
    from . import show

    loaded = bundle if isinstance(bundle, Bundle) else load_bundle(bundle or SHIPPED)
    open_it = partial(open_in_child, alive=lambda: notify_systemd("WATCHDOG=1")) if in_worker else open_backend
    with show.engine_progress() as progress:
        opened = open_it(loaded, backend, show.notify, progress, build=build)
    keep_until_end(opened)
    classifier = Classifier(loaded, opened, levels or FULL_RANGE, fields)
    show.started(loaded, classifier.backend)
    return classifier


def search_of(fields: bool, mpp: float | None) -> "FieldSearch | None":
    """How cells are searched in fields; None without --fields.

    Raises:
        UsageError: --mpp was given without --fields.
    """
    from ..runtime.errors import UsageError
    from ..runtime.fields.reading import FieldSearch

    if mpp is not None and not fields:
        raise UsageError("--mpp is the scale of whole fields: give --fields too")
    return FieldSearch(mpp) if fields else None
