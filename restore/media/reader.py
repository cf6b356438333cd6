"""Reads a clip frame by frame; decoding runs in a child process with limits."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

from restore.errors import DamagedMedia, InvalidInput
from restore.frames import ClipInfo, RawFrame
from restore.media.crop import Crop, cropped, cropped_info
from restore.media.feed import ChildFeed, Ended, Feed, PipeFeed, asks_for_card
from restore.media.isolate import DecodeLimits
from restore.media.y4m_in import is_y4m
from restore.time import FrameRange

__all__ = ["ClipReader", "DecodeLimits"]


class ClipReader:
    """A clip as a context manager and an iterator of :class:`~restore.frames.RawFrame`.

    Frames come as coded (not turned upright), in presentation order, with rising times. Decoding
    runs ahead by as much as ``limits.ring_bytes`` holds and then waits.

    Args:
        source: a media file, a picture, a folder of pictures, a pattern such as ``scan_%05d.png``,
            or ``-`` for YUV4MPEG2 on standard input.
        range: frames to deliver; the others are left out, so indices and times stay those of the
            source. All frames where None.
        strict: raise at the first damage instead of ending with a warning.
        limits: what the file may cost; the defaults where None.
        rate: frames per second of pictures; what they say themselves, or 25, where None.
        crop: sides that are cut off every picture; ``info`` says what is left.

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
        crop: Crop | None = None,
    ) -> None:
        limits = limits or DecodeLimits()
        self._source = str(source)
        self._range = range or FrameRange()
        self._strict = strict
        self.frames_read = 0
        self.damaged: tuple[FrameRange, ...] = ()
        self._done = False
        self._feed: Feed
        if self._source == "-":
            self._feed = PipeFeed(sys.stdin.buffer, "-", self._range, limits, rate)
        elif is_y4m(Path(self._source)):
            with ExitStack() as stack:
                file = stack.enter_context(Path(self._source).open("rb"))
                self._feed = PipeFeed(file, self._source, self._range, limits, rate)
                stack.pop_all()  # the feed closes it
        else:
            payload = {
                "source": self._source,
                "limits": asdict(limits),
                "start": self._range.start,
                "stop": self._range.stop,
                "strict": strict,
                "rate": str(rate) if rate is not None else None,
                "card": asks_for_card(),
            }
            self._feed = ChildFeed(payload, limits)
        self._finalizer = weakref.finalize(self, self._feed.close)
        self.info: ClipInfo = self._feed.info
        self._crop: Crop | None = None
        if crop is not None and not crop.is_nothing:
            self.info, self._crop = cropped_info(self.info, crop)
        self.warnings: tuple[str, ...] = self.info.warnings

    def __iter__(self) -> Iterator[RawFrame]:
        return self

    def __next__(self) -> RawFrame:
        if self._done:
            raise StopIteration
        try:
            answer = self._feed.read()
        except BaseException:
            self.close()
            raise
        if isinstance(answer, Ended):
            self.close()
            self._end(answer)
            raise StopIteration
        self.frames_read += 1
        return answer if self._crop is None else cropped(answer, self._crop)

    def _end(self, ended: Ended) -> None:
        """Book what the end says, and raise where nothing usable came of it."""
        self.warnings += ended.warnings
        for number, bad in enumerate(ended.damaged):
            last = number == len(ended.damaged) - 1
            what = "could not be decoded" if ended.cut_short and last else "are damaged"
            self.warnings += (f"frames [{bad.start}, {bad.stop}) {what}: {bad.why}",)
        self.damaged = tuple(FrameRange(bad.start, bad.stop) for bad in ended.damaged)
        if ended.error is not None and (self._strict or not self.frames_read):
            raise ended.error
        if self.frames_read:
            return
        if ended.cut_short:
            raise DamagedMedia(
                f"{self._source}: {self.warnings[-1]}", f"frames from {self._range.start} on"
            )
        raise InvalidInput(
            f"the range starts at frame {self._range.start}",
            f"a start below {ended.frames}, the number of frames that {self._source} has",
        )

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
