"""JPEG streams: decoded strictly, and checked for damage that raises no warning.

libjpeg fills what is missing and only warns; Pillow hides its warnings, simplejpeg raises them. No decoder warns of a
progressive stream that ends after some of its scans, nor always of a sector of zeros.
"""

import re
from dataclasses import dataclass, field

import numpy as np
import simplejpeg

from ..errors import ImageError, IncompleteError
from .resize import Image

MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)  # markers of segments and of the end
RESTART = re.compile(rb"(\xff[\xd0-\xd7])")
END, SCAN, HUFFMAN, JFIF, ADOBE = 0xD9, 0xDA, 0xC4, 0xE0, 0xEE
BASELINE, EXTENDED, PROGRESSIVE = 0xC0, 0xC1, 0xC2
FRAMES = {*range(0xC0, 0xD0)} - {HUFFMAN, 0xC8, 0xCC} | {0xF7}
LOSSLESS, HIERARCHICAL = {0xC3, 0xCB, 0xF7}, {0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF}
COEFFICIENTS = 64
MAX_SCANS = 100  # of ordinary files 1 to 20; each may take as long as the whole picture
ZEROS = bytes(256)  # half the smallest sector

DAMAGED = "is damaged or cut off: "


@dataclass
class Stream:
    """What the segments of a JPEG stream say.

    Attributes:
        process: Marker of its frame.
        width: Of its frame, in pixels.
        height: Of its frame, in pixels.
        components: Identifier, sampling factors, and number of the quantisation table of each.
        jfif: Whether it has a JFIF segment.
        adobe: Colour transform of its Adobe segment; None where there is none.
        missing: For each component, the number of bits of each coefficient that did not come; None: it did not come.
        first: For each Huffman table, the symbol of its code that is all zeros.
        scans: Number of scans.
    """

    process: int = 0
    width: int = 0
    height: int = 0
    components: list[tuple[int, int, int]] = field(default_factory=list)
    jfif: bool = False
    adobe: int | None = None
    missing: dict[int, list[int | None]] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)
    scans: int = 0

    @property
    def seems_ycc(self) -> bool:
        """Whether the first component is coded finer than the two others, as luminance is; red never is."""
        if len(self.components) != 3:
            return False
        (_, *first), (_, *second), (_, *third) = self.components
        return first != second and second == third

    @property
    def seems_rgb(self) -> bool:
        """Whether its components are named R, G and B."""
        return bytes(identifier for identifier, *_ in self.components) == b"RGB"


def check_jpeg(data: bytes) -> None:
    """Find what decoding a JPEG file would not tell.

    Raises:
        IncompleteError: It has no end marker, lacks scans, or holds a sector of zeros.
        ImageError: It is of an unsupported kind, or its colours are not what it says.
    """
    stream = read_stream(data)
    if stream.adobe == 0 and not stream.jfif and not stream.seems_rgb and stream.seems_ycc:
        raise ImageError("says that its colours are RGB, but they are stored as YCbCr: export it again")


def decode_jpeg(data: bytes) -> Image:
    """Decode a JPEG file, and accept no warning but of padding.

    Returns:
        RGB, uint8, (H, W, 3): the pixels that Pillow gives.

    Raises:
        IncompleteError: Its data are damaged or cut off.
    """
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", strict=True))
    except ValueError as error:
        plain = _without_padding(data)
        if plain == data:
            raise IncompleteError(f"{DAMAGED}{error}") from None
    try:
        return np.asarray(simplejpeg.decode_jpeg(plain, "RGB", strict=True))
    except ValueError as error:
        raise IncompleteError(f"{DAMAGED}{error}") from None


def read_stream(data: bytes) -> Stream:
    """Walk a stream's segments to its end: thumbnails inside it and bytes after it have markers of their own.

    Raises:
        IncompleteError: It has no end marker, lacks scans, or holds a sector of zeros.
        ImageError: It is of an unsupported kind.
    """
    stream, position = Stream(), 2
    while found := MARKER.search(data, position):
        marker = found[1][0]
        if marker == END:
            _check_scans(stream)
            return stream
        body, position = _body(data, found.end())
        if marker in FRAMES:
            _read_frame(stream, marker, body)
        elif marker == HUFFMAN:
            _read_tables(stream, body)
        elif marker == JFIF:
            stream.jfif |= body.startswith(b"JFIF\0")
        elif marker == ADOBE and body.startswith(b"Adobe") and len(body) >= 12:
            stream.adobe = body[11]
        elif marker == SCAN:
            _read_scan(stream, body, data, position)
    raise IncompleteError("is incomplete: the JPEG end marker is missing")


def _body(data: bytes, start: int) -> tuple[bytes, int]:
    end = start + max(2, int.from_bytes(data[start : start + 2], "big"))
    return data[start + 2 : end], end


def _read_frame(stream: Stream, marker: int, body: bytes) -> None:
    if len(body) < 6 or len(body) != 6 + 3 * body[5]:
        raise IncompleteError(f"{DAMAGED}the header of its frame is malformed")
    if marker in LOSSLESS or marker in HIERARCHICAL:
        kind = "lossless" if marker in LOSSLESS else "hierarchical"
        raise ImageError(f"is a {kind} JPEG, which is not read: save it as PNG or TIFF")
    if marker not in (BASELINE, EXTENDED, PROGRESSIVE):
        raise ImageError("is a JPEG with arithmetic coding, in which damage cannot be found: save it as PNG or TIFF")
    if body[0] != 8:
        raise ImageError(f"is a JPEG with {body[0]} bits per channel: export it with 8 bits")
    if not any(body[1:3]):
        raise ImageError("is a JPEG that does not say how high it is, which is not read: save it as PNG or TIFF")
    stream.process = marker
    stream.height, stream.width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    stream.components = [(body[i], body[i + 1], body[i + 2]) for i in range(6, 6 + 3 * body[5], 3)]
    stream.missing = {identifier: [None] * COEFFICIENTS for identifier, *_ in stream.components}


def _read_tables(stream: Stream, body: bytes) -> None:
    while len(body) > 17:
        stream.first[body[0]] = body[17]
        body = body[17 + sum(body[1:17]) :]


def _read_scan(stream: Stream, body: bytes, data: bytes, start: int) -> None:
    """Note the coefficients that a scan brings, and look for zeros that it cannot hold."""
    stream.scans += 1
    if stream.scans > MAX_SCANS:
        raise ImageError(f"is a JPEG with more than {MAX_SCANS} scans, which takes too long: save it as PNG or TIFF")
    scanned = [(body[i], body[i + 1]) for i in range(1, 1 + 2 * body[0], 2)]
    low, high, bits = body[1 + 2 * body[0] :][:3]
    if stream.process != PROGRESSIVE:  # some cameras write anything here
        low, high, bits = 0, COEFFICIENTS - 1, 0
    if any(identifier not in stream.missing for identifier, _ in scanned):
        raise IncompleteError(f"{DAMAGED}a scan belongs to no component")
    for identifier, _ in scanned:
        stream.missing[identifier][low : high + 1] = [bits & 15] * (high + 1 - low)
    if stream.process == PROGRESSIVE and bits >> 4:
        return  # later bits of a flat area may be zeros
    following = MARKER.search(data, start)
    dc, ac = low == 0, high > 0
    flat = all(
        (not dc or stream.first.get(tables >> 4) == 0)
        and (not ac or (stream.first.get(16 | tables & 15, 0) & 15 == 0 and stream.first.get(16 | tables & 15) != 0xF0))
        for _, tables in scanned
    )
    if not flat and data.find(ZEROS, start, following.start() if following else len(data)) >= 0:
        raise IncompleteError(f"{DAMAGED}a part of its data is zeros")


def _check_scans(stream: Stream) -> None:
    if not stream.missing or any(bits for component in stream.missing.values() for bits in map(_is_left, component)):
        raise IncompleteError("is incomplete: it ends before its last scan")


def _is_left(bits: int | None) -> bool:
    return bits is None or bits > 0


def _without_padding(data: bytes) -> bytes:
    """Leave out what libjpeg warns of though it is harmless.

    That is: bytes between segments, zeros before the end and before restart markers, wrong limits of a sequential scan.
    """
    parts, position, sequential = [data[:2]], 2, True
    while found := MARKER.search(data, position):
        start, marker = found.start(), found[1][0]
        if marker == END:
            return b"".join(parts) + data[start:]
        _, position = _body(data, found.end())
        sequential &= marker != PROGRESSIVE
        if marker != SCAN:
            parts.append(data[start:position])
            continue
        limits = b"\0\x3f\0" if sequential else data[position - 3 : position]
        following = MARKER.search(data, position)
        end = following.start() if following else len(data)
        parts += [data[start : position - 3], limits, _without_zeros(data[position:end])]
        position = end
    return data


def _without_zeros(coded: bytes) -> bytes:
    """Leave out zeros before restart markers and at the end; the first zero after FF belongs to the data."""
    pieces = RESTART.split(coded)
    for number, piece in enumerate(pieces):
        plain = piece.rstrip(b"\0")
        pieces[number] = piece[: len(plain) + 1] if plain.endswith(b"\xff") else plain
    return b"".join(pieces)
