"""The split of a data folder into parts: which images may be used for what.

A data folder holds one folder per class. `fit` is for weights, `select` for choosing a recipe, a checkpoint
and a temperature, `calibrate` for the review threshold, `report` for published figures and nothing else.
"""

import csv
import hashlib
import io
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..runtime.bundle.manifest import NOT_A_CELL, SAFE_NAME, UNSURE
from ..runtime.errors import DataError
from ..runtime.files import replace_file, writing
from ..runtime.images.discover import find_images, images_directly_in, sub_folders
from ..runtime.images.left_out import LeftOut
from .copies import first_of_each, without_copies
from .exports import check_full_range
from .groups import few, join_groups, read_csv, read_groups

PARTS = {"fit": 0.799, "select": 0.0505, "calibrate": 0.1, "report": 0.0505}
FEWEST = {"fit": 16, "select": 16, "calibrate": 30}  # cells that `cartcls calibrate` needs
TRAINED = ("fit", "select")  # parts that a training with a choice of the epoch needs
Notify = Callable[[str], None]


@dataclass(frozen=True)
class Split:
    """Which part each image belongs to.

    Attributes:
        parts: Part by path, `/`-separated and relative to the data folder.
        groups: Patient or slide of each image, by path; no one is in two parts. None where they are not known.
        sha256: Digest of the split file.
    """

    parts: dict[str, str]
    groups: dict[str, str] | None
    sha256: str

    @property
    def unit(self) -> str:
        """How every figure made on this split is marked."""
        return "split by image" if self.groups is None else "split by group"

    def paths(self, part: str) -> list[str]:
        """Paths of one part, sorted."""
        return sorted(path for path, its_part in self.parts.items() if its_part == part)

    def group_count(self, part: str) -> int | None:
        """Number of patients or slides in one part; None where they are not known."""
        return None if self.groups is None else len({self.groups[path] for path in self.paths(part)})


def list_images(data_dir: Path, to_train: bool = True, notify: Notify = lambda line: None) -> list[str]:
    """List the images of a data folder with one folder per class.

    Args:
        data_dir: The folder.
        to_train: Whether there must be two classes, and two images of each.
        notify: Called with a line of what was left out.

    Returns:
        Sorted paths relative to the folder, `/`-separated.

    Raises:
        DataError: There is no such folder, or too few classes or images; or it is an export of slides with declared
            levels, and has pictures of 16 bits.
    """
    if not data_dir.is_dir():
        raise DataError(f"{data_dir} is not a folder: name a folder with one folder of images per class")
    left_out = LeftOut()
    left_out.beside = len(images_directly_in(data_dir, left_out))
    folders = sub_folders(data_dir, None, left_out)
    paths = sorted(
        f"{folder.name}/{os.fsdecode(path)}"
        for folder in folders
        for path in find_images(folder, None, left_out=left_out)
    )
    if line := str(left_out):
        notify(line)
    counts = Counter(map(class_of, paths))
    names = [class_of(folder.name) for folder in folders]
    if to_train:
        _check_sizes(data_dir, {name: counts[name] for name in names}, "images")
    if odd := [name for name in names if not SAFE_NAME.fullmatch(name)]:
        raise DataError(f"{data_dir}: rename the class folder {odd[0]!r}: use letters, digits, space and . + - _")
    if reserved := [name for name in names if name.casefold() in (NOT_A_CELL, UNSURE)]:
        raise DataError(
            f"{data_dir}: {reserved[0]!r} is a label of reviewers and cannot be a class: move that folder elsewhere, or"
            " rename it if its images are of a class"
        )
    if not counts:
        raise DataError(f"{data_dir} has no images in class folders: name a folder with one folder of images per class")
    if to_train and len(counts) < 2:
        raise DataError(
            f"{data_dir}: found {len(counts)} class folder(s): at least two classes are needed; name the folder that"
            " their folders lie in"
        )
    check_full_range(data_dir, (data_dir / path for path in paths))
    return paths


def _check_sizes(data_dir: Path, counts: Mapping[str, int], what: str) -> None:
    if small := [f"{name} ({count})" for name, count in counts.items() if count < 2]:
        raise DataError(
            f"{data_dir}: fewer than 2 {what} in {', '.join(small)}: add images, or move the folder elsewhere"
        )


def class_of(path: str) -> str:
    """Class of an image: the first folder of its path, with composed letters (macOS writes `ü` as two)."""
    return unicodedata.normalize("NFC", PurePosixPath(path).parts[0])


def make_split(
    data_dir: Path,
    out: Path,
    groups_file: Path | None = None,
    seed: int = 0,
    notify: Notify = lambda line: None,
) -> Split:
    """Split a data folder, stratified by class and by the letters that begin the file name, and write it.

    All copies of an image, byte for byte, get the same part.

    Args:
        data_dir: Folder with one folder per class.
        out: CSV to write: `path,part`, and `group` where groups are given.
        groups_file: CSV `path,group` (patient or slide); all images of a group get the same part.
        seed: Another seed gives another split.
        notify: Called with messages for the user.

    Raises:
        DataError: The folder or the groups do not fit, two classes have the same image, a class has too few to train
            and select on, or the file cannot be written.
    """
    paths = list_images(data_dir, notify=notify)
    groups = read_groups(groups_file, paths) if groups_file else None
    first = first_of_each(data_dir, paths)
    if copies := [path for path in paths if first[path] != path]:
        are = "1 image is a copy of another" if len(copies) == 1 else f"{len(copies)} images are copies of others"
        notify(f"{are} ({few(copies)}): each gets the part of the other")
    _check_sizes(data_dir, Counter(map(class_of, set(first.values()))), "different images")
    if groups:
        parts = _split_groups(paths, join_groups(groups, first), seed)
    else:
        part_of = _split_images([path for path in paths if first[path] == path], seed)
        parts = {path: part_of[first[path]] for path in paths}
    _check_classes(parts, TRAINED)
    writer = csv.writer(file := io.StringIO(), lineterminator="\n")
    writer.writerow(["path", "part", "group"] if groups else ["path", "part"])
    writer.writerows([path, parts[path], groups[path]] if groups else [path, parts[path]] for path in paths)
    with writing(out, DataError, "name another file with --out"):
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(out, file.getvalue().encode())
    return read_split(out)


def read_split(file: Path) -> Split:
    """Read a split file.

    Raises:
        DataError: The file is missing or malformed.
    """
    try:
        rows = read_csv(file)
    except FileNotFoundError:
        raise DataError(f"{file} does not exist: make a split with `cartcls train split`") from None
    if not rows or not {"path", "part"} <= rows[0].keys():
        raise DataError(f"{file} is not a split: it needs the columns path and part")
    if unknown := sorted({row["part"] for row in rows} - PARTS.keys()):
        raise DataError(f"{file}: unknown part(s) {', '.join(unknown)}: use {', '.join(PARTS)}")
    groups = {row["path"]: row["group"] for row in rows} if "group" in rows[0] else None
    if groups is not None:
        part_of: dict[str, str] = {}
        if torn := [r["group"] for r in rows if part_of.setdefault(r["group"], r["part"]) != r["part"]]:
            raise DataError(f"{file}: the group {torn[0]!r} is in several parts: make the split again")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return Split({row["path"]: row["part"] for row in rows}, groups, sha256)


def check_split(
    split: Split, data_dir: Path, notify: Notify = lambda line: None, needed: Sequence[str] = TRAINED
) -> None:
    """Make sure that a split names exactly the images of a data folder, and has every class in the needed parts.

    Raises:
        DataError: Naming the files that are missing on either side, the classes that have none in a part, or files with
            the same bytes in two parts or classes.
    """
    present = set(list_images(data_dir, notify=notify))
    missing, extra = sorted(split.parts.keys() - present), sorted(present - split.parts.keys())
    if missing or extra:
        raise DataError(
            f"the split does not fit {data_dir}:"
            + (f" {len(missing)} of its files are not there ({few(missing)});" if missing else "")
            + (f" {len(extra)} files are not in the split ({few(extra)});" if extra else "")
            + " mend it, or, if no model was trained with it, make a new one with `cartcls train split`"
        )
    _check_classes(split.parts, needed)
    for path, first in first_of_each(data_dir, sorted(present)).items():
        if split.parts[path] != split.parts[first]:
            raise DataError(
                f"{data_dir}: {first} and {path} have the same bytes, and are in the parts {split.parts[first]} and"
                f" {split.parts[path]}: remove one of them, and its line in the split"
            )


def _check_classes(parts: Mapping[str, str], needed: Sequence[str]) -> None:
    classes = set(map(class_of, parts))
    for part in needed:
        if without := sorted(classes - {class_of(path) for path, its_part in parts.items() if its_part == part}):
            raise DataError(
                f"the split gives the part {part} no image of {', '.join(without)}: add images of them (of other"
                " patients or slides, where it is by group)"
            )


def choose_part(
    data_dir: Path, split_file: Path | None, part: str, notify: Notify = lambda line: None
) -> tuple[list[str], str]:
    """List the images of one part of a data folder, or of all of it where there is no split; of copies, the first.

    Returns:
        Paths relative to the folder, and how figures on them are marked.

    Raises:
        DataError: The split does not fit, or has no such part, or two classes have the same image.
    """
    if split_file is None:
        return without_copies(
            data_dir, list_images(data_dir, False, notify), notify
        ), f"all of {data_dir.resolve().name}"
    split = read_split(split_file)
    check_split(split, data_dir, notify)
    if not split.paths(part):
        raise DataError(f"{split_file} has no images in the part {part!r}: use one of {', '.join(PARTS)}")
    return without_copies(data_dir, split.paths(part), notify), f"{part}, {split.unit}"


def shuffled_names(names: Iterable[str], seed: int) -> list[str]:
    """Put paths into an order that depends on the seed and their names alone."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def _split_images(paths: Sequence[str], seed: int) -> dict[str, str]:
    by_class: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in paths:
        by_class[class_of(path)][leading_letters(path)].append(path)
    parts = {}
    for strata in by_class.values():
        shuffled = {letters: shuffled_names(names, seed) for letters, names in strata.items()}
        total = sum(map(len, strata.values()))
        for part in ("report", "calibrate", "select"):
            # Whatever the size, something to train on, and then something to choose a checkpoint on.
            fewest = int(total >= (2 if part == "select" else 8))
            wanted = max(fewest, round(PARTS[part] * total))
            for letters, count in apportion(shuffled, wanted).items():
                for _ in range(count):
                    parts[shuffled[letters].pop()] = part
        parts |= {path: "fit" for names in shuffled.values() for path in names}
    return parts


def leading_letters(path: str) -> str:
    """The letters that begin a file name, which say more of the cell than its class."""
    name = PurePosixPath(path).name
    return name[: next((i for i, letter in enumerate(name) if not letter.isalpha()), len(name))]


def apportion(strata: Mapping[str, list[str]], wanted: int) -> dict[str, int]:
    """Share `wanted` among strata by their size: Hare quotas, the rest to the largest remainders."""
    total = sum(map(len, strata.values()))
    quotas = {letters: wanted * len(names) / total for letters, names in strata.items()}
    shares = {letters: int(quota) for letters, quota in quotas.items()}
    rest = sorted(quotas, key=lambda letters: (shares[letters] - quotas[letters], letters))
    for letters in rest[: wanted - sum(shares.values())]:
        shares[letters] += 1
    return shares


def _split_groups(paths: Sequence[str], groups: Mapping[str, str], seed: int) -> dict[str, str]:
    """Give whole groups to parts, the largest first, each where it leaves the classes closest to their share."""
    classes_of: dict[str, Counter[str]] = defaultdict(Counter)
    for path in paths:
        classes_of[groups[path]][class_of(path)] += 1
    if len(classes_of) < len(PARTS):
        raise DataError(f"{len(classes_of)} group(s): at least {len(PARTS)} are needed, one for each part")
    totals = Counter(map(class_of, paths))
    open_room = {part: {name: share * totals[name] for name in totals} for part, share in PARTS.items()}
    part_of: dict[str, str] = {}
    for group in sorted(shuffled_names(classes_of, seed), key=lambda name: -classes_of[name].total()):
        room_left = {
            part: sum(min(count, room[name]) / totals[name] for name, count in classes_of[group].items())
            for part, room in open_room.items()
        }
        empty = [part for part in PARTS if part not in part_of.values()]
        groups_left = len(classes_of) - len(part_of)
        choices = empty if groups_left <= len(empty) else list(PARTS)
        part_of[group] = max(choices, key=lambda part: room_left[part])
        for name, count in classes_of[group].items():
            open_room[part_of[group]][name] -= count
    return {path: part_of[groups[path]] for path in paths}
