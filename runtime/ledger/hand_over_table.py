"""The part of a ledger that is about reports that were handed on: a later one corrects one that was signed."""

from dataclasses import dataclass

from .database import Database


@dataclass(frozen=True)
class HandOver:
    """A report of a slide that was handed on.

    Attributes:
        format: Such as `fhir`.
        status: Such as `final`.
        digest: Of what was signed; empty where the report was not signed.
        handed_at: UTC, ISO 8601.
    """

    format: str
    status: str
    digest: str
    handed_at: str


def read_hand_overs(database: Database, slide: int) -> list[HandOver]:
    """What was handed on of a slide, the latest last."""
    query = "SELECT format, status, signed_sha256, handed_at FROM hand_overs WHERE slide = ? ORDER BY id"
    return [HandOver(*row) for row in database.execute(query, (slide,))]


def save_hand_over(database: Database, slide: int, made: HandOver) -> None:
    """Record that a report was handed on."""
    with database.transaction():
        query = "INSERT INTO hand_overs (slide, format, status, signed_sha256, handed_at) VALUES (?, ?, ?, ?, ?)"
        database.execute(query, (slide, made.format, made.status, made.digest, made.handed_at))
