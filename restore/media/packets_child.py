"""The job that decodes packets which a program hands over one by one, in a child with limits."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

from restore.errors import DamagedMedia, UnsafeMedia
from restore.frames import PixelFormat, pixel_format
from restore.media.container_in import Beat, Damage, Decoded, confine_decoder, decode_packets
from restore.media.decode_child import ChildRing
from restore.media.native_log import NativeLog
from restore.media.padded import padded_packet
from restore.media.unpack import Unpacker
from restore.media.wire import Channel

__all__ = ["packets_job"]


class _Arriving:
    """Packets as the program sends them; the next one is asked for when it is needed."""

    def __init__(self, channel: Channel, ring: ChildRing, time_base: Fraction) -> None:
        self._channel, self._ring, self._time_base = channel, ring, time_base

    def __iter__(self) -> Iterator[Packet[Any]]:
        return self

    def __next__(self) -> Packet[Any]:
        self._channel.send({"t": "more"})
        while True:
            message, _ = self._channel.recv()
            if message["t"] == "ended":
                raise StopIteration
            if message["t"] == "packet":
                break
            self._ring.freed(int(message["slot"]))
        packet = padded_packet(base64.b64decode(message["data"]))
        packet.pts, packet.dts = message["pts"], message["dts"]
        packet.duration = message["duration"]
        packet.time_base = self._time_base
        packet.is_keyframe = message["is_key"]
        return packet


def packets_job(channel: Channel, payload: dict[str, Any]) -> None:
    """Decode packets into a ring of frames until the program says that there are no more.

    Args:
        channel: to the program.
        payload: ``codec``, ``extradata`` (base64), ``time_base``, ``format``, ``width_px``,
            ``height_px``, ``limits``.
    """
    log, limits = NativeLog(), payload["limits"]
    form, size = pixel_format(payload["format"]), (payload["width_px"], payload["height_px"])
    ring = ChildRing(channel, form, *size)
    context = av.CodecContext.create(payload["codec"], "r")
    if not isinstance(context, VideoCodecContext):
        raise UnsafeMedia(f"codec {payload['codec']}", "one of moving pictures")
    extradata = base64.b64decode(payload["extradata"])
    if extradata:
        context.extradata = extradata
    context.width, context.height = size
    confine_decoder(context, limits)
    # Threads that each take a frame would hold back as many frames as there are threads.
    context.thread_type = "SLICE"
    arriving = _Arriving(channel, ring, Fraction(payload["time_base"]))
    beat = Beat(channel, int(limits["cpu_s"]))
    unpacker: Unpacker | None = None
    number = 0
    try:
        for picture in decode_packets(arriving, context, log, beat, leading=0):
            unpacker = unpacker or Unpacker.for_frame(picture.frame)
            _check(picture, unpacker, form, size, number)
            slot, planes = ring.slot()
            unpacker.unpack(picture.frame, planes)
            duration = max(0, picture.frame.duration or 0)
            channel.send(
                {"t": "frame", "slot": slot, "pts": picture.frame.pts, "duration": duration}
            )
            number += 1
    except Damage as problem:
        raise DamagedMedia(
            f"a packet that cannot be decoded after picture {number}: {problem}",
            f"whole packets of {payload['codec']}, the first with a key frame",
        ) from None
    channel.send({"t": "end"})


def _check(
    picture: Decoded, unpacker: Unpacker, form: PixelFormat, size: tuple[int, int], number: int
) -> None:
    frame = picture.frame
    if (frame.width, frame.height) != size or unpacker.target.name != form.name:
        raise DamagedMedia(
            f"picture {number} of {frame.width}x{frame.height} {unpacker.target.name}",
            f"{size[0]}x{size[1]} {form.name}, as the stream's spec says",
        )
    if unpacker.source != frame.format.name:
        raise DamagedMedia(f"picture {number} is {frame.format.name}", unpacker.source)
    if picture.is_damaged:
        why = picture.complaints[0] if picture.complaints else "marked as damaged"
        raise DamagedMedia(f"picture {number} is damaged: {why}", "undamaged packets")
    if frame.pts is None:
        raise DamagedMedia(f"picture {number} without a time")
