"""Which picture files are read, and what their headers say before anything is decoded.

Sizes of a whole sequence are compared up front, from a few bytes of each file, so that a job of
hours does not fail on a stray proxy in the middle.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

__all__ = ["SUFFIXES", "ImageHeader", "read_header", "sniff"]

_HEAD_BYTES = 2048

#: FFmpeg's decoder for each file suffix that counts as a picture in a folder.
SUFFIXES = {
    ".png": "png", ".tif": "tiff", ".tiff": "tiff", ".dpx": "dpx", ".exr": "exr",
    ".jpg": "mjpeg", ".jpeg": "mjpeg", ".bmp": "bmp", ".webp": "webp", ".jp2": "jpeg2000",
    ".j2k": "jpeg2000", ".j2c": "jpeg2000", ".tga": "targa", ".ppm": "ppm", ".pgm": "pgm",
    ".pam": "pam", ".qoi": "qoi", ".sgi": "sgi", ".hdr": "hdr",
}  # fmt: skip
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "mjpeg"), (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"), (b"SDPX", "dpx"), (b"XPDS", "dpx"), (b"\x76\x2f\x31\x01", "exr"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg2000"), (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"P6", "ppm"), (b"P5", "pgm"), (b"P7\n", "pam"), (b"qoif", "qoi"), (b"\x01\xda", "sgi"),
    (b"#?RADIANCE", "hdr"), (b"#?RGBE", "hdr"),
)  # fmt: skip
# Rates as DPX headers hold them: binary floats of the usual ones.
_USUAL_RATES = tuple(
    Fraction(text)
    for text in ("16", "18", "24000/1001", "24", "25", "30000/1001", "30", "48", "50",
                 "60000/1001", "60")
)  # fmt: skip


# Scan lines in a block of an EXR file, by compression (OpenEXR file layout).
_EXR_LINES = {0: 1, 1: 1, 2: 1, 3: 16, 4: 32, 5: 16, 6: 32, 7: 32, 8: 32, 9: 256}


@dataclass(frozen=True)
class ImageHeader:
    """What the first bytes of a picture file say.

    Attributes:
        codec: FFmpeg's decoder.
        width_px: 0 where the header was not understood.
        height_px: 0 where the header was not understood.
        samples: kind and depth of the samples, for people and for comparing.
        rate: frames per second, where the file says (DPX).
        warning: what is odd; empty where nothing is.
        damage: what is missing and would not be noticed by the decoder; empty where nothing is.
    """

    codec: str
    width_px: int = 0
    height_px: int = 0
    samples: str = ""
    rate: Fraction | None = None
    warning: str = ""
    damage: str = ""

    def __str__(self) -> str:
        return f"{self.codec} {self.width_px}x{self.height_px} {self.samples}".rstrip()


def sniff(head: bytes, suffix: str) -> str | None:
    """FFmpeg's decoder for a single picture; None where the bytes are no single picture.

    Args:
        head: first bytes of the file, 64 and more.
        suffix: of its name, with the dot; decides only where the bytes cannot.
    """
    suffix = suffix.lower()
    if head.startswith(b"BM") and suffix == ".bmp":
        return "bmp"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith(b"\x89PNG") and b"acTL" in head:
        return None  # an animation
    if suffix in (".mjpg", ".mjpeg"):
        return None  # pictures in a row in one file
    for magic, codec in _MAGIC:
        if head.startswith(magic):
            return codec
    return "targa" if suffix == ".tga" else None


def _png(file: BinaryIO, head: bytes) -> ImageHeader:
    width, height, depth, kind = struct.unpack(">IIBB", head[16:26])
    name = {0: "grey", 2: "RGB", 3: "palette", 4: "grey+alpha", 6: "RGBA"}.get(kind, "?")
    return ImageHeader("png", width, height, f"{depth} bit {name}")


def _usual_rate(head: bytes, order: str) -> Fraction | None:
    for offset in (1724, 1940):  # film header, television header
        (rate,) = struct.unpack_from(f"{order}f", head, offset)
        if 1 <= rate <= 1000:  # unset is all ones, which is no number
            near = min(_USUAL_RATES, key=lambda usual: abs(float(usual) - rate))
            return (
                near if abs(float(near) - rate) < 0.005 else Fraction(rate).limit_denominator(100)
            )
    return None


def _dpx(file: BinaryIO, head: bytes) -> ImageHeader:
    order = ">" if head.startswith(b"SDPX") else "<"
    width, height = struct.unpack_from(f"{order}II", head, 772)
    kind, transfer, depth = head[800], head[801], head[803]
    warning = ""
    if transfer in (1, 3):
        name = "printing density" if transfer == 1 else "logarithmic"
        warning = f"the samples are {name} (DPX transfer {transfer}); they are not linearised"
    return ImageHeader(
        "dpx", width, height, f"{depth} bit DPX {kind}", _usual_rate(head, order), warning
    )


def _exr(file: BinaryIO, head: bytes) -> ImageHeader:
    position, lines, width, height = 8, 0, 0, 0
    while position < len(head) and head[position]:
        name, _, rest = head[position : position + 256].partition(b"\0")
        kind, _, _ = rest.partition(b"\0")
        position += len(name) + len(kind) + 2
        (size,) = struct.unpack_from("<I", head, position)
        position += 4
        if name == b"compression":
            lines = _EXR_LINES.get(head[position], 0)
        if name == b"dataWindow":
            left, top, right, bottom = struct.unpack_from("<4i", head, position)
            width, height = right - left + 1, bottom - top + 1
        position += size
    # Only the plain layout is looked at: one part, in scan lines.
    is_plain = head[5] & 0b11010 == 0 and head[position : position + 1] == b"\0"
    known = is_plain and lines and width > 0 and height > 0
    damage = _exr_damage(file, position + 1, -(-height // lines)) if known else ""
    return ImageHeader("exr", width, height, "float", damage=damage)


def _exr_damage(file: BinaryIO, table: int, blocks: int) -> str:
    """Whether a block is missing or behind the end; FFmpeg leaves its lines black in silence."""
    try:
        file.seek(table)
        offsets = struct.unpack(f"<{blocks}Q", file.read(8 * blocks))
        file.seek(max(offsets) + 4)
        (size,) = struct.unpack("<I", file.read(4))
        start = file.tell()
    except (struct.error, ValueError, OverflowError, OSError):
        return "the file is cut short"
    if file.seek(0, 2) < start + int(size):
        return "the file is cut short"
    return "" if min(offsets) else "blocks of scan lines were never written"


def _jpeg(file: BinaryIO, head: bytes) -> ImageHeader:
    file.seek(2)
    for _ in range(1000):
        mark, kind = file.read(2)
        while kind == 0xFF:
            kind = file.read(1)[0]
        (size,) = struct.unpack(">H", file.read(2))
        if mark != 0xFF:
            break
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            depth, height, width, parts = struct.unpack(">BHHB", file.read(6))
            return ImageHeader("mjpeg", width, height, f"{depth} bit {parts} components")
        file.seek(size - 2, 1)
    return ImageHeader("mjpeg")


def _tiff_tags(file: BinaryIO, order: str) -> Iterator[tuple[int, int]]:
    """Tag and first value of every entry of the first directory; tag 0 is the next directory."""
    file.seek(4)
    file.seek(struct.unpack(f"{order}I", file.read(4))[0])
    (count,) = struct.unpack(f"{order}H", file.read(2))
    entries = file.read(12 * count)
    following = file.read(4)
    for start in range(0, len(entries), 12):
        tag, kind, length = struct.unpack_from(f"{order}HHI", entries, start)
        short = kind == 3
        if short and length > 2:
            file.seek(struct.unpack_from(f"{order}I", entries, start + 8)[0])
            value = struct.unpack(f"{order}H", file.read(2))[0]
        else:
            value = struct.unpack_from(f"{order}{'H' if short else 'I'}", entries, start + 8)[0]
        yield tag, value
    yield 0, struct.unpack(f"{order}I", following)[0]


def _tiff(file: BinaryIO, head: bytes) -> ImageHeader:
    tags = dict(_tiff_tags(file, "<" if head.startswith(b"II") else ">"))
    depth, samples = tags.get(258, 1), tags.get(277, 1)
    warning = "more than one page; the first is taken" if tags.get(0) else ""
    return ImageHeader("tiff", tags[256], tags[257], f"{depth} bit x {samples}", warning=warning)


_READERS: dict[str, Callable[[BinaryIO, bytes], ImageHeader]] = {
    "png": _png, "dpx": _dpx, "exr": _exr, "mjpeg": _jpeg, "tiff": _tiff,
}  # fmt: skip


def read_header(path: Path) -> ImageHeader | None:
    """Read a picture file's header.

    Args:
        path: a regular file.

    Returns:
        None where the file is no single picture. The size is 0 where the header is of a kind that
        is not read here, or is damaged; the decoder then has the say.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        codec = sniff(head, path.suffix)
        if codec is None:
            return None
        reader = _READERS.get(codec)
        if reader is not None:
            try:
                return reader(file, head)
            except (struct.error, ValueError, KeyError, IndexError, OverflowError):
                return ImageHeader(codec)
        return ImageHeader(codec)
