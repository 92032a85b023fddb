"""The bundle: a folder with one model, all that is known about it, and a digest of every file."""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..errors import BundleError, ImageError
from ..files import why_away
from ..images.adjust import Adjustment, adjust
from ..images.decode import RawFile, hash_file, read_file
from ..images.resize import PREPROCESSING, Image, stretch
from .calibration import NOT_CALIBRATED
from .manifest import CellClass, HomeScale, Manifest, Report, decode_manifest, encode_manifest
from .review import CALIBRATION, Calibration, read_calibration

MANIFEST = "bundle.json"
MANIFEST_DIGEST = "bundle.json.sha256"  # as `sha256sum` writes it
MODEL = "model.onnx"
INT8_MODEL = "model.int8.onnx"
GRAPH = ".onnx"
PARITY_CELLS = "proof.npz"
MAX_BYTES = 2 * 1024**3  # what ONNX can hold in one file
CROSS_VALIDATION = "cross-validated"  # how figures begin that were made so, among a bundle's metrics
SHIPPED = Path(__file__).resolve().parent.parent / "bundles" / "rcmnet-pbc8"
EXTERNAL_DATA = b"\x0a\x08location\x12"  # how ONNX names a file outside itself


@dataclass(frozen=True)
class BundleFile:
    """A file of a bundle, which is read where it is needed.

    Attributes:
        path: Where it lies.
        sha256: Digest of what the manifest says that it holds.
    """

    path: Path
    sha256: str

    def read(self) -> bytes:
        """Read it, verified.

        Raises:
            BundleError: It is missing or altered, or it is a graph that keeps data in other files.
        """
        found = _read(self.path)
        self._compare(found.sha256)
        if self.path.suffix == GRAPH and EXTERNAL_DATA in found.data:
            raise BundleError(f"{self.path} keeps data in other files: do not use this bundle")
        return found.data

    def verify(self) -> None:
        """Compare it with its digest, in little memory.

        Raises:
            BundleError: It is missing or altered.
        """
        with _told(self.path):
            sha256, _ = hash_file(self.path, MAX_BYTES)
        self._compare(sha256)

    def _compare(self, sha256: str) -> None:
        if sha256 != self.sha256:
            raise BundleError(f"{self.path} was altered or damaged: its SHA-256 differs from {MANIFEST}; copy it again")


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        directory: Its folder.
        manifest: All of `bundle.json`.
        sha256: Digest of `bundle.json`, which holds the digests of all other files.
        calibration: What marks cells for review; None if it is not calibrated or comes from a ledger.
    """

    directory: Path
    manifest: Manifest
    sha256: str
    calibration: Calibration | None = None

    def file(self, name: str) -> BundleFile:
        """One of its files.

        Raises:
            BundleError: It has none of this name.
        """
        if name not in self.manifest.files:
            raise BundleError(f"{self.directory} has no {name}: export the bundle again with this version")
        return BundleFile(self.directory / name, self.manifest.files[name])

    @property
    def model(self) -> bytes:
        """Bytes of `model.onnx`, read and verified again.

        Raises:
            BundleError: It is missing or altered, or the bundle comes from a ledger.
        """
        return self.file(MODEL).read()

    @property
    def name(self) -> str:
        """Its name."""
        return self.manifest.name

    @property
    def classes(self) -> tuple[CellClass, ...]:
        """Classes in the order of the logits."""
        return self.manifest.classes

    @property
    def report(self) -> Report:
        """What reports give: a differential, or a finding."""
        return self.manifest.kind_of_report

    @property
    def width(self) -> int:
        """Width of the graph's input in pixels."""
        return self.manifest.input.width

    @property
    def height(self) -> int:
        """Height of the graph's input in pixels."""
        return self.manifest.input.height

    @property
    def adjustment(self) -> Adjustment | None:
        """How pictures are changed for the model; None where they are not."""
        return self.manifest.adjustment or None

    @property
    def home_scale(self) -> HomeScale | None:
        """How large red cells are in the crops that the model is for; None where that is not known."""
        return self.manifest.home_scale or None

    @property
    def has_boxes(self) -> bool:
        """Whether its graph tells the box of each cell."""
        return "boxes" in (self.manifest.outputs or ())

    @property
    def has_attention(self) -> bool:
        """Whether its graph gives a spatial attention."""
        return "attention" in (self.manifest.outputs or ())

    @property
    def cpu_precision(self) -> str:
        """Precision of the OpenVINO backend: the fastest that gave the same answers at export."""
        return self.manifest.precision.cpu

    @property
    def temperature(self) -> float:
        """Divides the logits before softmax; 1 until calibrated."""
        return self.manifest.calibration.temperature if self.manifest.calibration else 1.0

    @property
    def problem(self) -> str:
        """Why no cell is `ok`: it is not calibrated; empty where the guarantee of its calibration holds."""
        if self.manifest.restricted_to:
            titles = ", ".join(entry.title for entry in self.classes if entry.name in self.manifest.restricted_to)
            return f"{NOT_CALIBRATED} for an answer restricted to {titles} (--classes)"
        record = self.manifest.calibration
        return NOT_CALIBRATED if record is None else record.promise.problem

    @property
    def cross_validated(self) -> str:
        """How often labels were right where the bundle was tested by cross-validation, as a sentence; else empty."""
        for unit, metrics in self.manifest.metrics.items():
            if unit.startswith(CROSS_VALIDATION):
                low, high = (f"{100 * share:.1f}" for share in metrics.top1_interval)
                return (
                    f"{metrics.correct} of {metrics.count} labels were right in tests on the cells that the bundle was"
                    f" made of ({low} to {high} %; {unit}): on other slides, fewer may be"
                )
        return ""

    @property
    def calibrated(self) -> bool:
        """Whether cells can be `ok`."""
        return not self.problem

    def graph_input(self, image: Image) -> Image:
        """A decoded picture as the graph takes it, and as `read_cell` gives it: RGB, uint8, (height, width, 3)."""
        stretched = stretch(image, self.width, self.height)
        return adjust(stretched, self.adjustment) if self.adjustment else stretched


def load_bundle(directory: Path = SHIPPED) -> Bundle:
    """Read a bundle; every file is verified against its digest before anything parses it.

    Raises:
        BundleError: A file is missing, altered or malformed.
    """
    if reason := why_away(directory):
        raise BundleError(f"{directory} cannot be reached: {reason}")
    if not directory.is_dir():
        raise BundleError(f"{directory} is not a bundle: name a folder that `cartcls export` made")
    data = _read_manifest(directory)
    manifest = decode_manifest(data, directory / MANIFEST)
    _check(directory, manifest)
    files = [BundleFile(directory / name, sha256) for name, sha256 in manifest.files.items()]
    with ThreadPoolExecutor(2) as pool:
        verified = pool.map(BundleFile.verify, files)
        calibration = _calibration(directory, manifest)
        deque(verified, 0)  # raises what was found
    return Bundle(directory, manifest, hashlib.sha256(data).hexdigest(), calibration)


def write_bundle(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Fill an empty folder with a bundle, and verify it by reading it back.

    Args:
        folder: The folder.
        manifest: What goes into `bundle.json`, but for the digests of the files.
        files: All other files, by name.

    Raises:
        OSError: A file cannot be written.
        BundleError: They are not a valid bundle.
    """
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    data = encode_manifest(msgspec.structs.replace(manifest, files=digests))
    for name, content in {**files, MANIFEST: data, MANIFEST_DIGEST: manifest_digest(data)}.items():
        (folder / name).write_bytes(content)
    load_bundle(folder)


def manifest_digest(data: bytes) -> bytes:
    """Content of `bundle.json.sha256` for the bytes of `bundle.json`."""
    return f"{hashlib.sha256(data).hexdigest()}  {MANIFEST}\n".encode()


def _check(directory: Path, manifest: Manifest) -> None:
    if (made_with := manifest.preprocessing.name) != PREPROCESSING:
        raise BundleError(
            f"{directory} was made with another preprocessing ({made_with}) than this version of cartcls has:"
            " export the bundle again with this version"
        )
    if MODEL not in manifest.files:
        raise BundleError(f"{directory} has no {MODEL}: export the bundle again")


def _calibration(directory: Path, manifest: Manifest) -> Calibration | None:
    if manifest.calibration is None:
        return None
    if CALIBRATION not in manifest.files:
        raise BundleError(f"{directory} has no {CALIBRATION}: copy the whole bundle again, or calibrate it again")
    content = BundleFile(directory / CALIBRATION, manifest.files[CALIBRATION]).read()
    try:
        return read_calibration(manifest.calibration, content, manifest.files[MODEL], len(manifest.classes))
    except BundleError as error:
        raise BundleError(f"{directory}: {error}") from None


def _read_manifest(directory: Path) -> bytes:
    data, digest = _read(directory / MANIFEST).data, directory / MANIFEST_DIGEST
    if digest.exists() and _read(digest).data != manifest_digest(data):
        raise BundleError(
            f"{directory / MANIFEST} was altered or damaged: its SHA-256 is not in {MANIFEST_DIGEST}; copy both again"
        )
    return data


def _read(file: Path) -> RawFile:
    with _told(file):
        return read_file(file, MAX_BYTES)


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """Turn what is wrong with a file into a `BundleError`."""
    try:
        yield
    except ImageError as error:
        raise BundleError(f"{file} {error}: copy the whole bundle again") from None
