"""Decodes the video stream of a container, frame after frame, in a decode child."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from restore.errors import UnsafeMedia, UnsupportedMedia
from restore.media.native_log import NativeLog
from restore.media.open import open_media
from restore.media.scan import only, pick_video
from restore.media.wire import Channel

__all__ = [
    "Beat",
    "Damage",
    "Decoded",
    "confine_decoder",
    "decode_frames",
    "decode_packets",
    "open_video",
    "whole_packets",
]

_BEAT_S = 0.5
_LEADING_PACKETS = 500
_WORDS_OF_DAMAGE = ("concealing", "error while decoding", "CRC mismatch", "corrupt", "damaged")
# What decoders complain of in sound files too: odd but legal headers, references never used.
_HARMLESS = ("mmco", "SEI", "VUI", "number of reference frames", "illegal short term buffer")


class Damage(Exception):
    """Decoding cannot go on from here; the text says why."""


class Beat:
    """Signs of life for the program, at most two a second, and a fresh allowance of CPU time.

    Args:
        channel: to the program.
        cpu_s: processor time allowed between two signs of life.
    """

    def __init__(self, channel: Channel, cpu_s: int) -> None:
        self._channel = channel
        self._cpu_s = cpu_s
        self._last = time.monotonic()

    def __call__(self) -> None:
        """Show that work goes on."""
        now = time.monotonic()
        if now - self._last >= _BEAT_S:
            self._last = now
            used = time.process_time()
            hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_CPU, (int(used) + self._cpu_s + 1, hard))
            self._channel.send({"t": "beat"})


@dataclass(frozen=True)
class Decoded:
    """A decoded picture.

    Attributes:
        frame: as the decoder gave it.
        complaints: what the decoder logged since the frame before. Decoders with threads log ahead
            of the frame that is meant.
        is_damaged: the decoder marks the picture, or logged damage.
    """

    frame: VideoFrame
    complaints: tuple[str, ...] = ()
    is_damaged: bool = False


def open_video(
    path: Path, limits: dict[str, Any], log: NativeLog, hwaccel: HWAccel | None = None
) -> tuple[InputContainer, VideoStream]:
    """Open a file under the limits and pick its moving picture.

    Args:
        path: of the file.
        limits: see :class:`restore.media.isolate.DecodeLimits`.
        log: where FFmpeg's complaints are found.
        hwaccel: a GPU that decodes; software where None.

    Raises:
        InvalidInput: no such file, not a regular file, empty.
        UnsafeMedia: refused format, or a limit hit.
        UnsupportedMedia: no media, no video, or no decoder for it.
    """
    container = open_media(path, options=decoder_options(limits), hwaccel=hwaccel)
    complaints = log.drain()
    too_large = [line for line in complaints if "exceeds specified max pixel count" in line]
    if too_large:
        container.close()
        raise UnsafeMedia(
            f"{path}: {too_large[0].split(', see')[0]}",
            f"at most {limits['max_pixels_px']} px",
            "Raise the decode limits if you trust the file.",
        )
    stream = pick_video(container)
    if stream is None:
        kinds = ", ".join(sorted({str(s.type) for s in container.streams})) or "no stream at all"
        container.close()
        raise UnsupportedMedia(f"{path} holds no video ({kinds})", "a video stream")
    context: VideoCodecContext | None = getattr(stream, "codec_context", None)
    if context is None:
        container.close()
        raise UnsupportedMedia(f"{path}: there is no decoder for its video", "a known codec")
    if context.width * context.height > limits["max_pixels_px"]:
        container.close()
        raise UnsafeMedia(
            f"{path}: picture of {context.width}x{context.height}",
            f"at most {limits['max_pixels_px']} px",
            "Raise the decode limits if you trust the file.",
        )
    confine_decoder(context, limits)
    return container, stream


def confine_decoder(context: VideoCodecContext, limits: dict[str, Any]) -> None:
    """Set the limits and the threads of a decoder that is not open yet."""
    context.options = decoder_options(limits)
    context.thread_type = "AUTO"
    context.thread_count = min(16, len(os.sched_getaffinity(0)) if _HAS_AFFINITY else 4)


def decoder_options(limits: dict[str, Any]) -> dict[str, str]:
    """FFmpeg's own limits: the size of a picture; and checksums that are to be checked."""
    return {"max_pixels": str(limits["max_pixels_px"]), "err_detect": "crccheck"}


_HAS_AFFINITY = hasattr(os, "sched_getaffinity")


def _wrap(frame: VideoFrame, decoder: str, log: NativeLog) -> Decoded:
    complaints = tuple(
        line
        for line in log.drain()
        if line.startswith(f"{decoder}: ") and not any(word in line for word in _HARMLESS)
    )
    logged = any(word in line for line in complaints for word in _WORDS_OF_DAMAGE)
    return Decoded(frame, complaints, frame.is_corrupt or logged)


def _reason(problem: av.FFmpegError, log: NativeLog) -> str:
    complaints = log.drain()
    text = problem.strerror or str(problem)
    return f"{text} ({complaints[0]})" if complaints else text


def decode_frames(
    container: InputContainer, stream: VideoStream, log: NativeLog, beat: Callable[[], None]
) -> Iterator[Decoded]:
    """Decode a stream in presentation order up to its end or the first damage.

    Packets that cannot be decoded before the first picture (a recording that starts between two
    key frames) are passed over.

    Raises:
        Damage: a packet could not be read or decoded.
        MemoryError: the limit of memory was hit.
    """
    only(container, stream)
    packets = whole_packets(container.demux(stream))
    yield from decode_packets(packets, stream.codec_context, log, beat, _LEADING_PACKETS)


def whole_packets(packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
    """Leave out a last packet that the end of the file cuts off, and empty ones.

    A decoder that is fed the stump gives back an error instead of the good frames that it holds.
    Damaged packets with others behind them (lost pieces of a broadcast) are for the decoder.

    Raises:
        Damage: the last packet is cut off.
    """
    held: Packet[Any] | None = None
    for packet in packets:
        if packet.size == 0:
            continue  # a repeated frame, or PyAV's flush: ours is sent once, at the end
        if held is not None:
            yield held
            held = None
        if packet.is_corrupt:
            held = packet
        else:
            yield packet
    if held is not None:
        raise Damage("the file ends within this frame")


def decode_packets(
    packets: Iterator[Packet[Any]],
    context: VideoCodecContext,
    log: NativeLog,
    beat: Callable[[], None],
    leading: int,
) -> Iterator[Decoded]:
    """Decode packets in presentation order up to their end or the first damage.

    Args:
        packets: of one stream, in file order.
        context: its decoder.
        log: where FFmpeg's complaints are found.
        beat: called now and then as a sign of life.
        leading: packets before the first picture that may fail.

    Raises:
        Damage: a packet could not be read or decoded.
        MemoryError: the limit of memory was hit.
    """
    started, failed = False, 0
    stopped: Damage | None = None
    while True:
        try:
            packet = next(packets, None)
        except Damage as problem:
            packet, stopped = None, problem
        except av.FFmpegError as problem:
            packet, stopped = None, Damage(f"reading stopped: {_reason(problem, log)}")
        beat()
        try:
            frames = context.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError as problem:
            failed += 1
            if started or failed > leading:
                raise Damage(_reason(problem, log)) from problem
            frames = []
        for frame in frames:
            picture = _wrap(frame, context.name, log)
            if failed and not started:
                text = f"the first {failed} packets could not be decoded"
                picture = replace(picture, complaints=(text, *picture.complaints))
            started = True
            yield picture
        if packet is None:  # all that was read before has come out
            if stopped is not None:
                raise stopped
            return
