"""The table of an archive: a folder of Parquet files, one of a fixed name for each slide.

A file is written whole under a temporary name, and renamed once it is on the disk: so a slide is in the table once, or
not at all. What it says of its slide is in its metadata: with that, the next run knows which slides are done.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import filelock
import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.csv
import pyarrow.parquet

from ..bundle.bundle import Bundle
from ..bundle.manifest import decode_manifest, encode_manifest
from ..errors import OutputError
from ..files import UNFINISHED, replace_file, sweep, why_away, writing
from ..reports.table import BOX, csv_header

BINDING, LOCK = "_cartcls.json", "_lock"  # programs that read the folder leave out names with `_`
FORMAT = 1
METADATA = b"cartcls"
FEATURES = "features"
TEXT, WHOLE, REAL, TIME = pyarrow.string(), pyarrow.int32(), pyarrow.float64(), pyarrow.timestamp("ms", "UTC")
TYPES = {
    **dict.fromkeys(("seq", "part", "x", "y", "w", "h", "width", "height", *BOX), WHOLE),
    **dict.fromkeys(("scale", "mpp", "confidence"), REAL),
    **dict.fromkeys(("path_encoded", "at_edge"), pyarrow.bool_()),
    **dict.fromkeys(("corrected_at", "analysed_at"), TIME),
    **dict.fromkeys(("slide", "path", "label", "model_label", "status", "reason", "promise"), TEXT),
    **dict.fromkeys(("corrected_by", "comment"), TEXT),
    **dict.fromkeys(("thumbnail", "sha256", "bundle", "bundle_sha256", "backend", "precision", "version"), TEXT),
}
UNITS = {
    **dict.fromkeys(("x", "y", "w", "h", "width", "height"), "pixel of the file"),
    **dict.fromkeys(BOX, "pixel of the crop"),
    **dict.fromkeys(("scale", "confidence"), "1"),
    **{"mpp": "µm per pixel of the file", "corrected_at": "UTC", "analysed_at": "UTC", FEATURES: "1"},
}


class SlideFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a file of the table says of its slide.

    Attributes:
        format: Of the table.
        slide: Its name.
        source: Its place, readable.
        files: Digest of names, sizes and times of its files, as they were listed.
        images: How many they are.
        unsettled: How many of them could not be read, or changed meanwhile: the slide is done again.
        rejected: How many have no label.
        alarm: What of the slide is unlike home; empty where nothing is.
        bundle: Name of the bundle that made the rows.
        bundle_sha256: Its digest.
        version: Of cartcls.
        started_at: UTC, ISO 8601.
    """

    format: int = FORMAT
    slide: str
    source: str
    files: str
    images: int
    unsettled: int
    rejected: int
    alarm: str
    bundle: str
    bundle_sha256: str
    version: str
    started_at: str


class _Binding(msgspec.Struct):
    """What all slides of a table have in common."""

    format: int
    features: bool
    bundle_sha256: str
    manifest: msgspec.Raw


@contextmanager
def open_table(table: Path, bundle: Bundle, features: bool) -> Iterator[None]:
    """Bind a table to a bundle, and lock it for one process.

    Args:
        table: Its folder; created if missing.
        bundle: The bundle that makes all rows.
        features: Whether they have features.

    Raises:
        OutputError: It was made by another bundle, or otherwise, is in use, is no table, or cannot be written.
    """
    with writing(table):
        _check_folder(table)
        table.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(table / LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise OutputError(f"{table} is in use by another cartcls: wait for it, or choose another --out") from None
    try:
        with writing(table):
            _bind(table, bundle, features)
            sweep(table, locked=True)
        yield
    finally:
        lock.release()


def bundle_of(table: Path) -> Bundle:
    """The bundle that made a table, without its graph.

    Raises:
        OutputError: There is no table.
        BundleError: What it says of its bundle is malformed.
    """
    found = _binding(table)
    if found is None:
        raise OutputError(f"{table} is no table of cartcls: name the folder that `cartcls archive --out` was for")
    manifest = decode_manifest(bytes(found.manifest), table / BINDING)
    return Bundle(Path(manifest.name), manifest, found.bundle_sha256)


def parquet_files(table: Path) -> list[Path]:
    """Its files, by name."""
    return sorted(table.glob("[!._]*.parquet"))


def facts_of(file: Path) -> SlideFacts | None:
    """What a file says of its slide; None where there is no such file, or none that can be read."""
    try:
        metadata = pyarrow.parquet.read_metadata(file).metadata or {}
        return msgspec.json.decode(metadata[METADATA], type=SlideFacts)
    except (OSError, pyarrow.ArrowException, KeyError, msgspec.MsgspecError):
        return None


def schema_of(bundle: Bundle) -> dict[str, pyarrow.DataType]:
    """Types of the columns of `cells.csv`, by name, in their order."""
    names = csv_header(bundle).strip().split(",")
    return {name: REAL if name.startswith("p_") else TYPES[name] for name in names}


def write_slide(
    file: Path,
    bundle: Bundle,
    facts: SlideFacts,
    lines: Sequence[str],
    features: Sequence[npt.NDArray[np.float32] | None] | None,
) -> None:
    """Write the file of a slide, whole.

    Args:
        file: Its name in the table.
        bundle: The bundle that made the rows.
        facts: What is known of the slide.
        lines: Its lines of `cells.csv`, in `seq` order: the values are those that it prints.
        features: Features of each row, float32, (D,), None without a label; None where they are not asked for.

    Raises:
        OSError: It cannot be written; an older file of that name stays as it was.
    """
    rows = _typed(bundle, lines).append_column("source", pyarrow.array([facts.source] * len(lines), TEXT))
    if features is not None:
        lists = pyarrow.array(features, pyarrow.list_(pyarrow.float32()))
        rows = rows.append_column(FEATURES, lists)
    fields = [
        field.with_metadata({"unit": UNITS.get(field.name, "1" if field.name.startswith("p_") else "")})
        if field.name in UNITS or field.name.startswith("p_")
        else field
        for field in rows.schema
    ]
    rows = rows.cast(pyarrow.schema(fields, {METADATA: msgspec.json.encode(facts)}))
    data = io.BytesIO()
    pyarrow.parquet.write_table(rows, data, compression="zstd")
    replace_file(file, data.getvalue())


def _typed(bundle: Bundle, lines: Sequence[str]) -> pyarrow.Table:
    """Lines of `cells.csv` as a table with types."""
    types = schema_of(bundle)
    text = (csv_header(bundle) + "".join(lines)).encode()
    return pyarrow.csv.read_csv(
        io.BytesIO(text),
        pyarrow.csv.ReadOptions(use_threads=False, block_size=len(text) + 1),
        pyarrow.csv.ParseOptions(newlines_in_values=True),
        pyarrow.csv.ConvertOptions(
            column_types=types,
            null_values=[""],
            strings_can_be_null=True,
            true_values=["1"],
            false_values=["0"],
        ),
    )


def _check_folder(table: Path) -> None:
    if reason := why_away(table):
        raise OutputError(f"{table} cannot be reached: {reason}")
    if table.exists() and not table.is_dir():
        raise OutputError(f"{table} is not a folder: choose another --out")
    if table.is_dir() and _binding(table) is None and any(map(_is_foreign, table.iterdir())):
        raise OutputError(f"{table} holds other files: choose a new folder with --out")


def _is_foreign(path: Path) -> bool:
    """Whether a file is none that a run leaves that was killed before it had bound the table."""
    return path.name != LOCK and not path.name.startswith(UNFINISHED)


def _binding(table: Path) -> _Binding | None:
    try:
        found = msgspec.json.decode((table / BINDING).read_bytes(), type=_Binding)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except msgspec.MsgspecError as error:
        raise OutputError(f"{table / BINDING} is malformed ({error}): choose another --out") from None
    if found.format != FORMAT:
        raise OutputError(f"{table} has format {found.format}: this version reads {FORMAT}")
    return found


def _bind(table: Path, bundle: Bundle, features: bool) -> None:
    found = _binding(table)
    if found is None or not parquet_files(table):  # it holds no slide yet: a run that ended before may be forgotten
        made = _Binding(FORMAT, features, bundle.sha256, msgspec.Raw(encode_manifest(bundle.manifest)))
        replace_file(table / BINDING, msgspec.json.encode(made))
    elif found.bundle_sha256 != bundle.sha256:
        raise OutputError(
            f"{table} was made by another bundle ({found.bundle_sha256[:8]}) than {bundle.name} {bundle.sha256[:8]}:"
            " name another folder with --out"
        )
    elif found.features != features:
        way = "with" if found.features else "without"
        raise OutputError(f"{table} was made {way} --features: do so again, or name another folder with --out")
