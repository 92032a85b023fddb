"""From the graph's outputs to a label, a confidence, a heat map, and the review reasons."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle
from ..bundle.calibration import NOT_CALIBRATED
from ..bundle.review import assess
from ..fields.reading import OTHER_SCALE, Part, View
from ..images.adjust import box_of_picture, maps_of_picture
from ..images.reading import Reading, Source
from .backend import Outputs

NO_NUMBER = "the model gave not-a-number for it"
RARE = "rare class: look at each"
UNDECIDED = "undecided: it looks most like another class than those asked for"
AT_EDGE = "cut off by the field's edge"
JOINED = "may be two cells that touch"
LIKE_PLATELET = "called a platelet first, which a cell found in a field is not: the label is the next best"
RECOMPUTED = "recomputed on the CPU: the backend gave not-a-number"

Place = tuple[Part | None, View | None]
NOWHERE: Place = (None, None)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model, and the checks of its bundle, say of one image.

    Attributes:
        source: The image as it was given: a path, or pixels.
        reading: The image as it was read, without its pixels at the input size.
        label: Name of the class with the highest probability; None where there is no label.
        probabilities: Of the classes in the bundle's order, after temperature, float64, (K,); empty without a label.
        logits: float32, (K,); empty without a label.
        cams: Heat maps of all classes before their ReLU, float32, (K, h, w); None where the model has none. They lie
            over the picture as it is, also where the bundle adjusts it for the model.
        features: For the distance to the training cells, float32, (D,); empty without a label.
        reasons: Why a person must look, the most important first; or why there is no label.
        distance: Distance of its features from the training cells; None where the bundle is not calibrated.
        stain: Distance of its colours from theirs; None likewise.
        part: The cell of a field that it is about; None where the file is one cell, or a field that has none.
        view: What is kept of the field; None where the file is one cell, or cannot be used.
        box: Where the model finds the cell: x and y of the upper left corner, width and height, in shares of the
            picture as it is (of a field's cell: of its crop), float32, (4,); None where the model gives none.
        attention: Spatial attention of the model, the same for all classes, in 0…1, float32, (h, w), over the picture
            as it is; None where the model has none.
    """

    source: Source
    reading: Reading
    label: str | None
    probabilities: npt.NDArray[np.float64]
    logits: npt.NDArray[np.float32]
    cams: npt.NDArray[np.float32] | None
    features: npt.NDArray[np.float32]
    reasons: tuple[str, ...]
    distance: float | None = None
    stain: float | None = None
    part: Part | None = None
    view: View | None = None
    box: npt.NDArray[np.float32] | None = None
    attention: npt.NDArray[np.float32] | None = None

    @property
    def status(self) -> Literal["ok", "review", "rejected", "empty"]:
        """`ok`; `review`: the label is a proposal, a person must look; `rejected`: no label; `empty`: no cell."""
        if self.label is None:
            return "empty" if self.reading.empty else "rejected"
        return "review" if self.reasons else "ok"

    @property
    def ends_file(self) -> bool:
        """Whether it is the last one of its file: the only one, but for a field with several cells."""
        return self.part is None or self.view is None or self.part.number == self.view.cells

    @property
    def index(self) -> int | None:
        """Index of the label's class."""
        return None if self.label is None else int(self.probabilities.argmax())

    @property
    def confidence(self) -> float | None:
        """Probability of the label."""
        return None if self.label is None else float(self.probabilities.max())

    @property
    def heat_map(self) -> npt.NDArray[np.float32] | None:
        """Grad-CAM of the label before its ReLU (equation 8), float32, (h, w): over the picture as it is, as `cams`."""
        return None if self.cams is None else self.cams[self.index]


def rejected(source: Source, reading: Reading) -> Prediction:
    """The prediction for an image that has no label."""
    none = np.empty(0, np.float32)
    return Prediction(source, reading, None, none.astype(np.float64), none, None, none, (reading.error,))


def interpret(
    sources: Sequence[Source],
    readings: Sequence[Reading],
    outputs: Outputs | None,
    bundle: Bundle,
    places: Sequence[Place] | None = None,
) -> Iterator[Prediction]:
    """Turn a batch's outputs into predictions.

    Args:
        sources: Images as they were given.
        readings: The same images as they were read.
        outputs: Of those that could be read, in their order; None where there are none.
        bundle: What classified them.
        places: Where each lies in its field, and what is kept of that; None where each file is one cell.
    """
    row = 0
    for source, reading, (part, view) in zip(sources, readings, places or [NOWHERE] * len(readings), strict=True):
        if reading.image is None or outputs is None:
            yield replace(rejected(source, reading), part=part, view=view)
            continue
        yield replace(_prediction(source, replace(reading, image=None), outputs, row, bundle, part), view=view)
        row += 1


def _prediction(
    source: Source, reading: Reading, outputs: Outputs, row: int, bundle: Bundle, part: Part | None
) -> Prediction:
    logits, features = outputs.logits[row], outputs.features[row]
    if not np.isfinite(logits).all():  # never gets a label
        return replace(rejected(source, replace(reading, error=NO_NUMBER)), part=part)
    allowed = _allowed(bundle)
    like_platelet = part is not None and _is_platelet(bundle)[int(np.where(allowed, logits, -np.inf).argmax())]
    if like_platelet and (others := allowed & ~_is_platelet(bundle)).any():
        allowed = others
    probabilities = softmax(np.where(allowed, logits, -np.inf)[None], bundle.temperature)[0]
    undecided = not allowed[int(logits.argmax())]
    found, reasons = None, [] if bundle.calibrated else [NOT_CALIBRATED]
    if bundle.calibration is not None and reading.quality is not None:
        found = assess(bundle.calibration, float(probabilities.max()), features, reading.quality)
        reasons = found.reasons
    recomputed = outputs.recomputed is not None and bool(outputs.recomputed[row])
    entry = bundle.classes[int(probabilities.argmax())]
    return Prediction(
        source,
        reading,
        entry.name,
        probabilities,
        logits,
        None if outputs.cams is None else _over_picture(outputs.cams[row], bundle),
        features,
        (
            *[AT_EDGE] * bool(part and part.found.at_edge),
            *[JOINED] * bool(part and part.found.joined),
            *[OTHER_SCALE] * bool(part and part.other_scale),
            *([LIKE_PLATELET] if like_platelet else [UNDECIDED] * undecided),
            *[RECOMPUTED] * recomputed,
            *[reading.doubt] * bool(reading.doubt),
            *[RARE] * entry.always_review,
            *reasons,
        ),
        found.distance if found else None,
        found.stain if found else None,
        part,
        box=None if outputs.boxes is None else _box(outputs.boxes[row], bundle),
        attention=None if outputs.attention is None else _over_picture(outputs.attention[row], bundle)[0],
    )


def _over_picture(maps: npt.NDArray[np.float32], bundle: Bundle) -> npt.NDArray[np.float32]:
    """Maps where the cell is, which the model may have seen larger or smaller."""
    return maps_of_picture(maps, bundle.adjustment.scale) if bundle.adjustment else maps


def _box(box: npt.NDArray[np.float32], bundle: Bundle) -> npt.NDArray[np.float32] | None:
    """Likewise a box; None where it has not-a-number."""
    if not np.isfinite(box).all():
        return None
    return box_of_picture(box, bundle.adjustment.scale) if bundle.adjustment else box


def _allowed(bundle: Bundle) -> npt.NDArray[np.bool_]:
    """Whether each class may be the answer, (K,)."""
    wanted = bundle.manifest.restricted_to
    return np.array([not wanted or entry.name in wanted for entry in bundle.classes])


def _is_platelet(bundle: Bundle) -> npt.NDArray[np.bool_]:
    """Whether each class is one of platelets, which are not searched in fields, (K,)."""
    return np.array([entry.kind == "platelet" for entry in bundle.classes])


def softmax(logits: npt.NDArray[np.float32], temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Probabilities (N, K) of logits (N, K)."""
    scaled = logits.astype(np.float64) / temperature
    exponential = np.exp(scaled - scaled.max(1, keepdims=True))
    return exponential / exponential.sum(1, keepdims=True)
