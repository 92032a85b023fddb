"""What is no cell of a slide: the one list for every command that searches folders, and a count of what was left out.

Names are compared in lower case. docs/folders.md has the list for people.
"""

import os
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from .decode import Fingerprint

FOLDERS = {
    *(b"@eadir", b"@__thumb", b"@tmp", b"@transcode", b"@sharebin"),  # of a NAS: thumbnails and other caches
    *(b"#snapshot", b"@snapshot", b"@recently-snapshot", b"~snapshot"),
    *(b"#recycle", b"@recycle", b"$recycle.bin", b"recycler", b"recycled", b"network trash folder"),
    *(b"lost+found", b"system volume information", b"__macosx", b"temporary items"),
    *(b"cartcls-reports", b"cartcls-evaluation"),  # of a share, where no ledger lies in it
}
NUMBERED_FOLDERS = re.compile(rb"@gmt-[-.0-9]+|found\.[0-9]{3}")  # Samba's snapshots; what chkdsk found
TABLE = re.compile(
    rb'(?:\xef\xbb\xbf)?"?seq"?[,;\t]"?slide"?[,;\t]"?path"?[,;\t]"?path_encoded"?[,;\t]'
)  # or saved by Excel
REPORTS = (  # two names in a folder that cartcls wrote, and how the first file begins if others use such names, too
    (b"cells.csv", b"thumbnails", TABLE),
    (b"cells.csv", b"summary.json", TABLE),
    (b"summary.json", b"report.html", re.compile(rb'\{\s*"slide": "')),
    (b"run.json", b"history.csv", re.compile(rb'\{\s*"arch": "')),
    (b"metrics.json", b"mistakes.html", None),
    (b"bundle.json", b"bundle.json.sha256", None),
)
WITH_CELLS = {b"ledger.sqlite", b"cartcls-export.json"}  # in a folder that cartcls wrote, too; it may be named

READABLE = frozenset(
    b".jpg .jpeg .jpe .jfif .jif .jfi .pjpeg .pjp .png .apng .bmp .dib .tif .tiff .btf .tf2 .tf8 .webp".split()
)
UNREADABLE = frozenset(  # images all the same: each gets a row that says why it has no label
    b".gif .jp2 .j2k .j2c .jpc .jpf .jpx .jpm .jxl .jxr .wdp .hdp .avif .heic .heif .hif .psd .tga .pcx .exr"
    b" .ppm .pgm .pbm .pnm .pam .dcm .raw .dng .nef .cr2 .cr3 .arw .orf .raf .rw2"
    b" .czi .nd2 .lif .lsm .oib .oif .vsi .ets .zvi .ims .stk"
    b" .svs .ndpi .scn .mrxs .bif .isyntax .qptiff .vms .vmu".split()
)
NO_IMAGES = frozenset(  # not even opened: there may be one beside each image
    b".csv .tsv .txt .xml .xmp .json .yaml .yml .toml .ini .cfg .conf .log .md .rst .htm .html .css .js .svg .roi .wkt"
    b" .db .sqlite .sqlite3 .mdb .lock .lck .npy .npz .mat .h5 .hdf5 .pkl .parquet .onnx .pt .ckpt .rds"
    b" .doc .docx .xls .xlsx .xlsm .ppt .pptx .odt .ods .odp .rtf .pdf .ps .eps .eml .msg .lnk .url .webloc"
    b" .zip .7z .gz .tgz .tar .rar .bz2 .xz .zst .exe .dll .msi .bat .cmd .ps1 .sh .py .pyc .ipynb .jar"
    b" .mp4 .avi .mov .mkv .wmv .mpg .mpeg .webm .wav .mp3 .m4a .md5 .sha1 .sha256 .sfv .sig .asc .par2".split()
)
SYSTEM = {b"thumbs.db", b"ehthumbs.db", b"desktop.ini", b"icon\r", b"slide.toml"}  # left out without a word
TEMPORARY = frozenset(  # suffixes that programs give to what they still copy, or keep from before
    b".tmp .temp .part .partial .filepart .crdownload .opdownload .download .incomplete .unfinished .uploading .aria2"
    b" .!sync .!ut .!qb .bts .syncpart .synctemp .syncold .ffs_tmp .minio .swp .bak .old .orig .~tmp".split()
)
COPY = re.compile(rb"(?:" + b"|".join(map(re.escape, sorted(READABLE))) + rb")[^0-9a-z]")  # x.jpg.AbC123, x.jpg~
HEAD = 132
HEADS = re.compile(  # how images begin, also those that cartcls cannot read
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0{3}|II[*+]\0|MM\0[*+]|GIF8[79]a|RIFF.{4}WEBP"
    rb"|\0\0\0\x0c(?:jP  |JXL )\r\n\x87\n|\xff\x4f\xff\x51|\xff\x0a|II\xbc"
    rb"|.{4}ftyp(?:avi[fs]|he[iv][cfmsx]|mi[af][f1]|msf1)|8BPS|ZISRAWFILE|\xda\xce\xbe\x0a|.{128}DICM",
    re.DOTALL,
)
SHOWN = 6

Kind = Literal["image", "no image", "unknown", "temporary", "system"]


@dataclass
class LeftOut:
    """What searches left out.

    Attributes:
        suffixes: How many files that are no images, by readable suffix.
        temporary: How many hidden or temporary files.
        beside: How many images that lie in no class folder.
        folders: Readable names of folders.
        opened: Files that were opened and are no images, by path; those that may still be written to are not in it.
    """

    suffixes: Counter[str] = field(default_factory=Counter)
    temporary: int = 0
    beside: int = 0
    folders: set[str] = field(default_factory=set)
    opened: dict[bytes, Fingerprint] = field(default_factory=dict)

    @property
    def kinds(self) -> frozenset[str]:
        """Suffixes and folder names."""
        return frozenset(self.folders | self.suffixes.keys())

    def __str__(self) -> str:
        """One line for people; empty where nothing was left out."""
        total = self.suffixes.total()
        suffixes = _few([s or "no suffix" for s in sorted(self.suffixes, key=lambda s: (-self.suffixes[s], s))])
        parts = [
            f"{_count(total, 'file that is no image', 'files that are no images')} ({suffixes})" if total else "",
            _count(self.temporary, "hidden or temporary file", "hidden or temporary files") if self.temporary else "",
            _count(self.beside, "image", "images") + " in no class folder" if self.beside else "",
            f"folders named {_few(sorted(self.folders))}" if self.folders else "",
        ]
        return f"left out: {', '.join(filter(None, parts))}" if any(parts) else ""


def kind_of(name: bytes) -> Kind:
    """What a file is by its name alone; `unknown` where its content must tell."""
    name = name.lower()
    suffix = os.path.splitext(name)[1]
    if name in SYSTEM or name.startswith(b"._") or name == b".ds_store":
        return "system"
    if suffix in TEMPORARY or name.startswith((b".", b"~$")):
        return "temporary"
    if suffix in READABLE or suffix in UNREADABLE:
        return "image"
    if suffix in NO_IMAGES:
        return "no image"
    return "temporary" if COPY.search(name) else "unknown"


def begins_like_an_image(path: bytes) -> bool:
    """Whether a file begins as images do; also where it cannot be read, so that it gets a row with the reason."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            return HEADS.match(file.read(HEAD)) is not None
    except FileNotFoundError:
        return False
    except OSError:
        return True


def is_left_out(folder: bytes) -> bool:
    """Whether a folder of this name is hidden, or on the list."""
    name = folder.lower()
    return name.startswith(b".") or name in FOLDERS or NUMBERED_FOLDERS.fullmatch(name) is not None


def is_output(folder: bytes, names: Collection[bytes]) -> bool:
    """Whether a folder, with these files and folders in it, was written by cartcls."""
    return not WITH_CELLS.isdisjoint(names) or is_report(folder, names)


def is_report(folder: bytes, names: Collection[bytes]) -> bool:
    """Whether a folder, with these files and folders in it, holds results of cartcls, and nothing to classify."""
    return any(
        one in names and other in names and (head is None or _begins(os.path.join(folder, one), head))
        for one, other, head in REPORTS
    )


def _begins(path: bytes, head: re.Pattern[bytes]) -> bool:
    """Whether a file begins like this; also where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return head.match(file.read(HEAD)) is not None
    except OSError:
        return True


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
