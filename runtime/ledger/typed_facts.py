"""What a person typed of a slide at a station: where there is such a thing, it counts in place of `slide.toml`."""

from dataclasses import dataclass

import msgspec

from .database import Database
from .slide_info import SlideInfo


@dataclass(frozen=True)
class TypedFacts:
    """What a person typed of a slide.

    Attributes:
        info: All of it.
        typed_by: Name of that person.
        typed_at: UTC, ISO 8601.
    """

    info: SlideInfo
    typed_by: str
    typed_at: str


def read_typed_facts(database: Database, slide: int) -> TypedFacts | None:
    """What was typed last of a slide, by its number; None where nothing was, or all of it was removed."""
    query = "SELECT info, typed_by, typed_at FROM typed_facts WHERE slide = ? ORDER BY id DESC LIMIT 1"
    found = database.execute(query, (slide,)).fetchone()
    typed = TypedFacts(msgspec.json.decode(found[0], type=SlideInfo), *found[1:]) if found else None
    return typed if typed and typed.info != SlideInfo() else None


def save_typed_facts(database: Database, slide: int, typed: TypedFacts) -> None:
    """Save what was typed; within a transaction. What was typed before is kept, but does not count.

    Where it says nothing, all that was typed is removed: `slide.toml` counts again.
    """
    values = slide, msgspec.json.encode(typed.info).decode(), typed.typed_by, typed.typed_at
    database.execute("INSERT INTO typed_facts (slide, info, typed_by, typed_at) VALUES (?, ?, ?, ?)", values)


def last_typed(database: Database, slide: int) -> int:
    """Number of what was typed last of a slide; 0 where nothing was."""
    return database.number("SELECT max(id) FROM typed_facts WHERE slide = ?", slide)
