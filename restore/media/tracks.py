"""One stream of the source on its way into the output: which packets, and at what time."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.audio.stream import AudioStream
from av.stream import Stream

from restore.time import rescale

if TYPE_CHECKING:
    AnyPacket = av.Packet[Stream]

__all__ = ["CopiedTrack", "Cut", "Track"]


@dataclass(frozen=True)
class Cut:
    """The part of the source that is written, in seconds of source time.

    Attributes:
        origin_s: what becomes time 0.
        is_cut: whether anything is left out at all.
        trims_start: the container hides sound before time 0 (edit lists), so beside the packet
            across the start the one before it is kept, which audio decoders need to settle.
    """

    origin_s: Fraction = Fraction(0)
    is_cut: bool = False
    trims_start: bool = False


class Track(ABC):
    """A stream of the source and what is made of it."""

    outcome = "copied"

    def __init__(self, source: Stream, target: Stream, detail: str = "") -> None:
        self.source = source
        self.target = target
        self.detail = detail
        self.packets = 0
        self.damaged = 0
        self.cut = Cut()

    @abstractmethod
    def time_base(self) -> Fraction | None:
        """Unit of the written stream."""

    @abstractmethod
    def take(self, packet: AnyPacket) -> Iterator[AnyPacket]:
        """Packets to mux now that this one of the source has come."""

    def finish(self) -> Iterator[AnyPacket]:
        """Packets that were held back."""
        return iter(())


class CopiedTrack(Track):
    """Payloads unchanged; times shifted to the output's."""

    def __init__(self, source: Stream, target: Stream, detail: str = "") -> None:
        super().__init__(source, target, detail)
        self._before: AnyPacket | None = None
        self._began = False
        self._last: int | None = None
        self._clock = _SampleClock(source) if isinstance(source, AudioStream) else None

    def time_base(self) -> Fraction | None:
        """Unit of the source's packets, which the copy keeps where the container can."""
        return self.source.time_base

    def take(self, packet: AnyPacket) -> Iterator[AnyPacket]:
        """The packet, in output time, unless it lies before the cut."""
        if self.cut.is_cut and not self._began and not self._begins(packet):
            return
        if not self._began:
            self._began = True
            if self._before is not None:
                yield self._ready(self._before)
                self._before = None
        yield self._ready(packet)

    def _begins(self, packet: AnyPacket) -> bool:
        """Whether this packet is the first to write; holds back the one before it."""
        if packet.pts is None:
            return False
        start = packet.pts * packet.time_base - self.cut.origin_s
        stop = start + (packet.duration or 0) * packet.time_base
        if self.source.type == "audio":
            if stop <= 0 and self.cut.trims_start:
                self._before = packet
            return stop > 0
        if self.source.type == "subtitle" and start < 0 < stop:
            left_out = -start / packet.time_base
            packet.pts += round(left_out)
            packet.dts = packet.pts
            packet.duration = max(1, round(stop / packet.time_base))
            return True
        if self.source.type == "video" and not packet.is_keyframe:
            return False
        return start >= 0

    def _ready(self, packet: AnyPacket) -> AnyPacket:
        self.packets += 1
        if self._clock is not None:
            self.damaged += self._clock.refine(packet)
        if self.cut.origin_s:
            shift = round(self.cut.origin_s / packet.time_base)
            if packet.pts is not None:
                packet.pts -= shift
            if packet.dts is not None:
                packet.dts -= shift
        packet.stream = self.target
        self._keep_order(packet)
        return packet

    def _keep_order(self, packet: AnyPacket) -> None:
        """Bring times to the output's unit and make dts rise: muxers stop at one that does not."""
        unit = self.target.time_base
        if unit is None or packet.dts is None:
            return
        source = packet.time_base
        stamp = rescale(packet.dts, source, unit)
        if self._last is not None:
            least = self._last if self.source.type == "subtitle" else self._last + 1
            if stamp < least:
                self.damaged += least - stamp > 1
                stamp = least
        self._last = stamp
        pts = stamp if packet.pts is None else rescale(packet.pts, source, unit)
        length = rescale(packet.duration or 0, source, unit)
        if not 0 <= length < 2**31:  # what muxers take; more is damage
            self.damaged += 1
            length = 0
        packet.time_base = unit
        packet.dts, packet.pts, packet.duration = stamp, max(pts, stamp), length


_CONSTANT_LENGTHS = {"ac3": 1536}


def _pcm_sample_bytes(codec: str) -> int:
    """Bytes of one sample of uncompressed sound; 0 for anything else."""
    if codec in ("pcm_alaw", "pcm_mulaw"):
        return 1
    match = re.fullmatch(r"pcm_[suf](8|16|24|32|64)(le|be)?", codec)
    return int(match[1]) // 8 if match else 0


class _SampleClock:
    """Puts coarse audio times (1 ms in Matroska) back on the grid of samples.

    A packet that lies within one unit of where the samples before it end begins exactly there;
    without this, a container that counts samples gets gaps and overlaps of up to a unit.
    """

    def __init__(self, source: AudioStream) -> None:
        context = source.codec_context
        self._rate = context.sample_rate
        self._length = context.frame_size or _CONSTANT_LENGTHS.get(context.name, 0)
        self._sample_bytes = _pcm_sample_bytes(context.name) * context.layout.nb_channels
        if context.codec.canonical_name == "flac" and context.extradata:
            shortest, longest = context.extradata[:2], context.extradata[2:4]  # RFC 9639, 8.2
            self._length = int.from_bytes(longest, "big") if shortest == longest else 0
        coarse = (
            source.time_base is not None
            and self._rate
            and source.time_base > Fraction(1, self._rate)
        )
        self._is_used = bool(coarse and (self._length or self._sample_bytes))
        self._next: int | None = None

    def refine(self, packet: AnyPacket) -> bool:
        """Place the packet; True where it overlapped the one before and was moved behind it."""
        if not self._is_used or packet.pts is None:
            return False
        unit = Fraction(1, self._rate)
        start_s = packet.pts * packet.time_base
        late_s = Fraction(0) if self._next is None else self._next * unit - start_s
        overlaps = late_s > packet.time_base
        if self._next is not None and late_s >= -packet.time_base:
            start = self._next
        else:
            start = round(start_s / unit)
        length = packet.size // self._sample_bytes if self._sample_bytes else self._length
        packet.time_base = unit
        packet.pts = packet.dts = start
        packet.duration = length
        self._next = start + length
        return overlaps
