"""Which bundle was last compared with a reference here: `cartcls compare` notes it, and `cartcls doctor` tells it."""

from pathlib import Path

import msgspec
import platformdirs

from .files import replace_file

FILE = "verified.json"


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """The last comparison of a bundle with a reference.

    Attributes:
        bundle: Name of the bundle.
        bundle_sha256: Its digest.
        reference: Readable path of what it was compared with.
        slides: Number of slides that were compared.
        cells: Number of cells in them.
        compared_at: UTC, ISO 8601.
    """

    bundle: str
    bundle_sha256: str
    reference: str
    slides: int
    cells: int
    compared_at: str


def verified_file() -> Path:
    """Where this machine's user keeps the note."""
    return platformdirs.user_state_path("cartcls") / FILE


def note_verified(verified: Verified) -> None:
    """Note a comparison, in place of the one before.

    Raises:
        OSError: It cannot be written.
    """
    file = verified_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, msgspec.json.format(msgspec.json.encode(verified)) + b"\n")


def last_verified() -> Verified | None:
    """The last comparison; None if there was none, or the note cannot be read."""
    try:
        return msgspec.json.decode(verified_file().read_bytes(), type=Verified)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
