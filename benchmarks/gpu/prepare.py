"""Makes cartcls importable where nothing can be installed, from the tree and from what was brought along."""

import re
import shutil
import zipfile
from pathlib import Path

PARTS = ("calibration", "cli", "export", "runtime", "train")
BUNDLE = Path("runtime", "bundles", "rcmnet-pbc8")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "bundles", "engines")
UNPACKED = "unpacked"


def prepare(root: Path, work: Path, state: Path) -> list[str]:
    """Unpack what was brought, and copy the package and its bundle to `state/site`.

    The package is copied, so that no step writes into the tree, and so that the bundle may come apart from it.

    Args:
        root: The tree.
        work: Folder with `parts/*.zip` and `wheels/*.whl`, if there are any.
        state: Folder to unpack to.

    Returns:
        What is missing or damaged, for the user.
    """
    problems = _unpack(sorted((work / "parts").glob("*.zip")), state / UNPACKED)
    site = state / "site"
    shutil.rmtree(site / "cartcls", ignore_errors=True)
    for part in PARTS:
        shutil.copytree(root / part, site / "cartcls" / part, ignore=LEFT_OUT)
    problems += _unpack(sorted((work / "wheels").glob("*.whl")), site)
    found = re.search(r'^version = "(.+)"', (root / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    record = site / "cartcls-0.dist-info"
    record.mkdir(parents=True, exist_ok=True)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cartcls\nVersion: {found[1] if found else 0}\n")
    bundle = next((at for at in (state / UNPACKED / "bundle", root / BUNDLE) if (at / "model.onnx").exists()), None)
    if bundle is None:
        return [*problems, f"{root / BUNDLE} has no model.onnx, and no part brought one"]
    shutil.copytree(bundle, site / "cartcls" / BUNDLE, ignore=LEFT_OUT)
    return problems


def _unpack(files: list[Path], folder: Path) -> list[str]:
    """Unpack archives that were not unpacked before."""
    folder.mkdir(parents=True, exist_ok=True)
    problems = []
    for file in files:
        done = folder / f".{file.name}-{file.stat().st_size}"
        if done.exists():
            continue
        try:
            with zipfile.ZipFile(file) as archive:
                archive.extractall(folder)
        except (OSError, zipfile.BadZipFile) as error:
            problems.append(f"{file} cannot be unpacked: {error}")
        else:
            done.touch()
    return problems
