"""Reads a clip frame by frame; decoding runs in a child process with limits."""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from types import TracebackType
from typing import Self

import numpy as np

from restore.errors import DamagedMedia, InvalidInput
from restore.frames import ClipInfo, PixelFormat, RawFrame, pixel_format
from restore.media.describe import clip_info_from_dict
from restore.media.isolate import DecodeLimits, Job, JobLost
from restore.media.unpack import plane_views
from restore.media.wire import Message
from restore.time import FrameRange

__all__ = ["ClipReader", "DecodeLimits"]

_MAX_SLOTS = 8


def _shared_memory(size_bytes: int) -> int:
    """Descriptor of anonymous memory that another process can map."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("restore-frames")
        os.ftruncate(fd, size_bytes)
        return fd
    with tempfile.TemporaryFile() as file:
        file.truncate(size_bytes)
        return os.dup(file.fileno())


class _Ring:
    """The program's end of the shared memory."""

    def __init__(self, form: PixelFormat, width_px: int, height_px: int, ring_bytes: int) -> None:
        self.slot_bytes = -(-form.frame_bytes(width_px, height_px) // 4096) * 4096
        self.slots = max(2, min(_MAX_SLOTS, ring_bytes // self.slot_bytes))
        self.fd = _shared_memory(self.slots * self.slot_bytes)
        self._shape = (form, width_px, height_px)
        self._memory = memoryview(mmap.mmap(self.fd, self.slots * self.slot_bytes))

    def take(self, slot: int) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.generic]], ...]:
        """Copies of a slot's planes."""
        start = slot * self.slot_bytes
        views = plane_views(self._memory[start : start + self.slot_bytes], *self._shape)
        return tuple(view.copy() for view in views)

    def close_fd(self) -> None:
        """Give the descriptor back; the mapping stays."""
        os.close(self.fd)


class ClipReader:
    """A clip as a context manager and an iterator of :class:`~restore.frames.RawFrame`.

    Frames come as coded (not turned upright), in presentation order, with rising times. Decoding
    runs ahead by as much as ``limits.ring_bytes`` holds and then waits.

    Args:
        source: a media file, a picture, a folder of pictures, a pattern such as ``scan_%05d.png``.
        range: frames to deliver; the others are decoded and left out, so indices and times stay
            those of the source.
        strict: raise at the first damage instead of ending with a warning.
        limits: what the file may cost; the defaults where None.
        rate: frames per second of pictures without a rate of their own; 25 where None.

    Attributes:
        info: description of the clip.
        frames_read: frames delivered so far.
        warnings: what is odd about the clip, complete after the last frame.
        damaged: ranges of source frames that are damaged or missing, complete after the last frame.

    Raises:
        InvalidInput: no such file, empty, or a range behind its end.
        UnsafeMedia: a refused format, or a limit was hit.
        UnsupportedMedia: no media, no video in it, or no decoder for it.
        DamagedMedia: no picture can be decoded; with ``strict``, any damage.
    """

    def __init__(
        self,
        source: str,
        *,
        range: FrameRange | None = None,
        strict: bool = False,
        limits: DecodeLimits | None = None,
        rate: Fraction | None = None,
    ) -> None:
        self._limits = limits or DecodeLimits()
        self._source = str(source)
        self._range = range or FrameRange()
        self._strict = strict
        self.frames_read = 0
        self.damaged: tuple[FrameRange, ...] = ()
        self._done = False
        self._next = self._range.start
        payload = {
            "source": self._source,
            "limits": asdict(self._limits),
            "start": self._range.start,
            "stop": self._range.stop,
            "strict": strict,
            "scan": True,
            "rate": str(rate) if rate is not None else None,
        }
        self._job = Job("restore.media.decode_child:decode_job", payload, self._limits)
        self._finalizer = weakref.finalize(self, self._job.close)
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        message = self._receive()
        self.info: ClipInfo = clip_info_from_dict(message["info"])
        self.warnings: tuple[str, ...] = self.info.warnings
        self._format = pixel_format(message["format"])
        info = self.info
        pixels = info.width_px * info.height_px
        if not 0 < pixels <= self._limits.max_pixels_px:
            raise DamagedMedia(f"{self._source}: picture of {info.width_px}x{info.height_px}")
        ring_bytes = self._limits.ring_bytes
        self._ring = _Ring(self._format, info.width_px, info.height_px, ring_bytes)
        slots, slot_bytes = self._ring.slots, self._ring.slot_bytes
        try:
            message = {"t": "ring", "slots": slots, "slot_bytes": slot_bytes}
            self._job.send(message, [self._ring.fd])
        finally:
            self._ring.close_fd()

    def _receive(self) -> Message:
        try:
            return self._job.recv()
        except JobLost as lost:
            raise lost.as_error(self._source) from None

    def __iter__(self) -> Iterator[RawFrame]:
        return self

    def __next__(self) -> RawFrame:
        if self._done:
            raise StopIteration
        try:
            message = self._job.recv()
        except JobLost as lost:
            self._lose(lost)
            raise StopIteration from None
        except BaseException:
            self.close()
            raise
        if message.get("t") == "end":
            self._end(message)
            raise StopIteration
        return self._frame(message)

    def _frame(self, message: Message) -> RawFrame:
        slot, info = int(message["slot"]), self.info
        if not 0 <= slot < self._ring.slots:
            self.close()
            raise DamagedMedia(f"{self._source}: the decoder answers out of turn")
        planes = self._ring.take(slot)
        self._job.send({"slot": slot})
        duration = message["duration"]
        frame = RawFrame(
            planes=planes,
            format=self._format,
            width_px=info.width_px,
            height_px=info.height_px,
            pts=int(message["pts"]),
            time_base=info.time_base,
            color=info.resolved_color,
            index=int(message["index"]),
            duration=None if duration is None else int(duration),
        )
        self.frames_read += 1
        self._next = frame.index + 1
        return frame

    def _lose(self, lost: JobLost) -> None:
        """The child is gone in the middle: the same as damage from here on."""
        self.close()
        if self._strict or not self.frames_read:
            raise lost.as_error(self._source)
        last = max(self._next + 1, self.info.declared_frames or 0)
        self._note([(self._next, last, lost.reason)], cut_short=True)

    def _end(self, message: Message) -> None:
        self.close()
        self.warnings += tuple(str(text) for text in message["warnings"])
        bad = [(int(start), int(stop), str(why)) for start, stop, why in message["damaged"]]
        self._note(bad, cut_short=bool(message["cut_short"]))
        if not self.frames_read:
            raise InvalidInput(
                f"the range starts at frame {self._range.start}",
                f"a start below {message['frames']}, the frames that {self._source} has",
            )

    def _note(self, bad: list[tuple[int, int, str]], *, cut_short: bool) -> None:
        for number, (start, stop, why) in enumerate(bad):
            lost = cut_short and number == len(bad) - 1
            what = "could not be decoded" if lost else "are damaged"
            self.warnings += (f"frames [{start}, {stop}) {what}: {why}",)
        self.damaged += tuple(FrameRange(start, stop) for start, stop, _ in bad)

    def close(self) -> None:
        """End the child; harmless when closed before."""
        self._done = True
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
