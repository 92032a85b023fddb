"""Class folders, and the classes of a bundle that they stand for."""

from collections.abc import Iterable

from ..runtime.bundle.bundle import Bundle
from ..runtime.errors import DataError


def classes_of_folders(folders: Iterable[str], bundle: Bundle) -> dict[str, str]:
    """Find the class of each folder: one of that name, or with that title, in capitals or not.

    Returns:
        Names of classes, by folder.

    Raises:
        DataError: Naming the folders that are no class.
    """
    known = class_names(bundle)
    folders = sorted(set(folders))
    if unknown := [folder for folder in folders if folder.casefold() not in known]:
        raise DataError(f"{bundle.name} has no class {', '.join(unknown)}: its classes are {_shown(bundle)}")
    return {folder: known[folder.casefold()] for folder in folders}


def class_names(bundle: Bundle) -> dict[str, str]:
    """Names of the classes, by what they may be called: name or title, case-folded."""
    known = {entry.title.casefold(): entry.name for entry in bundle.classes}
    return known | {entry.name.casefold(): entry.name for entry in bundle.classes}


def _shown(bundle: Bundle) -> str:
    return ", ".join(
        entry.name if entry.name.casefold() == entry.title.casefold() else f"{entry.name} ({entry.title})"
        for entry in bundle.classes
    )
