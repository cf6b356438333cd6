"""YUV4MPEG2 on standard output or into a file: a text header, then raw planes.

The format is described by mjpegtools' yuv4mpeg(5); the names of deep formats and XCOLORRANGE follow
FFmpeg, which is what reads them. Matrix, primaries, transfer and half of the chroma sitings have no
tag of their own; they go into a comment, XRESTORE, that our reader knows and others skip.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer, guess_color
from restore.errors import InvalidInput, OutputError
from restore.frames import PixelFormat, RawFrame
from restore.media.atomic import AtomicPath, output_errors
from restore.media.encoder import written_color
from restore.media.layout import choose_color, choose_format
from restore.media.master import ClipWriter, CopiedStream, VideoSpec, WriteReport
from restore.media.profiles import Delivery

__all__ = ["Y4mWriter", "y4m_header"]

_SITED = {ChromaSite.TOPLEFT: "420paldv", ChromaSite.CENTER: "420jpeg"}
_CHROMA = {(1, 1): "420", (1, 0): "422", (0, 0): "444"}


def _chroma_name(layout: PixelFormat, site: ChromaSite) -> str:
    deep = layout.depth_bits if layout.depth_bits > 8 else None
    if layout.kind == "gray":
        return f"mono{deep or ''}"
    chroma = _CHROMA[layout.log2_w, layout.log2_h]
    if deep:
        return f"{chroma}p{deep}"
    return _SITED.get(site, "420mpeg2") if chroma == "420" else chroma


def y4m_header(video: VideoSpec, layout: PixelFormat, tags: ColorSpec, rate: Fraction) -> bytes:
    """The stream header line.

    ``XRESTORE=P:T:M:R:S`` holds primaries, transfer and matrix by the code points of ITU-T H.273, 2
    where the source leaves them unsaid, then range (1 limited, 2 full) and chroma siting (1 left,
    2 centre, 3 top left, 4 top, 5 bottom left, 6 bottom).
    """
    sar = video.sample_aspect_ratio
    chroma = _chroma_name(layout, tags.chroma_site)
    site = tags.chroma_site.value
    codes = (int(tags.primaries), int(tags.transfer), int(tags.matrix), int(tags.range), site)
    words = [
        "YUV4MPEG2",
        f"W{video.width_px}",
        f"H{video.height_px}",
        f"F{rate.numerator}:{rate.denominator}",
        "Ip",
        f"A{sar.numerator}:{sar.denominator}",
        f"C{chroma}",
        f"XYSCSS={'400' if layout.kind == 'gray' else chroma.upper()}",
        f"XCOLORRANGE={'FULL' if tags.range is Range.FULL else 'LIMITED'}",
        f"XRESTORE={':'.join(str(code) for code in codes)}",
    ]
    return " ".join(words).encode("ascii") + b"\n"


# Codes that stand for the same numbers, by the one that stands for them here (H.273, 8.1 to 8.3).
_SAME_MATRIX = {Matrix.BT470BG: Matrix.SMPTE170M}
_SAME_TRANSFER = dict.fromkeys(
    (Transfer.SMPTE170M, Transfer.BT2020_10, Transfer.BT2020_12), Transfer.BT709
)


def _misread(tags: ColorSpec, layout: PixelFormat, video: VideoSpec) -> list[str]:
    """A warning where a reader that skips XRESTORE takes the picture for another colour."""
    guess, _ = guess_color(
        ColorSpec(range=tags.range),
        video.width_px,
        video.height_px,
        is_rgb=False,
        is_full_range_format=False,
    )
    wrong = []
    matrices = [_SAME_MATRIX.get(matrix, matrix) for matrix in (tags.matrix, guess.matrix)]
    if layout.kind != "gray" and matrices[0] is not matrices[1]:
        wrong.append(f"matrix {tags.matrix.name} as {guess.matrix.name}")
    if tags.primaries not in (Primaries.UNSPECIFIED, guess.primaries):
        wrong.append(f"primaries {tags.primaries.name} as {guess.primaries.name}")
    if tags.transfer is not Transfer.UNSPECIFIED:
        curves = [_SAME_TRANSFER.get(curve, curve) for curve in (tags.transfer, guess.transfer)]
        if curves[0] is not curves[1]:
            wrong.append(f"transfer {tags.transfer.name} as {guess.transfer.name}")
    is_420 = bool(layout.log2_w and layout.log2_h)
    is_sited = layout.depth_bits <= 8 and tags.chroma_site in _SITED
    if is_420 and not is_sited and tags.chroma_site is not ChromaSite.LEFT:
        wrong.append(f"chroma siting {tags.chroma_site.name} as LEFT")
    if not wrong:
        return []
    return [
        f"YUV4MPEG2 has no tag for colour: programs other than this one will take "
        f"{', '.join(wrong)}; tell them"
    ]


class Y4mWriter(ClipWriter):
    """Writes YUV4MPEG2.

    Args:
        destination: ``-`` for standard output, else a file name.
        delivery: profile and departures from it.
        video: the video.
        streams: what is said about the source's other streams, none of which can be held.
        overwrite: replace an existing file.

    Raises:
        InvalidInput: no layout fits.
        OutputExists: the name is taken.
        OutputError: the file cannot be made.
    """

    def __init__(
        self,
        destination: str,
        delivery: Delivery,
        video: VideoSpec,
        *,
        streams: tuple[CopiedStream, ...] = (),
        overwrite: bool = False,
    ) -> None:
        self.pixel_format, self.warnings = choose_format(delivery, video)
        self.color = choose_color(delivery, self.pixel_format, video)
        self._tags = written_color(self.color, video.color)
        self.warnings += _misread(self._tags, self.pixel_format, video)
        self._video = video
        self._streams = streams
        self._frames = 0
        self._bytes = 0
        self._report: WriteReport | None = None
        self._closed = False
        self._name = "standard output" if destination == "-" else destination
        self._rate = self._even_rate()
        self._path = None if destination == "-" else AtomicPath(destination, overwrite=overwrite)
        with output_errors(self._name):
            if self._path is None:
                self._handle = os.dup(sys.stdout.fileno())
            else:
                self._handle = os.open(self._path.temporary, os.O_WRONLY)

    def _even_rate(self) -> Fraction:
        rate = self._video.frame_rate
        if rate is None:
            self.warnings.append("the clip has no frame rate; the pipe says 25")
        elif self._video.is_vfr:
            self.warnings.append(
                f"the clip's frame times are uneven, which YUV4MPEG2 cannot hold; it says {rate}"
            )
        return rate or Fraction(25)

    def write(self, frame: RawFrame) -> None:
        """Write one frame's planes, and before the first the header."""
        self._check(frame, self._video)
        if not self._frames:
            self._send(y4m_header(self._video, self.pixel_format, self._tags, self._rate))
        self._send(b"FRAME\n")
        for plane in frame.planes:
            little = np.ascontiguousarray(plane, dtype=plane.dtype.newbyteorder("<"))
            self._send(little.data.cast("B"))
        self._frames += 1

    def _send(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        self._bytes += len(rest)
        with output_errors(self._name):
            while rest:
                rest = rest[os.write(self._handle, rest) :]

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """YUV4MPEG2 has no tags."""
        raise InvalidInput("tags for YUV4MPEG2", "a container that holds tags (mp4, mov, mkv)")

    def close(self) -> WriteReport:
        """Finish; a file gets its final name."""
        if self._report is not None:
            return self._report
        if self._closed or not self._frames:
            self.abort()
            raise OutputError(f"no frame was written to {self._name}")
        self._closed = True
        os.close(self._handle)
        if self._path is not None:
            self._path.commit()
        path = "-" if self._path is None else str(self._path.final)
        self._report = WriteReport(
            path, self._frames, self._bytes, tuple(self.warnings), self._streams
        )
        return self._report

    def abort(self) -> None:
        """Remove the temporary file; what went down a pipe is gone."""
        if self._closed:
            return
        self._closed = True
        os.close(self._handle)
        if self._path is not None:
            self._path.discard()
