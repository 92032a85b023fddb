"""Results of a calibration, as `bundle.json` stores them."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from ..images.quality import FLAWS

TEMPERATURES = (0.05, 20.0)
NOT_CALIBRATED = "not calibrated"
DISTANCE, STAIN = "distance", "stain"
SLIDES_TO_PROMISE = 10  # cells of one slide are alike: with fewer, a bound that counts them one by one says too much
CELLS_TO_ESTIMATE, SLIDES_TO_ESTIMATE = 50, 5  # with fewer, no cell is `ok` by a cross-validated threshold

Limits = dict[str, tuple[float | None, float | None]]
Extent = Literal["all", "flagged"]  # of the cells of a slide, those that a person looked at


class Typical(Struct, frozen=True):
    """Distances, in feature space and in colours, that 9 of 10 cells with a label do not exceed at home, by its class.

    Each holds with 95 % confidence.
    """

    features: dict[str, float]
    colours: dict[str, float]


class SlideLimits(Struct, frozen=True):
    """What a slide needs, so that its cells can be `ok`.

    Attributes:
        cells: Fewest cells with which it can be told whether the slide is like home.
        of_class: Fewest cells of a leukocyte class; a person looks at each cell of one with fewer. So for kind `other`.
        share: Smallest share of the leukocytes that such a class has, likewise.
    """

    cells: int = 20
    of_class: int = 5
    share: float = 0.03


class Step(Struct, frozen=True):
    """One threshold that was tried, on cells of all classes.

    Attributes:
        threshold: Of the confidence.
        passing: Number of cells that pass all checks, also of classes that a person always sees.
        wrong: Number of wrong ones among them.
        bound: Upper bound on their share.
    """

    threshold: float
    passing: int
    wrong: int
    bound: float


class NaturalMix(Struct, frozen=True):
    """The guarantee, tested once more on one subsample of `calibrate` in a natural mix.

    Attributes:
        mix: Share of each class in the subsample, by its name.
        cells: Number of cells of the subsample.
        wrong: Number of those that are `ok` and wrong.
        bound: Upper bound on their share of all cells, with the confidence of the guarantee.
    """

    mix: dict[str, float]
    cells: int
    wrong: int
    bound: float


class PromiseRecord(Struct, frozen=True, omit_defaults=True):
    """The guarantee: how many of all cells may be wrong and `ok`. Where it is not reached, no cell is `ok`.

    Attributes:
        asked: Share of wrong cells that was asked for.
        error: Share that is guaranteed; None where what was asked for is not reached.
        confidence: Probability with which the guarantee holds.
        cells: Number of cells of `calibrate`, whether `ok` or not.
        passing: Number of those that are `ok`.
        wrong: Number of wrong ones among them; their share of all cells is what is guaranteed.
        coverage: Share of the cells that are `ok`.
        chosen: The threshold as it was tried. It passed where at most as many were wrong among those that pass, which
            is more than is guaranteed.
        needed: Fewest cells that pass with which it would be reached, if the share of wrong ones stays; where that is
            above what was asked for, if no more are wrong. None if it is reached.
        steps: Thresholds tried, from strict to loose.
        slides: Number of slides or patients in `calibrate`; None where the split has no groups.
        natural: The same on a natural mix of classes; None where the bundle does not have those classes.
        cross_validated: Whether the cells trained the head, each answered by one that had not seen it. Then it is never
            promised.
    """

    asked: float
    error: float | None
    reached: bool
    confidence: float
    cells: int
    passing: int
    wrong: int
    coverage: float
    chosen: Step
    needed: int | None
    split_unit: str
    sentence: str
    steps: tuple[Step, ...]
    slides: int | None
    natural: NaturalMix | None
    cross_validated: bool = False

    @property
    def word(self) -> str:
        """What the guarantee may be called: it takes cells of several slides that nothing was chosen on."""
        if self.cross_validated:
            return f"estimated from {self.cells} cells of {self.slides} slides, no promise"
        return "promised" if (self.slides or 0) >= SLIDES_TO_PROMISE else "estimated, no promise"

    @property
    def problem(self) -> str:
        """Why no cell is `ok`: what was asked for cannot be guaranteed; empty where it is."""
        if self.reached:
            return ""
        tried = self.chosen
        if self.cross_validated and not enough_to_estimate(self.cells, self.slides):
            return (
                f"{NOT_CALIBRATED}: at least {CELLS_TO_ESTIMATE} labelled cells of {SLIDES_TO_ESTIMATE} slides are"
                f" needed, there are {self.cells} of {'unknown slides' if self.slides is None else self.slides}"
            )
        wrong = f", and {tried.wrong} of them {'is' if tried.wrong == 1 else 'are'} wrong" if tried.wrong else ""
        return (
            f"{NOT_CALIBRATED}: at least {self.needed} labelled cells that pass the checks are needed, there are"
            f" {tried.passing}{wrong}"
        )


def enough_to_estimate(cells: int, slides: int | None) -> bool:
    """Whether a cross-validated threshold may let cells be `ok`; `slides` is None where they are not known."""
    return cells >= CELLS_TO_ESTIMATE and (slides or 0) >= SLIDES_TO_ESTIMATE


class CalibrationError(Struct, frozen=True):
    """Expected calibration error: mean over the cells of |accuracy − confidence| of their bin.

    Attributes:
        interval: 95 % bootstrap interval.
        perfect: Mean that a perfectly calibrated model with these confidences shows on as many cells.
        perfect_95: 95 % quantile of the same.
    """

    value: float
    interval: tuple[float, float]
    perfect: float
    perfect_95: float


class Reliability(Struct, frozen=True):
    """Figures of the confidences of labelled cells: mean confidence, Brier score over all classes, calibration errors.

    Bins are of equal width, or hold equally many cells.
    """

    count: int
    accuracy: float
    confidence: float
    brier: float
    ece_equal_width: CalibrationError
    ece_equal_mass: CalibrationError


class ClassCounts(Struct, frozen=True):
    """Results for the cells of one class.

    Attributes:
        passing: `ok` cells of the class; `right` of them have its label.
        others_called_so: Cells of other classes that are `ok` with its label.
        others_at_most: Upper bound on their share of the other cells, with 95 % confidence.
        right_if_rare: Share of its `ok` labels that is then right if 3 cells in 100 are of that class; None where no
            cell is `ok` with its label.
    """

    count: int
    sensitivity: float
    passing: int
    right: int
    others_called_so: int
    others: int
    others_at_most: float
    right_if_rare: float | None


class CalibrateFigures(Reliability, frozen=True):
    """Figures of the part `calibrate`.

    Attributes:
        uncalibrated: Calibration error before the temperature, with bins of equally many cells.
        reasons: How many cells each reason flags; the first, `any`, counts every cell once.
        confusion: Counts of all cells, in the bundle's order of classes; rows are true classes, columns labels given.
    """

    uncalibrated: CalibrationError
    reasons: dict[str, int]
    per_class: dict[str, ClassCounts]
    confusion: list[list[int]]


class CalibrationRecord(Struct, frozen=True):
    """Results of a calibration, and how it was made.

    Attributes:
        temperature: Divides the logits before softmax.
        threshold: Cells with a smaller confidence are for review.
        limits: Lowest and highest accepted value by measure: those of `quality.FLAWS`, `DISTANCE` in feature space and
            `STAIN` in colours; None for no limit.
        parts: Number of cells by part.
        split_of_training: Whether the split is the one that the weights were trained with.
        backend: What ran the graph, in `precision`.
        rare_classes: What the counts by class mean where a class is rare; empty where no cell is `ok`.
        slide: What a slide needs, so that its cells can be `ok`.
        reviewed: How each slide of an export was reviewed, by its name in `groups.csv`; unset where there is none.
    """

    temperature: float
    threshold: float
    limits: Limits
    typical: Typical
    promise: PromiseRecord
    calibrate: CalibrateFigures
    parts: dict[str, int]
    split_sha256: str
    split_unit: str
    split_of_training: bool
    backend: str
    precision: str
    version: str
    made_at: str
    rare_classes: str
    slide: SlideLimits = SlideLimits()
    reviewed: dict[str, Extent] | UnsetType = UNSET

    @property
    def part(self) -> str:
        """Name of the cells that the figures are of: `calibrate`, or those of a cross-validation."""
        return next(reversed(self.parts))

    def __post_init__(self) -> None:
        if not TEMPERATURES[0] <= self.temperature <= TEMPERATURES[1]:
            raise ValueError(f"the temperature {self.temperature} is not in {TEMPERATURES}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"the review threshold {self.threshold} is not a probability")
        if missing := [name for name in (DISTANCE, STAIN, *FLAWS) if name not in self.limits]:
            raise ValueError(f"there are no limits for {', '.join(missing)}")
