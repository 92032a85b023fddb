"""The parts of FHIR R4B that a hand-over uses; empty fields are left out of the JSON.

https://hl7.org/fhir/R4B/ has what each means. A test validates what is made of them.
"""

from html import escape

from msgspec import Struct

from .loinc import SYSTEM, Loinc

UCUM = "http://unitsofmeasure.org"
TERMS = "http://terminology.hl7.org/CodeSystem"


class _Element(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An element."""


class Coding(_Element, frozen=True, kw_only=True):
    """A code."""

    system: str
    code: str
    display: str = ""


class CodeableConcept(_Element, frozen=True, kw_only=True):
    """What is meant, by codes and in words."""

    coding: list[Coding] = []
    text: str = ""


class Identifier(_Element, frozen=True, kw_only=True):
    """An identifier."""

    system: str = ""
    value: str
    type: CodeableConcept | None = None


class Reference(_Element, frozen=True, kw_only=True):
    """Another resource, or just its name."""

    reference: str = ""
    display: str = ""


class Quantity(_Element, frozen=True, kw_only=True):
    """A number with its unit."""

    value: float
    unit: str
    system: str
    code: str


class Range(_Element, frozen=True, kw_only=True):
    """From and to."""

    low: Quantity
    high: Quantity


class Annotation(_Element, frozen=True, kw_only=True):
    """A note."""

    text: str


class Meta(_Element, frozen=True, kw_only=True):
    """Labels of a resource."""

    security: list[Coding] = []


class Narrative(_Element, frozen=True, kw_only=True):
    """A resource in words."""

    status: str
    div: str


class Component(_Element, frozen=True, kw_only=True):
    """A part of an observation."""

    code: CodeableConcept
    value_integer: int | None = None
    value_range: Range | None = None


class _Resource(_Element, frozen=True, kw_only=True, tag_field="resourceType"):
    """A resource."""

    id: str
    meta: Meta | None = None


class Observation(_Resource, frozen=True, kw_only=True, tag="Observation"):
    """What was counted or said."""

    status: str
    category: list[CodeableConcept] = []
    code: CodeableConcept
    value_quantity: Quantity | None = None
    value_integer: int | None = None
    value_string: str | None = None
    note: list[Annotation] = []
    method: CodeableConcept | None = None
    specimen: Reference | None = None
    device: Reference | None = None
    component: list[Component] = []


class Specimen(_Resource, frozen=True, kw_only=True, tag="Specimen"):
    """The slide."""

    identifier: list[Identifier]
    type: CodeableConcept
    processing: list["Processing"] = []
    note: list[Annotation] = []


class Processing(_Element, frozen=True, kw_only=True):
    """What was done with a specimen."""

    description: str


class DeviceName(_Element, frozen=True, kw_only=True):
    """A name of a device."""

    name: str
    type: str


class DeviceVersion(_Element, frozen=True, kw_only=True):
    """A version of a part of a device."""

    type: CodeableConcept
    value: str


class Device(_Resource, frozen=True, kw_only=True, tag="Device"):
    """What counted."""

    device_name: list[DeviceName]
    version: list[DeviceVersion]
    note: list[Annotation] = []


class DiagnosticReport(_Resource, frozen=True, kw_only=True, tag="DiagnosticReport"):
    """The report."""

    text: Narrative
    identifier: list[Identifier]
    status: str
    category: list[CodeableConcept]
    code: CodeableConcept
    issued: str
    results_interpreter: list[Reference] = []
    specimen: list[Reference]
    result: list[Reference]
    conclusion: str


class Entry(_Element, frozen=True, kw_only=True):
    """A resource of a bundle."""

    full_url: str
    resource: DiagnosticReport | Specimen | Device | Observation


class Collection(_Resource, frozen=True, kw_only=True, tag="Bundle"):
    """Resources that belong together."""

    type: str
    timestamp: str
    entry: list[Entry]


def concept(text: str, code: Loinc | None = None) -> CodeableConcept:
    """What is meant: words, and a code of LOINC where there is one."""
    return CodeableConcept(coding=[Coding(system=SYSTEM, code=code.code, display=code.name)] if code else [], text=text)


def term(system: str, code: str, display: str) -> CodeableConcept:
    """A code of HL7's own."""
    return CodeableConcept(coding=[Coding(system=f"{TERMS}/{system}", code=code, display=display)])


def narrative(*paragraphs: str) -> Narrative:
    """Paragraphs as XHTML; nothing in them is markup."""
    content = "".join(f"<p>{escape(text)}</p>" for text in paragraphs if text)
    return Narrative(status="additional", div=f'<div xmlns="http://www.w3.org/1999/xhtml">{content}</div>')
