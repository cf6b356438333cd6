"""Where the frames of a clip come from: a decode child, or a YUV4MPEG2 stream.

Both answer with a frame, or with :class:`Ended` after the last.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO, Protocol

from restore.errors import DamagedMedia, InvalidInput, RestoreError
from restore.frames import ClipInfo, PixelFormat, RawFrame, pixel_format
from restore.media.describe import clip_info_from_dict
from restore.media.isolate import DecodeLimits, Job, JobLost
from restore.media.planar import Plane, plane_views
from restore.media.wire import Message
from restore.media.y4m_in import Y4mStream
from restore.time import FrameRange

__all__ = ["Bad", "ChildFeed", "Ended", "Feed", "PipeFeed", "Ring", "asks_for_card"]

_MAX_SLOTS = 8
_PAGE_BYTES = 4096


@dataclass(frozen=True)
class Bad:
    """Damaged source frames ``[start, stop)`` and why."""

    start: int
    stop: int
    why: str


@dataclass(frozen=True)
class Ended:
    """The clip, its range, or the part of it that can be decoded is over.

    Attributes:
        frames: source frames gone through, those before the range included.
        warnings: what was found on the way.
        damaged: in order.
        cut_short: the last of ``damaged`` is where decoding had to stop.
        error: what a strict reader raises for it, where decoding was lost; else None.
    """

    frames: int
    warnings: tuple[str, ...] = ()
    damaged: tuple[Bad, ...] = ()
    cut_short: bool = False
    error: RestoreError | None = None


def asks_for_card() -> bool:
    """Whether ``RESTORE_DECODER`` asks for a GPU's decoder; see :mod:`restore.media.nvdec`.

    Raises:
        InvalidInput: it asks for something that is not known.
    """
    wanted = os.environ.get("RESTORE_DECODER", "software")
    if wanted not in ("software", "nvdec"):
        raise InvalidInput(f"RESTORE_DECODER={wanted}", "software or nvdec")
    return wanted == "nvdec"


class Feed(Protocol):
    """A source of frames."""

    info: ClipInfo

    def read(self) -> RawFrame | Ended:
        """The next frame of the range, or the end."""

    def close(self) -> None:
        """Stop; harmless when stopped before."""


def _shared_memory(size_bytes: int) -> int:
    """Descriptor of anonymous memory that another process can map."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("restore-frames")
        os.ftruncate(fd, size_bytes)
        return fd
    with tempfile.TemporaryFile() as file:
        file.truncate(size_bytes)
        return os.dup(file.fileno())


class Ring:
    """The program's end of the shared memory that a child writes frames to."""

    def __init__(self, form: PixelFormat, width_px: int, height_px: int, ring_bytes: int) -> None:
        size = form.frame_bytes(width_px, height_px)
        self.slot_bytes = -(-size // _PAGE_BYTES) * _PAGE_BYTES
        self.slots = max(2, min(_MAX_SLOTS, ring_bytes // self.slot_bytes))
        self.fd = _shared_memory(self.slots * self.slot_bytes)
        try:
            memory = memoryview(mmap.mmap(self.fd, self.slots * self.slot_bytes))
        except BaseException:
            os.close(self.fd)
            raise
        self._planes = [
            plane_views(memory[slot * self.slot_bytes :], form, width_px, height_px)
            for slot in range(self.slots)
        ]

    def take(self, slot: int) -> tuple[Plane, ...]:
        """Copies of a slot's planes."""
        return tuple(view.copy() for view in self._planes[slot])


class ChildFeed:
    """Frames from a decode child.

    Args:
        payload: request of :func:`restore.media.decode_child.decode_job`.
        limits: what the file may cost.

    Raises:
        RestoreError: the clip cannot be opened.
    """

    def __init__(self, payload: Mapping[str, Any], limits: DecodeLimits) -> None:
        self._source = str(payload["source"])
        self._next = int(payload["start"])
        self._job = Job("restore.media.decode_child:decode_job", payload, limits)
        try:
            message = self._job.recv()
            self.info = clip_info_from_dict(message["info"])
            self._format = pixel_format(message["format"])
            width, height = self.info.width_px, self.info.height_px
            if not 0 < width * height <= limits.max_pixels_px:
                raise DamagedMedia(f"{self._source}: picture of {width}x{height}")
            self._ring = Ring(self._format, width, height, limits.ring_bytes)
            slots, slot_bytes = self._ring.slots, self._ring.slot_bytes
            try:
                answer = {"t": "ring", "slots": slots, "slot_bytes": slot_bytes}
                self._job.send(answer, [self._ring.fd])
            finally:
                os.close(self._ring.fd)
        except JobLost as lost:
            self.close()
            raise lost.as_error(self._source) from None
        except BaseException:
            self.close()
            raise

    def read(self) -> RawFrame | Ended:
        """The next frame, or the end.

        Raises:
            RestoreError: what the child raises (damage, where it is strict).
        """
        try:
            message = self._job.recv()
        except JobLost as lost:
            declared = self.info.declared_frames or 0
            bad = Bad(self._next, max(self._next + 1, declared), lost.reason)
            error = lost.as_error(self._source)
            return Ended(self._next, damaged=(bad,), cut_short=True, error=error)
        if message.get("t") == "end":
            damaged = tuple(Bad(int(a), int(b), str(why)) for a, b, why in message["damaged"])
            warnings = tuple(str(text) for text in message["warnings"])
            return Ended(int(message["frames"]), warnings, damaged, bool(message["cut_short"]))
        try:
            return self._frame(message)
        except (KeyError, TypeError, ValueError):
            raise DamagedMedia(f"{self._source}: the decoder answers out of turn") from None

    def _frame(self, message: Message) -> RawFrame:
        slot = int(message["slot"])
        if not 0 <= slot < self._ring.slots:
            raise ValueError(slot)
        planes = self._ring.take(slot)
        self._job.send({"slot": slot})
        duration = message["duration"]
        self._next = int(message["index"]) + 1
        return RawFrame(
            planes=planes,
            format=self._format,
            width_px=self.info.width_px,
            height_px=self.info.height_px,
            pts=int(message["pts"]),
            time_base=self.info.time_base,
            color=self.info.resolved_color,
            index=self._next - 1,
            duration=None if duration is None else int(duration),
            woven=self.info.field_order.has_fields,
        )

    def close(self) -> None:
        """End the child."""
        self._job.close()


class PipeFeed:
    """Frames from a YUV4MPEG2 pipe.

    Args:
        stream: binary, positioned at the header; closed with the feed unless it is standard input.
        source: its name; ``-`` for standard input.
        wanted: frames to deliver; nothing behind it is read.
        limits: the largest picture counts here.
        rate: frames per second where the stream does not say.

    Raises:
        RestoreError: not YUV4MPEG2, an unknown tag, or too large a picture.
    """

    def __init__(
        self,
        stream: BinaryIO,
        source: str,
        wanted: FrameRange,
        limits: DecodeLimits,
        rate: Fraction | None,
    ) -> None:
        self._stream = stream
        self._is_file = source != "-"
        size_bytes = os.fstat(stream.fileno()).st_size if self._is_file else None
        clip = Y4mStream(
            stream,
            max_pixels_px=limits.max_pixels_px,
            rate=rate,
            source=source,
            size_bytes=size_bytes,
        )
        self.info = clip.info
        self._frames = clip.frames()
        self._wanted = wanted
        self._next = 0

    def read(self) -> RawFrame | Ended:
        """The next frame of the range, or the end."""
        while self._wanted.stop is None or self._next < self._wanted.stop:
            try:
                frame = next(self._frames, None)
            except DamagedMedia as problem:
                declared = self.info.declared_frames or 0
                bad = Bad(self._next, max(self._next + 1, declared), problem.came)
                return Ended(self._next, damaged=(bad,), cut_short=True, error=problem)
            if frame is None:
                break
            self._next += 1
            if frame.index in self._wanted:
                return frame
        return Ended(self._next)

    def close(self) -> None:
        """Close a file; leave standard input where it is."""
        if self._is_file:
            self._stream.close()
