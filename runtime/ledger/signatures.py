"""Signatures of slides: each holds until rows or facts of its slide change for the first time.

What comes back as it was does not make it valid again.
"""

import hashlib
import json
from dataclasses import dataclass

import msgspec

from .cell_table import COLUMNS, SIGNED, values_of
from .slide_rows import SlideRows


@dataclass(frozen=True)
class Signature:
    """A person's signature of a slide.

    Attributes:
        slide: Name of the slide's report.
        signer: Name of that person.
        signed_at: UTC, ISO 8601.
        digest: SHA-256 of the rows that were signed, as `digest_of` gives it.
        number: 1 for the first signer of these rows, 2 for the second.
        is_void: Whether the rows, or what the laboratory says of the slide, have changed since.
    """

    slide: str
    signer: str
    signed_at: str
    digest: str
    number: int
    is_void: bool


def digest_of(slide: SlideRows) -> str:
    """SHA-256 of all rows of a slide with their persons' labels, its facts, report and bundle, as canonical JSON.

    Without the times at which rows were made. With the history, so it is another one where rows or facts have changed
    and are again as they were.
    Keys are sorted, there are no spaces, text is UTF-8, and no number is one that JSON does not have.
    """
    (bundle,) = slide.database.execute("SELECT sha256 FROM bundle").fetchone() or ("",)
    named = (dict(zip(COLUMNS, values_of(cell), strict=True)) for cell in slide.cells())
    rows = [{name: row[name] for name in SIGNED} for row in named]
    info = msgspec.to_builtins(slide.info())
    made_for = {"report": slide.slide.report, "bundle_sha256": bundle, **slide.history()}
    content = {**made_for, "info": info, "rows": rows}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def signatures_of(slide: SlideRows) -> list[Signature]:
    """All signatures of a slide, the latest last; those with another digest than the present one are void."""
    query = "SELECT rows_sha256, signed_by, signed_at FROM signatures WHERE slide = ? ORDER BY id"
    found = list(slide.database.execute(query, (slide.slide.id,)))
    present, numbers, signatures = digest_of(slide) if found else "", dict[str, int](), list[Signature]()
    for digest, signer, signed_at in found:
        numbers[digest] = numbers.get(digest, 0) + 1
        name, number = slide.slide.name, numbers[digest]
        signatures.append(Signature(name, signer, signed_at, digest, number, digest != present))
    return signatures


def last_signature(slide: SlideRows) -> int:
    """Number of the last signature of a slide; 0 where there is none."""
    return slide.database.number("SELECT max(id) FROM signatures WHERE slide = ?", slide.slide.id)


def save_signature(slide: SlideRows, signer: str, signed_at: str, digest: str) -> None:
    """Save a signature; within a transaction."""
    query = "INSERT INTO signatures (slide, rows_sha256, signed_by, signed_at) VALUES (?, ?, ?, ?)"
    slide.database.execute(query, (slide.slide.id, digest, signer, signed_at))
