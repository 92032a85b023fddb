"""A bundle with another calibration: the same graph, a model card that tells what its answers are worth."""

import hashlib
import os
import shutil
from pathlib import Path

from ..calibration.calibrate import Calibrated
from ..runtime.bundle.bundle import SAFE_NAME, SHIPPED, Bundle, load_bundle, manifest_files, read_bundle_file
from ..runtime.errors import OutputError
from ..runtime.files import whole_folder
from ..runtime.inference.tensorrt_engine import ENGINES
from .model_card import MODEL_CARD, model_card


def check_writable(bundle: Bundle, out: Path | None) -> Path:
    """Where the calibrated bundle goes, before anything is computed.

    Raises:
        OutputError: The bundle is the shipped one or cannot be written, and no other place was named; or that is taken.
    """
    if out is not None and out.resolve() != bundle.directory.resolve():
        if out.exists():
            raise OutputError(f"{out} exists already: remove it, or choose another --out")
        place = next(folder for folder in out.absolute().parents if folder.exists())
        if not (place.is_dir() and os.access(place, os.W_OK)):
            raise OutputError(f"{place} cannot be written: choose another --out")
        return out
    directory = bundle.directory.resolve()
    if directory == SHIPPED:
        raise OutputError(
            "the shipped bundle belongs to the installation: name a folder for the calibrated copy, --out"
        )
    if not (os.access(directory, os.W_OK) and os.access(directory.parent, os.W_OK)):
        raise OutputError(f"{directory} cannot be written: name a folder for the calibrated copy with --out")
    return directory


def write_calibrated(bundle: Bundle, calibrated: Calibrated, out: Path) -> Bundle:
    """Write a bundle with its calibration, whole or not at all; engines that lie in it stay.

    Args:
        bundle: What was calibrated.
        calibrated: Its calibration.
        out: Folder to write; the bundle's own is replaced, and a copy takes its folder's name where that can be one.

    Returns:
        The bundle, as it was read back.

    Raises:
        OutputError: It cannot be written.
    """
    files = {name: read_bundle_file(bundle, name) for name in bundle.manifest["files"]} | calibrated.files
    manifest = {**bundle.manifest, "calibration": calibrated.record}
    if out.resolve() != bundle.directory.resolve() and SAFE_NAME.fullmatch(out.name):
        manifest["name"] = out.name
    files[MODEL_CARD] = model_card(manifest).encode()
    manifest["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    try:
        with whole_folder(out) as folder:
            for name, data in (files | manifest_files(manifest)).items():
                (folder / name).write_bytes(data)
            if out.resolve() == bundle.directory.resolve() and (out / ENGINES).is_dir():
                shutil.copytree(out / ENGINES, folder / ENGINES)
            load_bundle(folder)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror}") from None
    return load_bundle(out)
