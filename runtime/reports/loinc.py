"""LOINC codes of what a report counts. Classes are found by their titles; one that is not here has no code.

All are without a method: neither "automated count", as an analyser's figures are, nor "manual count", since no person
has looked at every cell. docs/hand-over.md has the source of each.
"""

from typing import NamedTuple

SYSTEM = "http://loinc.org"
NOTICE = (
    "This material contains content from LOINC (http://loinc.org). LOINC is copyright © 1995+, Regenstrief Institute,"
    " Inc. and the Logical Observation Identifiers Names and Codes (LOINC) Committee and is available at no cost under"
    " the license at http://loinc.org/license. LOINC® is a registered United States trademark of Regenstrief Institute,"
    " Inc."
)


class Loinc(NamedTuple):
    """A code and its name."""

    code: str
    name: str


PANEL = Loinc("69738-3", "Differential panel, method unspecified - Blood")
WHITE_COUNT = Loinc("26464-8", "Leukocytes [#/volume] in Blood")
CORRECTED = Loinc("12227-5", "Leukocytes [#/volume] corrected for nucleated erythrocytes in Blood")

SHARES = {
    "neutrophil": Loinc("26511-6", "Neutrophils/Leukocytes in Blood"),
    "lymphocyte": Loinc("26478-8", "Lymphocytes/Leukocytes in Blood"),
    "monocyte": Loinc("26485-3", "Monocytes/Leukocytes in Blood"),
    "eosinophil": Loinc("26450-7", "Eosinophils/Leukocytes in Blood"),
    "basophil": Loinc("30180-4", "Basophils/Leukocytes in Blood"),
    "immature granulocyte": Loinc("38518-7", "Immature granulocytes/100 leukocytes in Blood"),
    "metamyelocyte": Loinc("28541-1", "Metamyelocytes/Leukocytes in Blood"),
    "myelocyte": Loinc("26498-6", "Myelocytes/Leukocytes in Blood"),
    "promyelocyte": Loinc("26524-9", "Promyelocytes/Leukocytes in Blood"),
    "blast": Loinc("26446-5", "Blasts/Leukocytes in Blood"),
    "plasma cell": Loinc("13047-6", "Plasma cells/Leukocytes in Blood"),
    "erythroblast": Loinc("19048-8", "Nucleated erythrocytes/Leukocytes [Ratio] in Blood"),
}
"""Of the percentage of leukocytes, and of nucleated red cells per 100 leukocytes, by the title of the class."""

ABSOLUTE = {
    "neutrophil": Loinc("26499-4", "Neutrophils [#/volume] in Blood"),
    "lymphocyte": Loinc("26474-7", "Lymphocytes [#/volume] in Blood"),
    "monocyte": Loinc("26484-6", "Monocytes [#/volume] in Blood"),
    "eosinophil": Loinc("26449-9", "Eosinophils [#/volume] in Blood"),
    "basophil": Loinc("26444-0", "Basophils [#/volume] in Blood"),
    "immature granulocyte": Loinc("51584-1", "Immature granulocytes [#/volume] in Blood"),
    "metamyelocyte": Loinc("30433-7", "Metamyelocytes [#/volume] in Blood"),
    "myelocyte": Loinc("30446-9", "Myelocytes [#/volume] in Blood"),
    "promyelocyte": Loinc("26523-1", "Promyelocytes [#/volume] in Blood"),
    "blast": Loinc("30376-8", "Blasts [#/volume] in Blood"),
    "plasma cell": Loinc("30458-4", "Plasma cells [#/volume] in Blood"),
}
"""Of absolute counts; that of nucleated red cells could not be verified, so it has none."""


def share_of(title: str) -> Loinc | None:
    """Code of a class's percentage of leukocytes."""
    return SHARES.get(title.casefold())


def absolute_of(title: str) -> Loinc | None:
    """Code of a class's absolute count."""
    return ABSOLUTE.get(title.casefold())
