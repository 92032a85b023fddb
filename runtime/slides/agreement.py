"""What is settled for a slide before its first row, so that all its rows are made alike."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..errors import ImageError, ScaleError, SlideError, batch_command
from ..fields.find import FINDER_VERSION
from ..fields.reading import FieldSearch, measure_field
from ..fields.scale import diameter_of, mpp_of
from ..fields.slide_scale import FieldScale, slide_scale
from ..images.discover import short_digest, slide_name
from ..images.levels import FULL_RANGE, Levels
from ..inference.classifier import Classifier
from ..ledger.facts import Facts
from ..ledger.ledger import Ledger
from ..ledger.records import MAX_ATTEMPTS, LedgerImage
from ..ledger.slide_ledger import SlideLedger

MEASURED = 20  # fields with red cells, of which the median is the slide's scale
SAME_SCALE = 1.001  # times


def slide_in(ledger: Ledger, slide_dir: Path, out: Path) -> SlideLedger:
    """The slide in the ledger; a new one gets a folder of its own.

    Raises:
        SlideError: That folder is taken.
    """
    source = os.fsencode(slide_dir.resolve())
    slides = ledger.slides()
    if known := [found for found in slides if found.slide.source == source]:
        return known[0]
    name = slide_name(slide_dir)
    if name.casefold() in {found.slide.name.casefold() for found in slides}:  # for a share of Windows
        name = f"{name}-{short_digest(slide_dir)}"
    directory = out / name
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise SlideError(f"{directory} is not a report of this folder: move it away, or choose another --out")
    return ledger.add_slide(source, name)


def agree(
    ledger: SlideLedger, classifier: Classifier, slide_dir: Path, out: Path, go_on: Callable[[str], None] | None
) -> Classifier:
    """Let a slide's new rows be made as those that it has.

    Args:
        ledger: The slide's ledger.
        classifier: The model, with what was asked for.
        slide_dir: Folder of its images.
        out: Folder of all reports.
        go_on: Called with a warning where the slide has rows that were made otherwise, and goes on as before; it is
            refused where this is None.

    Raises:
        SlideError: The slide has rows that were made otherwise.
    """
    facts, levels, search = ledger.facts(), classifier.levels, classifier.fields
    if before := _made_otherwise(facts, levels, search) if ledger.has_results() else "":
        asked = levels.options if levels != (facts.levels if facts.deep else FULL_RANGE) else ""
        options = " ".join(filter(None, (asked, _options(search), "--fresh")))
        anew, before = batch_command(slide_dir, options, out), f"{slide_dir} was {before}"
        anew = f"with the other options as now: {anew}"
        if go_on is None:
            raise SlideError(f"{before}: do so again, or start it anew, {anew}")
        go_on(f"warning: {before}: its new files are too. To have it otherwise, start it anew, {anew}")
        levels = facts.levels if facts.deep else levels
        search = FieldSearch() if facts.fields else None
    settled = replace(facts, levels=levels)
    if facts.fields != (search is not None) or (search and _is_other_scale(facts, search)):
        settled = replace(Facts(levels, facts.deep), fields=search is not None)
    if settled != facts:
        # Queued first: after a kill in between, the next start does both again.
        ledger.requeue([image for image in ledger.images().values() if image.state == "rejected"])
        ledger.settle(settled)
    return classifier.for_files(levels, search and replace(search, diameter=settled.diameter))


def with_scale(
    ledger: SlideLedger,
    classifier: Classifier,
    images: Sequence[LedgerImage],
    path_of: Callable[[LedgerImage], bytes],
    notify: Callable[[str], None],
) -> Classifier:
    """Settle how large a red cell is in a slide's fields, from those that are to be classified.

    Args:
        ledger: The slide's ledger.
        classifier: The model; it searches cells in fields.
        images: The fields, in the order in which they are looked at.
        path_of: File of a field.
        notify: Called with what speaks against the scale.

    Returns:
        The classifier with the scale; as it was where no field shows red cells, and nothing else tells the scale.
    """
    search = classifier.fields
    if search is None or search.diameter is not None or not images:
        return classifier
    try:
        scale = slide_scale(search.mpp, _measured(ledger, classifier.levels, images, path_of))
    except ScaleError:
        return classifier
    if scale.doubt:
        notify(f"warning: {ledger.slide.name}: {scale.doubt}")
    ledger.settle(
        replace(ledger.facts(), diameter=scale.diameter, origin=scale.origin, doubt=scale.doubt, finder=FINDER_VERSION)
    )
    return classifier.for_files(classifier.levels, replace(search, diameter=scale.diameter))


def _measured(
    ledger: SlideLedger, levels: Levels, images: Sequence[LedgerImage], path_of: Callable[[LedgerImage], bytes]
) -> list[FieldScale]:
    """What the first fields tell of their scale; each try is counted, as a file may end the process."""
    scales = list[FieldScale]()
    for image in images:
        if sum(scale.diameter is not None for scale in scales) == MEASURED:
            break
        if image.attempts < MAX_ATTEMPTS:
            ledger.begin([image])
            with suppress(ImageError):  # its row will say why
                scales.append(measure_field(path_of(image), levels))
            ledger.take_back([image])
    return scales


def _made_otherwise(facts: Facts, levels: Levels, search: FieldSearch | None) -> str:
    """How a slide with results was classified, where that is not how it is to be now; else empty."""
    if facts.fields != (search is not None):
        return f"classified {'as whole fields, with --fields' if facts.fields else 'without --fields'}"
    if facts.deep and facts.levels != levels:  # noted before the first label
        return f"classified {facts.levels}"
    if search and _is_other_scale(facts, search) and facts.diameter:
        return f"cut at {mpp_of(facts.diameter):.4g} µm per pixel"
    if search and facts.finder not in ("", FINDER_VERSION):
        return f"searched by version {facts.finder} of the finder, not {FINDER_VERSION}"
    return ""


def _is_other_scale(facts: Facts, search: FieldSearch) -> bool:
    """Whether another scale was asked for than the slide has."""
    if search.mpp is None or facts.diameter is None:
        return False
    return not 1 / SAME_SCALE < diameter_of(search.mpp) / facts.diameter < SAME_SCALE


def _options(search: FieldSearch | None) -> str:
    """Options that ask for it."""
    return "" if search is None else "--fields" if search.mpp is None else f"--fields --mpp {search.mpp:g}"
