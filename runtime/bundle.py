"""The bundle: a folder with one model, all that is known about it, and a digest of every file."""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from . import preprocess
from .decode import read_file
from .errors import BundleError, ImageError

MANIFEST = "bundle.json"
MODEL = "model.onnx"
FORMAT = 1
SHIPPED = Path(__file__).resolve().parent / "bundles" / "rcmnet-pbc8"
CLASS_NAME = re.compile(r"\w[\w .+-]*")

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
        temperature: Divides the logits before softmax; 1 until calibrated.
        calibrated: Whether confidences were calibrated.
        model: Bytes of `model.onnx`, as they were verified.
        sha256: Digest of `bundle.json`, which holds the digests of all other files.
        manifest: All of `bundle.json`.
    """

    directory: Path
    name: str
    classes: tuple[CellClass, ...]
    width: int
    height: int
    temperature: float
    calibrated: bool
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
    manifest_bytes = _read(directory / MANIFEST)
    try:
        manifest = json.loads(manifest_bytes)
        if manifest["format"] != FORMAT:
            raise BundleError(f"{directory} has bundle format {manifest['format']}: this version reads {FORMAT}")
        files = {name: _verified(directory, name, sha256) for name, sha256 in manifest["files"].items()}
        return _bundle(directory, manifest, files[MODEL], hashlib.sha256(manifest_bytes).hexdigest())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise BundleError(f"{directory / MANIFEST} is malformed ({problem}): export the bundle again") from None


def _bundle(directory: Path, manifest: dict[str, Any], model: bytes, sha256: str) -> Bundle:
    made_with = manifest["preprocessing"]
    if (made_with["name"], made_with["sha256"]) != (preprocess.NAME, preprocess.digest()):
        raise BundleError(
            f"{directory} was made with another preprocessing ({made_with['name']}) than this version of cartcls has:"
            " export the bundle again with this version"
        )
    classes = tuple(CellClass(**entry) for entry in manifest["classes"])
    if len(classes) < 2 or any(entry.kind not in KINDS for entry in classes):
        raise ValueError(f"needs at least two classes, each of a kind in {', '.join(KINDS)}")
    if odd := [entry.name for entry in classes if not CLASS_NAME.fullmatch(entry.name)]:
        raise ValueError(f"class name {odd[0]!r} has other signs than letters, digits, space and . + - _")
    calibration = manifest["calibration"]
    return Bundle(
        directory=directory,
        name=manifest["name"],
        classes=classes,
        width=int(manifest["input"]["width"]),
        height=int(manifest["input"]["height"]),
        temperature=float(calibration["temperature"]) if calibration else 1.0,
        calibrated=calibration is not None,
        model=model,
        sha256=sha256,
        manifest=manifest,
    )


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
        return read_file(file).data
    except ImageError as error:
        raise BundleError(f"{file} {error}: copy the whole bundle again") from None
