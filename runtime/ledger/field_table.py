"""The part of a ledger that is about fields: their size, their smudges, and the planes by which they are compared."""

from collections import defaultdict

import msgspec

from .database import Database
from .records import Box, FieldRecord, Result


def save_field(database: Database, slide: int, result: Result) -> None:
    """Save what is kept of a field, in place of what was; within a transaction."""
    database.execute("DELETE FROM fields WHERE image = ?", (result.image.id,))
    if field := result.field:
        smudges = msgspec.json.encode(field.smudges).decode()
        values = result.image.id, slide, field.width, field.height, smudges, field.plane
        database.execute("INSERT INTO fields VALUES (?, ?, ?, ?, ?, ?)", values)


def read_fields(database: Database, slide: int) -> dict[int, FieldRecord]:
    """What is kept of a slide's fields, without their planes, by the number of their image, in `seq` order."""
    seqs: defaultdict[int, list[int]] = defaultdict(list)
    query = (
        "SELECT image, seq FROM cells WHERE slide = ? AND version = 1 AND image IN (SELECT image FROM fields)"
        " ORDER BY seq"
    )
    for image, seq in database.execute(query, (slide,)):
        seqs[image].append(seq)
    kept = {
        image: (width, height, msgspec.json.decode(smudges, type=tuple[Box, ...]))
        for image, width, height, smudges in database.execute(
            "SELECT image, width, height, smudges FROM fields WHERE slide = ?", (slide,)
        )
    }
    return {image: FieldRecord(*kept[image], seqs=tuple(numbers)) for image, numbers in seqs.items()}


def read_planes(database: Database, slide: int, last: int) -> dict[int, bytes]:
    """Planes of the last fields by the number of their image, in the order in which their files were found."""
    query = "SELECT image, plane FROM fields WHERE slide = ? AND length(plane) > 0 ORDER BY image DESC LIMIT ?"
    return dict(reversed(list(database.execute(query, (slide, last)))))


def count_smudges(database: Database, slide: int) -> int:
    """How many smudges a slide's fields have, without those of fields that are gone."""
    query = (
        "SELECT ifnull(sum(json_array_length(smudges)), 0) FROM fields JOIN images ON fields.image = images.id"
        " WHERE fields.slide = ? AND state != 'gone'"
    )
    return database.number(query, slide)
