"""Decodes packets that come from elsewhere than a file, as confined as those of files."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction

from restore.errors import DamagedMedia, UnsupportedMedia
from restore.frames import PixelFormat
from restore.media.feed import Ring
from restore.media.isolate import DecodeLimits, Job, JobLost
from restore.media.planar import Plane
from restore.media.wire import Message

__all__ = ["CODECS", "MOST_EXTRADATA_BYTES", "CodedPacket", "PacketDecoder", "Picture"]

#: Codecs whose packets are taken. None of them opens anything or refers to anything outside.
CODECS = (
    *("h264", "hevc", "av1", "vp9", "mpeg2video", "mpeg4"),
    *("mjpeg", "prores", "dnxhd", "ffv1"),
)
MOST_EXTRADATA_BYTES = 64 << 10


@dataclass(frozen=True)
class CodedPacket:
    """One packet.

    Attributes:
        data: of the codec.
        pts: presentation time in the decoder's time base.
        dts: decoding time; None where the order is all that is known.
        duration: in the time base; 0 where unknown.
        is_key: decoding can begin here.
    """

    data: bytes
    pts: int
    dts: int | None = None
    duration: int = 0
    is_key: bool = False


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        planes: as :class:`~restore.frames.RawFrame` has them.
        pts: in the decoder's time base.
        duration: in the time base; 0 where unknown.
    """

    planes: tuple[Plane, ...]
    pts: int
    duration: int


class PacketDecoder:
    """A decoder in a child process with limits.

    Args:
        codec: one of :data:`CODECS`.
        extradata: what a container keeps beside the packets; empty where there is none.
        time_base: of the times, in seconds.
        form: planar format that pictures must have.
        width_px: that pictures must have.
        height_px: that pictures must have.
        limits: what decoding may cost.

    Raises:
        UnsupportedMedia: another codec, or extradata beyond 64 KiB.
    """

    def __init__(
        self,
        codec: str,
        extradata: bytes,
        time_base: Fraction,
        form: PixelFormat,
        width_px: int,
        height_px: int,
        limits: DecodeLimits,
    ) -> None:
        if codec not in CODECS:
            raise UnsupportedMedia(f"packets of {codec[:40]!r}", f"one of {', '.join(CODECS)}")
        if len(extradata) > MOST_EXTRADATA_BYTES:
            raise UnsupportedMedia(
                f"extradata of {len(extradata)} bytes", f"at most {MOST_EXTRADATA_BYTES}"
            )
        payload = {
            "codec": codec,
            "extradata": base64.b64encode(extradata).decode(),
            "time_base": str(time_base),
            "format": form.name,
            "width_px": width_px,
            "height_px": height_px,
            "limits": asdict(limits),
        }
        self._job = Job("restore.media.packets_child:packets_job", payload, limits)
        try:
            self._ring = Ring(form, width_px, height_px, limits.ring_bytes)
            try:
                told = {"t": "ring", "slots": self._ring.slots, "slot_bytes": self._ring.slot_bytes}
                self._job.send(told, [self._ring.fd])
            finally:
                os.close(self._ring.fd)
        except BaseException:
            self.close()
            raise

    def pictures(self, packets: Iterator[CodedPacket]) -> Iterator[Picture]:
        """Pictures in presentation order; a packet is taken when the decoder needs it.

        Raises:
            DamagedMedia: packets that cannot be decoded, or that crash the decoder; pictures of
                another size or layout than was said.
            UnsafeMedia: a limit was hit.
        """
        while True:
            try:
                message = self._job.recv()
            except JobLost as lost:
                raise lost.as_error("packets") from None
            kind = message.get("t")
            if kind == "end":
                return
            if kind == "more":
                packet = next(packets, None)
                self._job.send({"t": "ended"} if packet is None else _told(packet))
                continue
            try:
                picture = self._picture(message)
            except (KeyError, TypeError, ValueError):
                raise DamagedMedia("packets: the decoder answers out of turn") from None
            yield picture

    def _picture(self, message: Message) -> Picture:
        slot = int(message["slot"])
        if not 0 <= slot < self._ring.slots:
            raise ValueError(slot)
        planes = self._ring.take(slot)
        self._job.send({"t": "slot", "slot": slot})
        return Picture(planes, int(message["pts"]), int(message["duration"]))

    def close(self) -> None:
        """End the child; harmless when it has ended."""
        self._job.close()


def _told(packet: CodedPacket) -> Message:
    return {
        "t": "packet",
        "data": base64.b64encode(packet.data).decode(),
        "pts": packet.pts,
        "dts": packet.dts,
        "duration": packet.duration,
        "is_key": packet.is_key,
    }
