"""Records of `bundle.json`, with their validation."""

import json
import math
import os
import re
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ..errors import BundleError
from ..images.adjust import Adjustment
from .calibration import CalibrationRecord
from .provenance import Preprocessing, Provenance

FORMAT = 1
NOT_A_CELL, UNSURE = "not a cell", "unsure"  # labels of a reviewer beside the classes; no class has such a name
SAFE_NAME = re.compile(r"\w[\w .+-]*")
COLOR = re.compile(r"#[0-9a-f]{6}")

Kind = Literal["leukocyte", "nrbc", "platelet", "other"]
Report = Literal["differential", "finding"]
Further = Literal["boxes", "attention"]
KIND_ORDER: tuple[Kind, ...] = ("leukocyte", "nrbc", "platelet", "other")
READING_ORDER = (
    *("neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil"),
    *("immature granulocyte", "metamyelocyte", "myelocyte", "promyelocyte", "blast"),
)  # of a differential count, by title


class CellClass(Struct, frozen=True):
    """One class of a bundle.

    Attributes:
        name: Short name, as in file and column names.
        title: Name for people.
        kind: How it is counted in a differential.
        color: `#rrggbb`.
        always_review: Whether a person looks at every cell with this label, however sure the model is.
    """

    name: str
    title: str
    kind: Kind
    color: str
    always_review: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        if (name := self.name.casefold()) in (NOT_A_CELL, UNSURE):
            raise ValueError(f"no class may have the name {name!r}: it is a label that reviewers use")
        if not (COLOR.fullmatch(self.color) and self.title.isprintable()):
            raise ValueError("each class needs a colour #rrggbb and a printable title")


class GraphInput(Struct, frozen=True):
    """Size of the images that the graph takes, in pixels."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1:
            raise ValueError("sizes must be positive")


class HomeScale(Struct, frozen=True):
    """How large red cells are in the crops that a model is for, before they are stretched to the graph's input.

    Attributes:
        red_cell_px: Diameter of a red cell in pixels.
        crop_width: Usual width of the crops in pixels.
        crop_height: Usual height of the crops in pixels.
        mpp: Scale in µm per pixel, by a red cell of usual size.
        cells: Number of crops in which red cells were measured; 0 where nuclei told their size.
    """

    red_cell_px: float
    crop_width: int
    crop_height: int
    mpp: float
    cells: int

    def __post_init__(self) -> None:
        if not (0 < self.red_cell_px < math.inf and 0 < self.mpp < math.inf):
            raise ValueError("the size of red cells must be positive")
        if min(self.crop_width, self.crop_height) < 1 or self.cells < 0:
            raise ValueError("sizes of crops must be positive, and their number not negative")


class Precisions(Struct, frozen=True):
    """Precision of the graph itself, and of the OpenVINO backend on a CPU."""

    graph: str
    cpu: str


class ClassMetrics(Struct, frozen=True):
    """Number of cells of one class, and its metrics.

    Attributes:
        sensitivity: None where the class has no cell.
        precision: None likewise, where no cell was called so, and where all cells are of one class.
        f1: None where the class has no cell, and where all cells are of one class.
    """

    count: int
    sensitivity: float | None
    precision: float | None
    f1: float | None


class Metrics(Struct, frozen=True):
    """Metrics of labelled cells.

    Attributes:
        top1_interval: 95 % Wilson interval.
        top5: Share whose class is among the best five.
        macro_f1: Mean F1 of the classes that have cells; None where that is one class.
        weighted_f1: Mean F1, weighted by number of cells; None likewise.
        confusion: Counts; rows are true classes, columns predicted ones.
    """

    count: int
    correct: int
    top1: float
    top1_interval: tuple[float, float]
    top5: float
    macro_f1: float | None
    weighted_f1: float | None
    per_class: dict[str, ClassMetrics]
    confusion: list[list[int]]


class ParityCheck(Struct, frozen=True, kw_only=True):
    """How one graph compared with PyTorch: as `inference.parity.Check`, the cells of `changed` by their paths.

    What the graph does not give is left out.
    """

    graph: str
    runner: str
    count: int
    max_probability_difference: float
    limit: float
    max_logit_difference: float
    correct: int
    reference_correct: int
    cam_sum_error: float
    changed: list[str] = []
    passed: bool
    max_box_difference: float | UnsetType = UNSET
    max_attention_difference: float | UnsetType = UNSET


class Parity(Struct, frozen=True):
    """Comparisons of the graphs with PyTorch on the cells of one part; the last one is of what runs on a CPU."""

    part: str
    reference: str
    checks: list[ParityCheck]


class Manifest(Struct, frozen=True, kw_only=True):
    """All of `bundle.json`.

    Attributes:
        format: Version of the file format.
        classes: Classes in the order of the logits.
        source: Provenance of the weights.
        metrics: By part of the split.
        files: SHA-256 of every file beside it, by name.
        reading_order: Names of all classes in the order that reports show them; left out for the usual one.
        report: What reports give: a differential, or a finding, which counts cells by class and no more; left out for
            the usual one of these classes.
        unknown_cells: A sentence on the cells that none of the classes is for.
        restricted_to: Names of the classes that a run may answer with; left out for all. No bundle on a disk has it:
            it is for one folder of reports, and in their ledger.
        adjustment: How pictures are changed for the model; left out where they are not.
        home_scale: How large red cells are in the crops that it is for; left out where that is not known.
        outputs: What the graph gives beside logits, features and heat maps: boxes of the cells, or a spatial attention;
            left out where that is nothing.
    """

    format: int = FORMAT
    name: str
    classes: tuple[CellClass, ...]
    input: GraphInput
    preprocessing: Preprocessing
    precision: Precisions
    calibration: CalibrationRecord | None = None
    source: Provenance
    metrics: dict[str, Metrics]
    parity: Parity
    files: dict[str, str]
    reading_order: tuple[str, ...] | UnsetType = UNSET
    report: Report | UnsetType = UNSET
    unknown_cells: str = ""
    restricted_to: tuple[str, ...] | UnsetType = UNSET
    adjustment: Adjustment | UnsetType = UNSET
    home_scale: HomeScale | UnsetType = UNSET
    outputs: tuple[Further, ...] | UnsetType = UNSET

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.classes) < 2 or len({entry.name for entry in self.classes}) < len(self.classes):
            raise ValueError("needs at least two classes, each with its own name")
        for name in self.files:
            if os.path.basename(name) != name or name in ("", ".", "..") or "\\" in name or ":" in name:
                raise ValueError(f"the file {name!r} is outside its folder")
        if self.reading_order and sorted(self.reading_order) != sorted(entry.name for entry in self.classes):
            raise ValueError("reading_order needs the name of each class once")
        if self.report == "differential" and all(entry.kind != "leukocyte" for entry in self.classes):
            raise ValueError("report: a differential needs a class of the kind leukocyte")

    @property
    def classes_as_read(self) -> tuple[CellClass, ...]:
        """Classes in the order that reports show them: `reading_order`, or that of a haematologist."""
        if self.reading_order:
            by_name = {entry.name: entry for entry in self.classes}
            return tuple(by_name[name] for name in self.reading_order)
        return tuple(sorted(self.classes, key=_usual_place))

    @property
    def kind_of_report(self) -> Report:
        """What reports give: `report`; left out, a finding where there are two classes, else a differential.

        Without leukocytes among the classes that a run may answer with there is no differential.
        """
        answers = [entry for entry in self.classes if not self.restricted_to or entry.name in self.restricted_to]
        if all(entry.kind != "leukocyte" for entry in answers):
            return "finding"
        return self.report or ("finding" if len(self.classes) == 2 else "differential")


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of `bundle.json`."""
    return (json.dumps(msgspec.to_builtins(manifest), indent=2) + "\n").encode()


def decode_manifest(data: bytes | str, where: object) -> Manifest:
    """Read the bytes of `bundle.json`.

    Args:
        data: Its bytes or text.
        where: Their origin, for messages.

    Raises:
        BundleError: It is malformed, or of a format that this version does not read.
    """
    try:
        found = msgspec.json.decode(data, type=_Head).format
        if found != FORMAT:
            raise BundleError(f"{where} has bundle format {found}: this version reads {FORMAT}")
        return msgspec.json.decode(data, type=Manifest)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} is malformed ({error}): export the bundle again") from None


class _Head(Struct):
    format: int


def _usual_place(entry: CellClass) -> tuple[int, int]:
    """Place in a differential count; a title such as `band neutrophil` stands where its last word does."""
    title = f" {entry.title.casefold()}"
    places = (place for place, known in enumerate(READING_ORDER) if title.endswith(f" {known}"))
    return KIND_ORDER.index(entry.kind), next(places, len(READING_ORDER))


def _check_name(name: str) -> None:
    if not SAFE_NAME.fullmatch(name):
        raise ValueError(f"the name {name!r} has other characters than letters, digits, space and . + - _")
