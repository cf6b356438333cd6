"""YUV4MPEG2 on standard output or into a file: a text header, then raw planes.

The format is described by mjpegtools' yuv4mpeg(5); the names of deep formats and XCOLORRANGE follow
FFmpeg, which is what reads them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from restore.color import ChromaSite, Range
from restore.errors import InvalidInput, OutputError
from restore.frames import PixelFormat, RawFrame
from restore.media.atomic import AtomicPath, output_errors
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


def y4m_header(
    video: VideoSpec, layout: PixelFormat, site: ChromaSite, rate: Fraction, full: bool
) -> bytes:
    """The stream header line."""
    sar = video.sample_aspect_ratio
    chroma = _chroma_name(layout, site)
    words = [
        "YUV4MPEG2",
        f"W{video.width_px}",
        f"H{video.height_px}",
        f"F{rate.numerator}:{rate.denominator}",
        "Ip",
        f"A{sar.numerator}:{sar.denominator}",
        f"C{chroma}",
        f"XYSCSS={'400' if layout.kind == 'gray' else chroma.upper()}",
        f"XCOLORRANGE={'FULL' if full else 'LIMITED'}",
    ]
    return " ".join(words).encode("ascii") + b"\n"


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
            full = self.color.range is Range.FULL
            site = self.color.chroma_site
            self._send(y4m_header(self._video, self.pixel_format, site, self._rate, full))
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
