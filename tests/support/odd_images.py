"""Bad and odd images, made of a real cell: what a watch must make of each of them."""

import io
import os
import random
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
from tiffs import of_tifffile

from cartcls.runtime.images.resize import Image

Expected = Image | str | None
"""Pixels, or a part of the reason, or None: either, for a flipped byte may spoil an image or not."""

CUT, NO_IMAGE = "incomplete|damaged|not a JPEG", "not a JPEG, PNG, BMP, TIFF or WebP"


def odd_images(folder: Path, cell: Path) -> dict[str, Expected]:
    """Write them into a folder; gives what is expected of each, by name."""
    with PIL.Image.open(cell) as image:
        pixels = np.asarray(image.convert("RGB"))
    expected: dict[str, Expected] = dict(_special_files(folder))
    for make in (_cut, _whole, _unusual, _microscopes, _bombs, _junk):
        for name, data, what in make(cell.read_bytes(), pixels):
            (folder / name).write_bytes(data)
            expected[name] = what
    return expected


def as_pillow_does(data: bytes) -> Image:
    """What Pillow makes of it, damaged or not."""
    with PIL.Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _saved(image: PIL.Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _cut(jpeg: bytes, pixels: Image) -> Iterator[tuple[str, bytes, Expected]]:
    image = PIL.Image.fromarray(pixels)
    for suffix, data, count in (
        ("jpg", jpeg, 120),
        ("png", _saved(image, "PNG"), 60),
        ("bmp", _saved(image, "BMP"), 30),
        ("tif", _saved(image, "TIFF"), 30),
        ("webp", _saved(image, "WEBP", lossless=True), 30),
    ):
        for number in range(count):
            end = 1 + (len(data) - 4) * number // count
            yield f"cut-{number:03d}.{suffix}", data[:end], CUT
            if number > count // 4:
                yield f"zeros-{number:03d}.{suffix}", data[:end].ljust(len(data) << 3 * (number % 2), b"\0"), CUT
    chance = random.Random(0)
    for number in range(80):
        flipped = bytearray(jpeg)
        flipped[chance.randrange(len(jpeg))] ^= 1 << chance.randrange(8)
        yield f"flip-{number:03d}.jpg", bytes(flipped), None


def _whole(jpeg: bytes, pixels: Image) -> Iterator[tuple[str, bytes, Expected]]:
    image, grey = PIL.Image.fromarray(pixels), PIL.Image.fromarray(pixels).convert("L")
    with PIL.Image.open(io.BytesIO(jpeg)) as opened:
        decoded = np.asarray(opened.convert("RGB"))
    yield "behind.jpg", jpeg + b"\xff\xda made by a microscope\0\0", decoded
    for format in ("PNG", "BMP", "TIFF"):
        yield f"rgb.{format}", _saved(image, format), pixels
        yield f"grey.{format}", _saved(grey, format), np.dstack([np.asarray(grey)] * 3)
        black = grey.convert("1")
        yield f"bits.{format}", _saved(black, format), np.asarray(black.convert("RGB"))
    for compression in ("tiff_lzw", "tiff_deflate", "packbits"):
        yield f"{compression}.tif", _saved(image, "TIFF", compression=compression), pixels
    progressive = _saved(image, "JPEG", progressive=True, quality=95)
    with PIL.Image.open(io.BytesIO(progressive)) as opened:
        yield "progressive.jpg", progressive, np.asarray(opened)
    palette = image.quantize(32)
    for format in ("PNG", "BMP", "TIFF"):
        yield f"palette.{format}", _saved(palette, format), np.asarray(palette.convert("RGB"))
    for alpha in (255, 128, 0):
        rgba = PIL.Image.fromarray(np.dstack([pixels, np.full(pixels.shape[:2], alpha, np.uint8)]))
        yield f"alpha-{alpha}.png", _saved(rgba, "PNG"), pixels
        yield f"alpha-{alpha}.tif", _saved(rgba, "TIFF"), pixels
    yield "lossless.webp", _saved(image, "WEBP", lossless=True), pixels
    for width, height in ((1, 1), (1, 4000), (4000, 1), (3, 2)):
        yield (
            f"{width}x{height}.png",
            _saved(image.resize((width, height)), "PNG"),
            np.asarray(image.resize((width, height))),
        )
    turns = (lambda p: p, np.fliplr, lambda p: np.rot90(p, 2), np.flipud, lambda p: p.swapaxes(0, 1))
    turns += (lambda p: np.rot90(p, -1), lambda p: np.rot90(p, 2).swapaxes(0, 1), lambda p: np.rot90(p))
    for orientation, turn in enumerate(turns, 1):
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        yield f"exif-{orientation}.png", _saved(image, "PNG", exif=exif), turn(pixels)
        turned = _saved(image, "JPEG", exif=exif, quality=95)
        with PIL.Image.open(io.BytesIO(turned)) as opened:
            yield f"exif-{orientation}.jpg", turned, turn(np.asarray(opened))


def _unusual(jpeg: bytes, pixels: Image) -> Iterator[tuple[str, bytes, Expected]]:
    image = PIL.Image.fromarray(pixels)
    deep = PIL.Image.fromarray(pixels.mean(2).astype(np.uint16) * 257)
    grey = np.dstack([pixels.mean(2).astype(np.uint8)] * 3)
    for format, suffix in (("PNG", "png"), ("TIFF", "tif")):
        yield f"deep.{suffix}", _saved(deep, format), grey
        dark = PIL.Image.fromarray(pixels.mean(2).astype(np.uint16) * 16)
        yield f"dark.{suffix}", _saved(dark, format), "--white 4095"
    yield "float.tif", _saved(PIL.Image.fromarray(pixels.mean(2).astype(np.float32)), "TIFF"), "floating-point numbers"
    yield "whole.tif", _saved(PIL.Image.fromarray(pixels.mean(2).astype(np.int32)), "TIFF"), "signed numbers"
    for mode in ("CMYK", "YCbCr", "LAB"):
        yield (
            f"{mode}.tif",
            _saved(image.convert("RGB").convert(mode) if mode != "LAB" else _lab(image), "TIFF"),
            "colours",
        )
    yield "CMYK.jpg", _saved(image.convert("CMYK"), "JPEG"), "CMYK colours"
    more = {"save_all": True, "append_images": [PIL.Image.fromarray(255 - pixels)]}
    for format, suffix in (("PNG", "png"), ("TIFF", "tif"), ("MPO", "jpg")):
        yield f"two-{format}.{suffix}", _saved(image, format, **more), "holds 2 pictures"
    for format, named in (("GIF", "GIF"), ("ICO", "icon"), ("PPM", "PNM"), ("PDF", "PDF"), ("JPEG2000", "JPEG 2000")):
        yield f"{format}.jpg", _saved(image, format), f"format {named}, which is not read"
    for format in ("TGA", "PCX"):
        yield f"{format}.jpg", _saved(image, format), NO_IMAGE
    for suffix in ("czi", "nd2", "lif", "CZI"):
        yield f"vendor.{suffix}", b"whatever", "export the cells as TIFF"


def _microscopes(jpeg: bytes, pixels: Image) -> Iterator[tuple[str, bytes, Expected]]:
    deep, small = pixels.astype(np.uint16) * 257, pixels[::2, ::2]
    stack = np.stack([np.zeros_like(pixels), pixels])
    for name, data in (
        ("colours", of_tifffile(deep)),
        ("tiles", of_tifffile(deep, tile=(64, 64), compression="zlib", predictor=True)),
        ("bigtiff", of_tifffile(deep, bigtiff=True, byteorder=">")),
        ("pyramid", of_tifffile(pixels, small, tile=(64, 64))),
        ("deep-pyramid", of_tifffile(deep, deep[::2, ::2], tile=(64, 64))),
        ("ome", of_tifffile(deep, ome=True)),
        ("focus", of_tifffile(stack, ome=True, metadata={"axes": "ZYXS"})),
    ):
        yield f"{name}.tif", data, pixels
        for share in range(1, 5):  # what comes after may belong to a preview
            yield f"{name}-cut-{share}.tif", data[: len(data) * share // 6], CUT
    chance = random.Random(2)
    for number in range(30):  # tags among them
        data = bytearray(of_tifffile(deep[:40, :40], ome=True))
        data[chance.randrange(min(600, len(data)))] ^= 1 << chance.randrange(8)
        yield f"flip-deep-{number:02d}.tif", bytes(data), None
    yield "times.tif", of_tifffile(stack, ome=True, metadata={"axes": "TYXS"}), "holds 2 times"
    yield (
        "channels.tif",
        of_tifffile(pixels.transpose(2, 0, 1), photometric="minisblack", ome=True),
        "not said to be red",
    )
    twelve = of_tifffile(pixels.astype(np.uint16) * 16)
    yield "twelve.tif", twelve, "--white 4095"
    entities = "".join(f'<!ENTITY x{n} "{f"&x{n - 1};" * 10 if n else "x" * 99}">' for n in range(9))
    yield "entities.tif", of_tifffile(pixels, first=f"<!DOCTYPE OME [{entities}]><OME>&x8;</OME>"), "declarations"
    sides = (b"%c\1\4\0\1\0\0\0\x40\0" % number for number in (0, 1))
    huge = of_tifffile(np.zeros((64, 64), np.uint16), tile=(64, 64))
    for side in sides:
        assert side in huge
        huge = huge.replace(side, side[:-2] + b"\xff\xff")
    yield "huge.tif", huge, "megapixels"


def _lab(image: PIL.Image.Image) -> PIL.Image.Image:
    return PIL.Image.merge("LAB", image.split())


def _png(width: int, height: int, bits: int = 1, color: int = 0, chunks: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in (header, *chunks, (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data


def _bombs(jpeg: bytes, pixels: Image) -> Iterator[tuple[str, bytes, Expected]]:
    for width, height in ((30_000, 30_000), (2**31 - 1, 2**31 - 1), (1, 60_000_000), (7_100, 7_100), (65_000, 800)):
        for color in (0, 2, 3):
            yield f"bomb-{width}x{height}-{color}.png", _png(width, height, 8, color), "megapixels|damaged"
    frame = jpeg.index(b"\xff\xc0") if b"\xff\xc0" in jpeg else jpeg.index(b"\xff\xc2")
    huge = jpeg[: frame + 5] + b"\xff\xdc\xff\xdc" + jpeg[frame + 9 :]
    yield "bomb.jpg", huge, "megapixels"
    bitmap = bytearray(_saved(PIL.Image.fromarray(pixels), "BMP"))
    bitmap[18:26] = struct.pack("<ii", 100_000, 100_000)
    yield "bomb.bmp", bytes(bitmap), "megapixels"
    for number in range(2):  # side by side, just under the limit: both are taken, within the memory that there is
        white = PIL.Image.new("1", (7_000, 7_000), 1)
        white.putpixel((number, 0), 0)
        yield f"large-{number}.png", _saved(white, "PNG"), None
    text = zlib.compress(b"A" * 50_000_000, 9)
    yield "text.png", _png(40, 40, 8, 0, ((b"zTXt", b"a\0\0" + text),)), "damaged|not a JPEG"
    yield "profile.png", _png(40, 40, 8, 0, ((b"iCCP", b"a\0\0" + text),)), "damaged|not a JPEG"


def _junk(jpeg: bytes, pixels: Image) -> Iterator[tuple[str, bytes, Expected]]:
    chance = random.Random(1)
    for number, start in enumerate(
        (b"", jpeg[:20], b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*", b"PK\3\4", b"<svg ")
    ):
        for size in (1, 100, 10_000, 300_000):
            yield f"junk-{number}-{size}.jpg", start + chance.randbytes(size), CUT
    for number in range(6):
        yield f"empty-{number}.jpg", b"", "empty"


def _special_files(folder: Path) -> Iterator[tuple[str, Expected]]:
    os.mkfifo(folder / "pipe.jpg")
    yield "pipe.jpg", "not a regular file"
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(folder)  # a socket's path must be short
        server.bind("socket.jpg")
        os.chdir(here)
    yield "socket.jpg", "not a regular file"
    for name, target in (
        ("loop.jpg", "loop.jpg"),
        ("passwd.jpg", "/etc/passwd"),
        ("dangling.jpg", "none"),
        ("folder", "."),
    ):
        (folder / name).symlink_to(target)
        yield name, "symbolic link"
    if os.getuid():
        (folder / "secret.jpg").write_bytes(b"")
        (folder / "secret.jpg").chmod(0)
        yield "secret.jpg", "cannot be opened"
