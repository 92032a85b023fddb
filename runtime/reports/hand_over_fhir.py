"""A slide's result as FHIR R4B: a collection of a report, its observations, the slide and what counted."""

import uuid

import msgspec
from msgspec import structs

from ..bundle.bundle import Bundle
from ..ledger.records import OTHER
from . import loinc
from .differential import DifferentialRow
from .fhir import (
    TERMS,
    UCUM,
    Annotation,
    CodeableConcept,
    Coding,
    Collection,
    Component,
    Device,
    DeviceName,
    DeviceVersion,
    DiagnosticReport,
    Entry,
    Identifier,
    Meta,
    Observation,
    Processing,
    Quantity,
    Range,
    Reference,
    Specimen,
    concept,
    narrative,
    term,
)
from .finding import FindingRow, count_of_cells
from .told import RESEARCH_ONLY, Told

TEST_DATA = Coding(system=f"{TERMS}/v3-ActReason", code="HTEST", display="test health data")
LABORATORY = term("observation-category", "laboratory", "Laboratory")
HEMATOLOGY = term("v2-0074", "HM", "Hematology")
OF_OBSERVATIONS = {"final": "final", "amended": "amended", "partial": "preliminary"}
PERCENT, PER_100, PER_NL = ("%", "%"), ("per 100 leukocytes", "/100{WBCs}"), ("10*9/L", "10*9/L")


def as_fhir(told: Told, bundle: Bundle) -> bytes:
    """The collection, as JSON."""
    return msgspec.json.format(msgspec.json.encode(_Resources(told, bundle).collection()), indent=2) + b"\n"


class _Resources:
    """Resources of one report, each with an id that is the same in each hand-over of the slide."""

    def __init__(self, told: Told, bundle: Bundle):
        self._told, self._bundle = told, bundle
        self._meta = Meta(security=[TEST_DATA]) if told.is_test else None
        self._specimen, self._device = self._id("specimen"), self._id("device")

    def collection(self) -> Collection:
        """All of them."""
        observations = [*self._shares(), *self._absolute(), *self._others(), *self._comments()]
        resources = [self._report(observations), self._slide(), self._counter(), *observations]
        return Collection(
            id=self._id("bundle"),
            meta=self._meta,
            type="collection",
            timestamp=self._told.issued,
            entry=[Entry(full_url=_url(resource.id), resource=resource) for resource in resources],
        )

    def _report(self, observations: list[Observation]) -> DiagnosticReport:
        told = self._told
        report = str(uuid.UUID(told.report))
        code = None if told.summary.finding else loinc.PANEL
        title = "Cells by label" if told.summary.finding else "Differential count of a blood smear"
        return DiagnosticReport(
            id=report,
            meta=self._meta,
            text=narrative(*told.remarks, loinc.NOTICE),
            identifier=[Identifier(system="urn:ietf:rfc:3986", value=_url(report))],
            status=told.status,
            category=[HEMATOLOGY],
            code=concept(title, code),
            issued=told.issued,
            results_interpreter=[Reference(display=made.signer) for made in told.signatures],
            specimen=[Reference(reference=_url(self._specimen))],
            result=[Reference(reference=_url(found.id)) for found in observations],
            conclusion=" ".join(told.remarks),
        )

    def _slide(self) -> Specimen:
        info = self._told.info
        known = [("Objective", info.objective), ("Scale", f"{info.mpp:g} µm per pixel" if info.mpp else "")]
        known += [("Operator", info.operator)]
        second = Identifier(value=info.second_id, type=concept("Second identifier"))
        return Specimen(
            id=self._specimen,
            meta=self._meta,
            identifier=[Identifier(value=info.sample, type=concept("Sample")), *([second] if info.second_id else [])],
            type=concept("Blood smear"),
            processing=[Processing(description=f"Stain: {info.stain}")] if info.stain else [],
            note=[Annotation(text=f"{title}: {text}") for title, text in known if text],
        )

    def _counter(self) -> Device:
        summary = self._told.summary
        versions = {"cartcls": summary.version, "bundle": summary.bundle, "bundle sha256": summary.bundle_sha256}
        return Device(
            id=self._device,
            meta=self._meta,
            device_name=[DeviceName(name=f"cartcls, {summary.bundle}", type="user-friendly-name")],
            version=[DeviceVersion(type=concept(name), value=value) for name, value in versions.items()],
            note=[Annotation(text=RESEARCH_ONLY)],
        )

    def _shares(self) -> list[Observation]:
        """One for each class, without platelets: the pictures were chosen for other cells."""
        platelets = {entry.name for entry in self._bundle.classes if entry.kind == "platelet"}
        return [self._share(row) for row in self._told.summary.rows if row.name not in platelets]

    def _share(self, row: DifferentialRow | FindingRow) -> Observation:
        counted = Component(code=concept("Cells counted"), value_integer=row.count)
        if not isinstance(row, DifferentialRow) or row.kind not in ("leukocyte", "nrbc"):
            return self._observation(f"count {row.name}", concept(f"{row.title}: cells"), value_integer=row.count)
        value, unit = (row.percent, PERCENT) if row.kind == "leukocyte" else (row.per_100_leukocytes, PER_100)
        code = concept(f"{row.title}, of leukocytes", loinc.share_of(row.title))
        if value is None:  # no leukocyte
            return self._observation(f"share {row.name}", code, component=[counted])
        parts = [counted, Component(code=concept("Leukocytes counted"), value_integer=self._leukocytes())]
        if row.interval:
            low, high = (_quantity(end, unit) for end in row.interval)
            parts.append(Component(code=concept("95 % interval"), value_range=Range(low=low, high=high)))
        return self._observation(f"share {row.name}", code, value_quantity=_quantity(value, unit), component=parts)

    def _absolute(self) -> list[Observation]:
        counts, info = self._told.summary.absolute_counts or None, self._told.info
        found = []
        if info.white_count is not None:
            kind = loinc.CORRECTED if info.white_count_corrected else loinc.WHITE_COUNT
            code = concept("White count of the analyser", kind)
            found.append(self._said("white count", code, value_quantity=_quantity(info.white_count, PER_NL)))
        if counts and counts.corrected != counts.white_count:
            code = concept("White count without nucleated red cells", loinc.CORRECTED)
            found.append(self._observation("corrected", code, value_quantity=_quantity(counts.corrected, PER_NL)))
        for row in counts.rows if counts else ():
            code = concept(f"{row.title}, absolute", loinc.absolute_of(row.title))
            value = _quantity(row.per_litre, PER_NL, 3)
            found.append(self._observation(f"absolute {row.name}", code, value_quantity=value))
        return found

    def _others(self) -> list[Observation]:
        """Cells by labels of a person that are no class of the bundle."""
        return [
            self._observation(
                f"other {label}", concept(f"{label.removeprefix(OTHER)}: cells, in no percentage"), value_integer=count
            )
            for label, count in self._told.summary.others.items()
        ]

    def _comments(self) -> list[Observation]:
        info = self._told.info
        known = [("Comment on the red cells", info.red_cells), ("Comment on the platelets", info.platelets)]
        return [self._said(title, concept(title), value_string=text) for title, text in known if text]

    def _observation(
        self,
        name: str,
        code: CodeableConcept,
        value_quantity: Quantity | None = None,
        value_integer: int | None = None,
        component: list[Component] | None = None,
    ) -> Observation:
        """What was counted in the pictures."""
        return Observation(
            id=self._id(name),
            meta=self._meta,
            status=OF_OBSERVATIONS[self._told.status],
            category=[LABORATORY],
            code=code,
            value_quantity=value_quantity,
            value_integer=value_integer,
            note=[Annotation(text=RESEARCH_ONLY)],
            method=concept(self._method()),
            specimen=Reference(reference=_url(self._specimen)),
            device=Reference(reference=_url(self._device)),
            component=component or [],
        )

    def _said(
        self,
        name: str,
        code: CodeableConcept,
        value_quantity: Quantity | None = None,
        value_string: str | None = None,
    ) -> Observation:
        """What the laboratory says of the slide, which was not counted here."""
        note = [Annotation(text=RESEARCH_ONLY), Annotation(text="As entered by the laboratory.")]
        made = self._observation(name, code, value_quantity)
        return structs.replace(made, value_string=value_string, note=note, method=None, device=None)

    def _method(self) -> str:
        reviewed = self._told.summary.reviewed
        review = f"a person labelled {count_of_cells(reviewed)}" if reviewed else "no person has looked at the cells"
        return f"Pictures of single cells of a stained smear, classified by a model; {review}"

    def _leukocytes(self) -> int:
        return self._told.summary.differential.leukocytes if self._told.summary.differential else 0

    def _id(self, name: str) -> str:
        return str(uuid.uuid5(uuid.UUID(self._told.report), name))


def _quantity(value: float, unit: tuple[str, str], digits: int = 2) -> Quantity:
    return Quantity(value=round(value, digits), unit=unit[0], system=UCUM, code=unit[1])


def _url(identifier: str) -> str:
    return f"urn:uuid:{identifier}"
