"""The bundle: a folder with one model, all that is known about it, and a digest of every file."""

import hashlib
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import BundleError, ImageError
from ..images import resize as preprocess
from ..images.decode import read_file
from .review import CALIBRATION, Calibration, read_calibration

MANIFEST = "bundle.json"
MANIFEST_DIGEST = "bundle.json.sha256"  # as `sha256sum` writes it
MODEL = "model.onnx"
INT8_MODEL = "model.int8.onnx"
PROOF = "proof.npz"
FORMAT = 1
MAX_BYTES = 2 * 1024**3  # what ONNX can hold in one file
SHIPPED = Path(__file__).resolve().parent.parent / "bundles" / "rcmnet-pbc8"
NOT_A_CELL, UNSURE = "not a cell", "unsure"  # what people may call a cell besides: no class has such a name
SAFE_NAME = re.compile(r"\w[\w .+-]*")
COLOR = re.compile(r"#[0-9a-f]{6}")
NAMED_CAR_T = re.compile(r"\bcar[-_ ]?t\b", re.IGNORECASE)
EXTERNAL_DATA = b"\x0a\x08location\x12"  # how ONNX names a file outside itself

Kind = Literal["leukocyte", "nrbc", "platelet", "other"]
KINDS: tuple[Kind, ...] = ("leukocyte", "nrbc", "platelet", "other")


@dataclass(frozen=True)
class CellClass:
    """One class of a bundle.

    Attributes:
        name: Short name, as in file and column names.
        title: Name for people.
        kind: What it counts as in a differential.
        color: `#rrggbb`.
    """

    name: str
    title: str
    kind: Kind
    color: str


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        directory: Where it lies.
        name: Its name.
        classes: Classes in the order of the logits.
        width: Width of the graph's input in pixels.
        height: Height of the graph's input in pixels.
        cpu_precision: In which the OpenVINO backend computes: the fastest that gave the same answers at export.
        temperature: Divides the logits before softmax; 1 until calibrated.
        calibrated: Whether confidences were calibrated.
        calibration: What marks cells for review; None where it is not calibrated, or the bundle is a ledger's memory.
        split_unit: `split by image` or `split by group`: how its figures were made.
        model: Bytes of `model.onnx`, as they were verified.
        sha256: Digest of `bundle.json`, which holds the digests of all other files.
        manifest: All of `bundle.json`.
    """

    directory: Path
    name: str
    classes: tuple[CellClass, ...]
    width: int
    height: int
    cpu_precision: str
    temperature: float
    calibrated: bool
    calibration: Calibration | None
    split_unit: str
    model: bytes
    sha256: str
    manifest: dict[str, Any]


def load_bundle(directory: Path = SHIPPED) -> Bundle:
    """Read a bundle; every file is verified against its digest before anything parses it.

    Raises:
        BundleError: A file is missing, altered or malformed.
    """
    if not directory.is_dir():
        raise BundleError(f"{directory} is not a bundle: name a folder that `cartcls export` made")
    manifest_bytes = _read_manifest(directory)
    try:
        manifest = json.loads(manifest_bytes)
        if manifest["format"] != FORMAT:
            raise BundleError(f"{directory} has bundle format {manifest['format']}: this version reads {FORMAT}")
        files = {name: _verified(directory, name, sha256) for name, sha256 in manifest["files"].items()}
        _check(directory, manifest, files)
        bundle = _bundle(directory, manifest, files[MODEL], hashlib.sha256(manifest_bytes).hexdigest())
        return replace(bundle, calibration=_calibration(directory, manifest, files))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise BundleError(f"{directory / MANIFEST} is malformed ({problem}): export the bundle again") from None


def manifest_files(manifest: dict[str, Any]) -> dict[str, bytes]:
    """A manifest and its own digest, as files of a bundle."""
    data = (json.dumps(manifest, indent=2) + "\n").encode()
    return {MANIFEST: data, MANIFEST_DIGEST: f"{hashlib.sha256(data).hexdigest()}  {MANIFEST}\n".encode()}


def read_bundle_file(bundle: Bundle, name: str) -> bytes:
    """Read another file of a bundle, verified.

    Raises:
        BundleError: It is missing or altered.
    """
    if name not in bundle.manifest["files"]:
        raise BundleError(f"{bundle.directory} has no {name}: export the bundle again with this version")
    return _verified(bundle.directory, name, bundle.manifest["files"][name])


def recorded_bundle(manifest: dict[str, Any], sha256: str) -> Bundle:
    """A bundle as a ledger remembers it: all but its graph."""
    return _bundle(Path(manifest["name"]), manifest, b"", sha256)


def _check(directory: Path, manifest: dict[str, Any], files: dict[str, bytes]) -> None:
    made_with = manifest["preprocessing"]
    if (made_with["name"], made_with["sha256"]) != (preprocess.NAME, preprocess.digest()):
        raise BundleError(
            f"{directory} was made with another preprocessing ({made_with['name']}) than this version of cartcls has:"
            " export the bundle again with this version"
        )
    for name in {MODEL, INT8_MODEL} & files.keys():
        if EXTERNAL_DATA in files[name]:
            raise BundleError(f"{directory / name} keeps data in other files: do not use this bundle")


def _calibration(directory: Path, manifest: dict[str, Any], files: dict[str, bytes]) -> Calibration | None:
    record = manifest["calibration"]
    if record is None:
        return None
    if CALIBRATION not in files:
        raise BundleError(f"{directory} has no {CALIBRATION}: copy the whole bundle again, or calibrate it again")
    try:
        return read_calibration(record, files[CALIBRATION], manifest["files"][MODEL], len(manifest["classes"]))
    except BundleError as error:
        raise BundleError(f"{directory}: {error}") from None


def _bundle(directory: Path, manifest: dict[str, Any], model: bytes, sha256: str) -> Bundle:
    record = manifest["calibration"]
    bundle = Bundle(
        directory=directory,
        name=manifest["name"],
        classes=tuple(CellClass(**entry) for entry in manifest["classes"]),
        width=int(manifest["input"]["width"]),
        height=int(manifest["input"]["height"]),
        cpu_precision=manifest["precision"]["cpu"],
        temperature=float(record["temperature"]) if record else 1.0,
        calibrated=record is not None,
        calibration=None,
        split_unit=manifest["source"]["split_unit"],
        model=model,
        sha256=sha256,
        manifest=manifest,
    )
    names = [entry.name for entry in bundle.classes]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError("needs at least two classes, each of its own name")
    for name in (bundle.name, *names):
        if not SAFE_NAME.fullmatch(name):
            raise ValueError(f"the name {name!r} has other signs than letters, digits, space and . + - _")
    if reserved := {NOT_A_CELL, UNSURE} & {name.casefold() for name in names}:
        raise ValueError(f"no class may have the name {reserved.pop()!r}: it is what people call a cell in review")
    if not all(e.kind in KINDS and COLOR.fullmatch(e.color) and e.title.isprintable() for e in bundle.classes):
        raise ValueError(f"each class needs a kind in {', '.join(KINDS)}, a colour #rrggbb and a printable title")
    if min(bundle.width, bundle.height) < 1:
        raise ValueError("sizes must be positive")
    return bundle


def _read_manifest(directory: Path) -> bytes:
    data, digest = _read(directory / MANIFEST), directory / MANIFEST_DIGEST
    if digest.exists() and _read(digest) != f"{hashlib.sha256(data).hexdigest()}  {MANIFEST}\n".encode():
        raise BundleError(
            f"{directory / MANIFEST} was altered or damaged: its SHA-256 is not in {MANIFEST_DIGEST}; copy both again"
        )
    return data


def _verified(directory: Path, name: str, sha256: str) -> bytes:
    if os.path.basename(name) != name or name in ("", ".", "..") or "\\" in name or ":" in name:
        raise BundleError(f"{directory / MANIFEST} names the file {name!r} outside its folder: do not use this bundle")
    data = _read(directory / name)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BundleError(
            f"{directory / name} was altered or damaged: its SHA-256 differs from {MANIFEST}; copy it again"
        )
    return data


def _read(file: Path) -> bytes:
    try:
        return read_file(file, MAX_BYTES).data
    except ImageError as error:
        raise BundleError(f"{file} {error}: copy the whole bundle again") from None
