"""A bundle with a new calibration: the same graph, and a model card with the new figures."""

import os
import shutil
from pathlib import Path

from msgspec.structs import replace

from ..calibration.calibrate import Calibrated
from ..runtime.bundle.bundle import SHIPPED, Bundle, load_bundle, write_bundle
from ..runtime.bundle.manifest import SAFE_NAME
from ..runtime.errors import OutputError
from ..runtime.files import whole_folder, writing
from ..runtime.inference.engine_store import ENGINES
from .model_card import MODEL_CARD, model_card


def check_writable(bundle: Bundle, out: Path | None) -> Path:
    """Choose the folder of the calibrated bundle, before anything is computed.

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
    """Write a bundle with its calibration atomically; its engines stay.

    Args:
        bundle: What was calibrated.
        calibrated: Its calibration.
        out: Folder to write; the bundle's own is replaced, and a copy is named after its folder if the name is valid.

    Returns:
        The bundle, as it was read back.

    Raises:
        OutputError: It cannot be written.
    """
    in_place = out.resolve() == bundle.directory.resolve()
    name = bundle.name if in_place or not SAFE_NAME.fullmatch(out.name) else out.name
    manifest = replace(bundle.manifest, name=name, calibration=calibrated.record)
    files = {name: bundle.file(name).read() for name in bundle.manifest.files} | calibrated.files
    files[MODEL_CARD] = model_card(manifest).encode()
    with writing(out), whole_folder(out) as folder:
        write_bundle(folder, manifest, files)
        if in_place and (out / ENGINES).is_dir():
            shutil.copytree(out / ENGINES, folder / ENGINES)
    return load_bundle(out)
