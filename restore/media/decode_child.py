"""The decode job: runs in a child, hands frames over through a ring of shared memory."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from restore.errors import DamagedMedia, InvalidInput, MediaError, UnsupportedMedia
from restore.frames import PixelFormat
from restore.media.container_in import Beat, Damage, Decoded, decode_frames, open_video
from restore.media.describe import clip_info_to_dict
from restore.media.examine import Opened, open_clip
from restore.media.image_names import is_pattern
from restore.media.images_in import is_image, open_images
from restore.media.native_log import NativeLog
from restore.media.nvdec import ByCard, card, checked, refusal
from restore.media.planar import Plane, plane_views
from restore.media.seeking import pictures_from
from restore.media.timing import Timeline
from restore.media.unpack import Unpacker
from restore.media.wire import Channel, ChannelClosed
from restore.time import FrameRange

__all__ = ["ChildRing", "decode_job", "probe_job"]

_COMPLAINTS_KEPT = 3
_LOGGED_AHEAD = 32


@dataclass
class _Bad:
    """A run of damaged frames ``[start, stop)`` and the first reason given."""

    start: int
    stop: int
    why: str


class ChildRing:
    """The child's end of the shared memory: slots are filled here and freed by the program.

    Args:
        channel: to the program, which sends the memory next.
        form: of the frames.
        width_px: of the frames.
        height_px: of the frames.
    """

    def __init__(self, channel: Channel, form: PixelFormat, width_px: int, height_px: int) -> None:
        self._channel = channel
        message, fds = channel.recv()
        if message.get("t") != "ring" or len(fds) != 1:
            raise ChannelClosed("no ring")
        slots, slot_bytes = int(message["slots"]), int(message["slot_bytes"])
        memory = memoryview(mmap.mmap(fds[0], slots * slot_bytes))
        os.close(fds[0])
        self._planes: list[Sequence[Plane]] = [
            plane_views(memory[i * slot_bytes : (i + 1) * slot_bytes], form, width_px, height_px)
            for i in range(slots)
        ]
        self._free = list(range(slots))

    def slot(self) -> tuple[int, Sequence[Plane]]:
        """A free slot; waits for the program to free one."""
        while not self._free:
            message, _ = self._channel.recv()
            self.freed(int(message["slot"]))
        number = self._free.pop()
        return number, self._planes[number]

    def freed(self, number: int) -> None:
        """The program has read a slot."""
        self._free.append(number)


class _Delivery:
    """Sends the frames of a range, keeps times rising and books what is damaged."""

    def __init__(self, channel: Channel, opened: Opened, wanted: FrameRange, strict: bool) -> None:
        info = opened.info
        self._channel = channel
        self._opened = opened
        self._ways = {opened.unpacker.source: opened.unpacker}
        self._pictures = opened.pictures
        self._wanted = wanted
        self._strict = strict
        self._timeline = Timeline(info.time_base, info.frame_rate)
        self._size = (info.width_px, info.height_px)
        self._bad: list[_Bad] = []
        self._complaints: list[str] = []
        self._complained_at = 0
        self._notes: list[str] = []
        self.index = 0

    def by_card(self, open_it: Callable[[], Iterator[Decoded]]) -> None:
        """Take the pictures from a GPU's decoder where they are the same; notes say which."""

        def told(way: Unpacker) -> None:
            self._ways[way.source] = way

        def found() -> ByCard:
            return ByCard(open_it(), told)

        way = self._opened.unpacker
        self._pictures = checked(self._pictures, way, found, self._notes.append)

    def skip_to(self, pictures: Iterator[Decoded]) -> None:
        """Take the range's frames from ``pictures``, whose first one is its start."""
        self._pictures = pictures
        self.index = self._wanted.start

    def run(self, max_frames: int) -> None:
        """Deliver until the range, the clip or the undamaged part of it ends."""
        ring = ChildRing(self._channel, self._opened.unpacker.target, *self._size)
        stopped = ""
        try:
            for picture in self._pictures:
                if self._wanted.stop is not None and self.index >= self._wanted.stop:
                    break
                if self.index >= max_frames:
                    self._notes.append(f"the limit of {max_frames} frames cuts the rest off")
                    break
                self._check(picture)
                self._deliver(ring, picture)
                self.index += 1
        except Damage as problem:
            stopped = str(problem)
            self._mark(self.index, max(self.index + 1, self._expected()), stopped, is_lost=True)
        self._finish(cut_short=bool(stopped))

    def _expected(self) -> int:
        """Frames that the clip would have, by all that it says."""
        info, scan = self._opened.info, self._opened.scan
        expected = info.declared_frames or 0
        if scan is not None and scan.problem and info.duration and info.frame_rate:
            expected = max(expected, round(info.duration * info.frame_rate))
        return expected or (scan.packets if scan is not None else 0)

    def _check(self, picture: Decoded) -> None:
        frame = picture.frame
        if (frame.width, frame.height) != self._size:
            was, now = "{}x{}".format(*self._size), f"{frame.width}x{frame.height}"
            raise Damage(f"the picture changes from {was} to {now}")
        if frame.format.name not in self._ways:
            was = self._opened.unpacker.source
            raise Damage(f"the pixel format changes from {was} to {frame.format.name}")
        if picture.is_damaged:
            why = picture.complaints[0] if picture.complaints else "marked as damaged"
            self._mark(self.index, self.index + 1, why)
        elif picture.complaints:
            self._complain(picture.complaints[0])
        self._fail_if_strict(at_end=False)

    def _complain(self, text: str) -> None:
        """Keep the first few complaints that name no frame for certain."""
        if self.index not in self._wanted:
            return
        if not self._complaints:
            self._complained_at = self.index
        if len(self._complaints) < _COMPLAINTS_KEPT:
            self._complaints.append(f"around frame {self.index} the decoder complained: {text}")

    def _fail_if_strict(self, *, at_end: bool) -> None:
        """Give decoder threads, which log ahead, time to name the frame before failing."""
        due = at_end or self.index > self._complained_at + _LOGGED_AHEAD
        if self._strict and self._complaints and due:
            raise self._strict_error(self._complaints[0])

    def _deliver(self, ring: ChildRing, picture: Decoded) -> None:
        frame, times = picture.frame, self._opened.times
        if times is not None and self.index < len(times):
            pts = self._timeline.place(times[self.index])
        else:
            pts = self._timeline.place(frame.pts if frame.pts is not None else frame.dts)
        if self.index not in self._wanted:
            return
        number, planes = ring.slot()
        self._ways[frame.format.name].unpack(frame, planes)
        duration = frame.duration if frame.duration > 0 else None
        self._channel.send(
            {"t": "frame", "slot": number, "index": self.index, "pts": pts, "duration": duration}
        )

    def _mark(self, start: int, stop: int, why: str, *, is_lost: bool = False) -> None:
        """Book damage; what lies before the range is none of this reader's business."""
        if stop <= self._wanted.start:
            return
        if self._strict:
            raise self._strict_error(f"frame {start} is damaged: {why}")
        if self._bad and self._bad[-1].stop == start and not is_lost:
            self._bad[-1].stop = stop
        else:
            self._bad.append(_Bad(start, stop, why))

    def _strict_error(self, text: str) -> DamagedMedia:
        return DamagedMedia(
            f"{self._opened.info.source}: {text}",
            "an undamaged clip",
            "Leave strict off to take what can be decoded.",
        )

    def _finish(self, *, cut_short: bool) -> None:
        self._fail_if_strict(at_end=True)
        warnings = [*self._timeline.warnings(), *self._complaints, *self._notes]
        if not cut_short and self._wanted.stop is None:
            cut_short = self._is_cut_short()
        damaged = [[bad.start, bad.stop, bad.why] for bad in self._bad[:10_000]]
        self._channel.send(
            {
                "t": "end",
                "frames": self.index,
                "warnings": warnings,
                "damaged": damaged,
                "cut_short": cut_short,
            }
        )

    def _is_cut_short(self) -> bool:
        """Whether the file just stops, by what reading all of it said; books what is missing."""
        scan = self._opened.scan
        if scan is None or not (scan.problem or scan.damaged):
            return False
        expected = self._expected()
        if self.index >= expected:  # whatever is missing was no frame
            return False
        self._mark(self.index, expected, scan.problem or "packets are cut short", is_lost=True)
        return True


def _open(payload: dict[str, Any], log: NativeLog, beat: Beat) -> Opened:
    """Open whatever a source names: a container, a picture, a folder or a pattern."""
    source, limits = payload["source"], payload["limits"]
    rate = Fraction(payload["rate"]) if payload["rate"] else None
    path = Path(source)
    if path.is_dir() or is_pattern(source) or is_image(path):
        return open_images(source, limits, log, beat, rate)
    return open_clip(source, limits, log, beat, scan=True)


def _by_card(
    path: Path, opened: Opened, start: int, limits: dict[str, Any], log: NativeLog, beat: Beat
) -> Iterator[Decoded]:
    """A clip's pictures from number ``start`` on, decoded by a GPU.

    Raises:
        InvalidInput: it is not for one.
        MediaError: the GPU does not take it.
    """
    if opened.scan is None:
        raise InvalidInput("pictures one by one")
    if why := refusal(opened.info.codec, opened.unpacker.source):
        raise InvalidInput(why)
    try:
        container, stream = open_video(path, limits, log, card())
    except MediaError as error:
        raise InvalidInput(f"the driver gives no decoder ({error.came})") from error
    except RuntimeError as error:  # PyAV's word for a decoder without a way to a GPU: libdav1d
        raise InvalidInput(f"FFmpeg's decoder of {opened.info.codec} has no GPU's") from error
    if not start:
        return decode_frames(container, stream, log, beat)
    pictures = pictures_from(container, stream, opened.scan, start, log, beat)
    if pictures is None:
        raise InvalidInput(f"it does not find frame {start}")
    return pictures


def decode_job(channel: Channel, payload: dict[str, Any]) -> None:
    """Describe a clip, then deliver its frames as the program takes them.

    Args:
        channel: to the program.
        payload: ``source``, ``limits``, ``start``, ``stop``, ``strict``, ``rate``, ``card``.
    """
    limits = payload["limits"]
    log = NativeLog()
    beat = Beat(channel, int(limits["cpu_s"]))
    opened = _open(payload, log, beat)
    channel.send(
        {"t": "info", "info": clip_info_to_dict(opened.info), "format": opened.unpacker.target.name}
    )
    wanted = FrameRange(int(payload["start"]), payload["stop"])
    delivery = _Delivery(channel, opened, wanted, payload["strict"])
    path, skips = Path(payload["source"]), False
    if wanted.start and opened.scan is not None:
        container, stream = open_video(path, limits, log)
        pictures = pictures_from(container, stream, opened.scan, wanted.start, log, beat)
        if pictures is not None:
            skips = True
            delivery.skip_to(pictures)
    if payload["card"]:
        start = wanted.start if skips else 0
        delivery.by_card(partial(_by_card, path, opened, start, limits, log, beat))
    try:
        delivery.run(limits["max_frames"])
    except UnsupportedMedia as problem:
        raise UnsupportedMedia(f"{payload['source']}: {problem.came}", problem.expected) from None


def probe_job(channel: Channel, payload: dict[str, Any]) -> None:
    """Describe a clip; count its frames by decoding them where ``count`` asks for it.

    Args:
        channel: to the program.
        payload: ``source``, ``limits``, ``count``, ``rate``.
    """
    limits = payload["limits"]
    log = NativeLog()
    beat = Beat(channel, int(limits["cpu_s"]))
    opened = _open(payload, log, beat)
    info = clip_info_to_dict(opened.info)
    if payload["count"]:
        count = 0
        try:
            for _ in opened.pictures:
                count += 1
                if count >= limits["max_frames"]:
                    break
        except Damage as problem:
            info["warnings"].append(f"frames from {count} on could not be decoded: {problem}")
        info["decoded_frames"] = count
    channel.send({"t": "info", "info": info})
