"""Chunks on the disk: FFV1 in Matroska, bit for bit what the stages gave.

The container keeps neither rational times nor what a flipped byte did (FFV1 decodes it without a
word), so times and the file's sha256 are the journal's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from restore.color import ColorSpec, Matrix, Range
from restore.errors import ChunkDamaged, InvalidInput
from restore.frames import PIXEL_FORMATS, PixelFormat, RawFrame
from restore.jobs.rows import FrameTime
from restore.media.master import ClipWriter, VideoSpec
from restore.media.profiles import PROFILES, Delivery
from restore.media.reader import ClipReader
from restore.media.writer import open_writer

__all__ = ["LosslessChunk", "check_chunk", "read_chunk", "stored_format"]

_BEAT = Fraction(1, 25)


def stored_format(fmt: PixelFormat) -> PixelFormat:
    """The layout in which frames of ``fmt`` lie in a chunk.

    Float samples are split into their upper and lower 16 bits, side by side in a plane of twice
    the width.

    Raises:
        InvalidInput: no layout of FFV1's holds these samples.
    """
    if fmt.is_float:
        name = {1: "gray16le", 3: "gbrp16le", 4: "gbrap16le"}.get(fmt.planes, "")
        return PIXEL_FORMATS[name]
    if fmt.name not in PROFILES["ffv1"].all_formats():
        raise InvalidInput(
            f"a durable job that delivers {fmt.name}",
            f"one of {', '.join(PROFILES['ffv1'].all_formats())}",
            "Choose another pixel format or delivery, or run without --resume.",
        )
    return fmt


def _split(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    bits = np.ascontiguousarray(plane, np.float32).view(np.uint32)
    return np.concatenate([(bits >> 16).astype(np.uint16), bits.astype(np.uint16)], axis=1)


def _joined(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    upper, lower = np.split(plane.astype(np.uint32), 2, axis=1)
    return ((upper << 16) | lower).view(np.float32)


class LosslessChunk:
    """A sink for the engine that keeps the frames of a chunk's core and drops its halo's.

    Args:
        path: of the file, which is there whole after :meth:`close` or not at all.
        fmt: layout of the frames.
        color: of the frames.
        start: first source frame of the core.
        stop: source frame behind the core; None where the clip's end decides.
    """

    def __init__(
        self, path: Path, fmt: PixelFormat, color: ColorSpec, start: int, stop: int | None
    ) -> None:
        self.path = path
        self.times: list[FrameTime] = []
        self._format, self._color = fmt, color
        self._stored = stored_format(fmt)
        self._start, self._stop = start, stop
        self._writer: ClipWriter | None = None

    @property
    def pixel_format(self) -> PixelFormat:
        """Layout that ``write`` takes."""
        return self._format

    @property
    def color(self) -> ColorSpec:
        """Colour that ``write`` takes."""
        return self._color

    def write(self, frame: RawFrame) -> None:
        """Keep a frame of the core."""
        if frame.index < self._start or (self._stop is not None and frame.index >= self._stop):
            return
        width = frame.width_px * (2 if self._format.is_float else 1)
        color = _plain(self._stored, self._color)
        if self._writer is None:
            video = VideoSpec(width, frame.height_px, _BEAT, color, frame_rate=1 / _BEAT)
            delivery = Delivery("ffv1", pixel_format=self._stored.name)
            self._writer = open_writer(str(self.path), delivery, video, overwrite=True)
        planes = frame.planes
        if self._format.is_float:
            planes = tuple(_split(plane) for plane in planes)
        self._writer.write(
            RawFrame(
                planes=planes,
                format=self._stored,
                width_px=width,
                height_px=frame.height_px,
                pts=len(self.times),
                time_base=_BEAT,
                color=color,
                index=len(self.times),
                duration=1,
            )
        )
        self.times.append(FrameTime(frame.pts, frame.time_base, frame.duration, frame.index))

    def close(self) -> tuple[str, int]:
        """Flush the file and give it its name.

        Returns:
            Its sha256 and length in bytes; an empty hash where the chunk holds no frame.
        """
        if self._writer is None:
            return "", 0
        self._writer.close()
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), self.path.stat().st_size

    def abort(self) -> None:
        """Remove what was written; harmless after :meth:`close`."""
        if self._writer is not None:
            self._writer.abort()


def _plain(fmt: PixelFormat, color: ColorSpec) -> ColorSpec:
    """Colour by which nothing is converted on the way to the disk and back."""
    if fmt.kind == "rgb":
        return color.with_(matrix=Matrix.RGB, range=Range.FULL)
    return color


def check_chunk(path: Path, sha256: str) -> None:
    """Hold a chunk's file against its hash.

    Raises:
        ChunkDamaged: it is missing or other bytes than were written.
    """
    if not sha256:
        return  # a chunk without frames has no file
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ChunkDamaged(f"chunk {path.name} cannot be read: {error.strerror}") from error
    if found != sha256:
        raise ChunkDamaged(f"chunk {path.name} has sha256 {found}", f"{sha256} as it was written")


def read_chunk(
    path: Path, fmt: PixelFormat, color: ColorSpec, times: Sequence[FrameTime]
) -> Iterator[RawFrame]:
    """Give a chunk's frames with their own times and colour.

    Raises:
        ChunkDamaged: another number of frames, or other samples, than the journal holds.
    """
    if not times:
        return
    count = 0
    with ClipReader(str(path), strict=True) as reader:
        for raw, when in zip(reader, times, strict=False):
            count += 1
            planes = raw.planes
            if fmt.is_float:
                planes = tuple(_joined(plane) for plane in planes)
            yield RawFrame(
                planes=planes,
                format=fmt,
                width_px=raw.width_px // (2 if fmt.is_float else 1),
                height_px=raw.height_px,
                pts=when.pts,
                time_base=when.time_base,
                color=color,
                index=when.index,
                duration=when.duration,
            )
    if count != len(times):
        raise ChunkDamaged(f"chunk {path.name} holds {count} frames", f"{len(times)}")
