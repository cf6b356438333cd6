"""Reads YUV4MPEG2, from a pipe or a file, in the program itself.

There is no codec to be afraid of here: a line of text, then raw planes of a size that the line
gives. Our own parser checks every tag, where FFmpeg's guesses at the ones that it does not know,
and it takes no more from the pipe than is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from restore.color import (
    ChromaSite,
    ColorSpec,
    Matrix,
    Primaries,
    Range,
    Transfer,
    guess_color,
)
from restore.errors import DamagedMedia, UnsafeMedia, UnsupportedMedia
from restore.frames import ClipInfo, FieldOrder, PixelFormat, RawFrame, pixel_format
from restore.media.planar import Plane, sample_dtype

__all__ = ["Y4mStream", "is_y4m"]

_MAX_LINE_BYTES = 4096
_SITES = {
    "420": ChromaSite.CENTER,  # as mjpegtools has it
    "420jpeg": ChromaSite.CENTER,
    "420mpeg2": ChromaSite.LEFT,
    "420paldv": ChromaSite.TOPLEFT,
}
_ORDERS = {
    "p": FieldOrder.PROGRESSIVE,
    "t": FieldOrder.TFF,
    "b": FieldOrder.BFF,
    "?": FieldOrder.UNKNOWN,
    "m": FieldOrder.UNKNOWN,
}
_RANGES = {"FULL": Range.FULL, "LIMITED": Range.LIMITED}


def _bad(what: str) -> UnsupportedMedia:
    return UnsupportedMedia(f"YUV4MPEG2 header: {what}", "a stream such as ffmpeg -f yuv4mpegpipe")


def _layout(name: str) -> tuple[PixelFormat, ChromaSite]:
    """Planar format and chroma siting of a ``C`` tag."""
    if name in _SITES:
        return pixel_format("yuv420p"), _SITES[name]
    if name == "444alpha":
        return pixel_format("yuva444p"), ChromaSite.UNSPECIFIED
    match = re.fullmatch(r"(420|422|444|411|440)(?:p(9|10|12|14|16))?", name)
    if match and not (match[2] and match[1] in ("411", "440")):
        suffix = f"{match[2]}le" if match[2] else ""
        site = ChromaSite.LEFT if match[1] == "420" else ChromaSite.UNSPECIFIED
        return pixel_format(f"yuv{match[1]}p{suffix}"), site
    match = re.fullmatch(r"mono(9|10|12|14|16)?", name)
    if match:
        return pixel_format(f"gray{match[1]}le" if match[1] else "gray"), ChromaSite.UNSPECIFIED
    raise _bad(f"colour space C{name}")


def _ratio(text: str, what: str) -> Fraction | None:
    """``num:den``; None for 0:0, which means unknown."""
    match = re.fullmatch(r"(\d{1,9}):(\d{1,9})", text)
    if not match:
        raise _bad(f"{what} {text!r}")
    above, below = int(match[1]), int(match[2])
    if not above or not below:
        return None
    return Fraction(above, below)


def _own_color(text: str) -> ColorSpec:
    """Our writer's XRESTORE: codes of primaries, transfer, matrix, range and chroma siting."""
    codes = text.split(":")
    try:
        if not all(re.fullmatch(r"\d{1,3}", code) for code in codes):
            raise ValueError(text)
        primaries, transfer, matrix, swing, site = (int(code) for code in codes)
        if matrix == Matrix.RGB:
            raise ValueError(text)
        return ColorSpec(
            Matrix(matrix),
            Primaries(primaries),
            Transfer(transfer),
            Range(swing),
            ChromaSite(site),
        )
    except ValueError:
        raise _bad(f"XRESTORE={text}") from None


def is_y4m(path: Path) -> bool:
    """Whether a path is a regular file that begins as YUV4MPEG2 does."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(10) == b"YUV4MPEG2 "
    except (OSError, ValueError):
        return False


class Y4mStream:
    """A YUV4MPEG2 stream: its description and its frames.

    Args:
        stream: binary, read from its current position on; never closed here.
        source: name for people; ``-`` for standard input.
        max_pixels_px: largest picture, width times height.
        rate: frames per second where the stream does not say; 25 where None.
        size_bytes: of the whole stream, where it is a file: it tells the number of frames.

    Attributes:
        info: description of the clip.
        format: planar format of the frames.
        warnings: what is odd about the stream.

    Raises:
        UnsupportedMedia: not YUV4MPEG2, or a tag that is not understood.
        UnsafeMedia: the picture is too large.
    """

    def __init__(
        self,
        stream: BinaryIO,
        *,
        max_pixels_px: int,
        rate: Fraction | None = None,
        source: str = "-",
        size_bytes: int | None = None,
    ) -> None:
        self._stream = stream
        self._source = source
        self._size_bytes = size_bytes
        line = self._line()
        words = line.split()
        if not words or words[0] != "YUV4MPEG2":
            raise UnsupportedMedia(f"{source} is no YUV4MPEG2 stream", "a YUV4MPEG2 stream")
        tags = {word[0]: word[1:] for word in words[1:] if word[0] != "X"}
        extra = dict(
            word[1:].partition("=")[::2] for word in words[1:] if word[0] == "X" and "=" in word
        )
        if unknown := set(tags) - set("WHFIAC"):
            raise _bad(f"tags {', '.join(sorted(unknown))}")
        if not (tags.get("W", "").isdigit() and tags.get("H", "").isdigit()):
            raise _bad("no width or height")
        width, height = int(tags["W"]), int(tags["H"])
        if not width or not height:
            raise _bad(f"size {width}x{height}")
        if width * height > max_pixels_px:
            raise UnsafeMedia(f"picture of {width}x{height}", f"at most {max_pixels_px} px")
        self.format, site = _layout(tags.get("C", "420"))
        swing = extra.get("COLORRANGE", "")
        if swing and swing not in _RANGES:
            raise _bad(f"XCOLORRANGE={swing}")
        if tags.get("I", "?") not in _ORDERS:
            raise _bad(f"interlacing I{tags['I']}")
        self.warnings: tuple[str, ...] = ()
        said = _ratio(tags.get("F", "0:0"), "frame rate")
        if said is None:
            said = rate or Fraction(25)
            self.warnings += (f"the stream says no frame rate; {said} taken",)
        color = ColorSpec(range=_RANGES.get(swing, Range.UNSPECIFIED), chroma_site=site)
        if "RESTORE" in extra:
            color = self._merged(_own_color(extra["RESTORE"]), color)
        self.info = self._describe(width, height, said, tags, color)
        self._count_frames(len(line) + 1)

    def _merged(self, own: ColorSpec, plain: ColorSpec) -> ColorSpec:
        """What XRESTORE says on top of the tags that every program knows.

        Another program may have changed the range and left our comment in place, so its tag wins.
        """
        if own.chroma_site is ChromaSite.UNSPECIFIED:
            own = own.with_(chroma_site=plain.chroma_site)
        if plain.range in (Range.UNSPECIFIED, own.range):
            return own
        if own.range is not Range.UNSPECIFIED:
            self.warnings += (
                f"XRESTORE says {own.range.name.lower()} range, XCOLORRANGE "
                f"{plain.range.name.lower()}, which is taken",
            )
        return own.with_(range=plain.range)

    def _describe(
        self, width: int, height: int, rate: Fraction, tags: dict[str, str], color: ColorSpec
    ) -> ClipInfo:
        resolved, guesses = guess_color(
            color, width, height, is_rgb=False, is_full_range_format=False
        )
        return ClipInfo(
            source=self._source,
            container="yuv4mpegpipe",
            codec="rawvideo",
            width_px=width,
            height_px=height,
            pixel_format=self.format.name,
            sample_aspect_ratio=_ratio(tags.get("A", "0:0"), "aspect ratio") or Fraction(1),
            frame_rate=rate,
            time_base=1 / rate,
            is_vfr=False,
            declared_frames=None,
            decoded_frames=None,
            duration=None,
            field_order=_ORDERS[tags.get("I", "?")],
            rotation_deg=0,
            color=color,
            resolved_color=resolved,
            color_guesses=guesses,
            warnings=self.warnings,
        )

    def _count_frames(self, head_bytes: int) -> None:
        """Where the size is known, so is the number of frames, for plain FRAME lines."""
        if self._size_bytes is None:
            return
        each = self.format.frame_bytes(self.info.width_px, self.info.height_px) + len(b"FRAME\n")
        count = -(-(self._size_bytes - head_bytes) // each)
        duration = count / (self.info.frame_rate or Fraction(25))
        self.info = replace(self.info, declared_frames=count, duration=duration)

    def _line(self) -> str:
        data = self._stream.readline(_MAX_LINE_BYTES)
        if not data:
            return ""
        if not data.endswith(b"\n"):
            raise UnsupportedMedia(f"{self._source} is no YUV4MPEG2 stream", "a YUV4MPEG2 stream")
        return data[:-1].decode("ascii", "replace")

    def frames(self) -> Iterator[RawFrame]:
        """The frames to the end of the stream.

        Raises:
            DamagedMedia: the stream breaks off or goes wrong within a frame.
        """
        info, index = self.info, 0
        while True:
            head = self._stream.readline(_MAX_LINE_BYTES)
            if not head:
                return
            if not re.match(rb"FRAME[ \n]", head) or not head.endswith(b"\n"):
                raise DamagedMedia(f"frame {index} of the stream does not begin with FRAME")
            planes = tuple(self._plane(number, index) for number in range(self.format.planes))
            yield RawFrame(
                planes=planes,
                format=self.format,
                width_px=info.width_px,
                height_px=info.height_px,
                pts=index,
                time_base=info.time_base,
                color=info.resolved_color,
                index=index,
                duration=1,
                woven=info.field_order.has_fields,
            )
            index += 1

    def _plane(self, number: int, index: int) -> Plane:
        shape = self.format.plane_shape(number, self.info.width_px, self.info.height_px)
        plane = np.empty(shape, sample_dtype(self.format))
        target = memoryview(plane.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        filled = 0
        while filled < plane.nbytes:
            count = self._stream.readinto(target[filled:])  # type: ignore[attr-defined]
            if not count:
                raise DamagedMedia(f"the stream breaks off within frame {index}")
            filled += count
        return plane
