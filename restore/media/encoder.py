"""Video encoders: their options, colour tags and threads, the same on every machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.container import OutputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from restore.color import ChromaSite, ColorSpec
from restore.errors import InvalidInput
from restore.frames import PixelFormat, RawFrame
from restore.media.master import VideoSpec
from restore.media.packing import encoder_format, to_video_frame
from restore.media.profiles import Delivery, DeliveryProfile

if TYPE_CHECKING:
    from restore.media.tracks import AnyPacket

__all__ = ["FrameEncoder", "add_video_stream", "configure", "encoder_options", "written_color"]

_SITES = {
    ChromaSite.LEFT: "left",
    ChromaSite.CENTER: "center",
    ChromaSite.TOPLEFT: "topleft",
    ChromaSite.TOP: "top",
    ChromaSite.BOTTOMLEFT: "bottomleft",
    ChromaSite.BOTTOM: "bottom",
}


def written_color(wanted: ColorSpec, declared: ColorSpec) -> ColorSpec:
    """The tags to write: matrix, range and siting as used, the rest as the source declares."""
    return ColorSpec(
        wanted.matrix, declared.primaries, declared.transfer, wanted.range, wanted.chroma_site
    )


def encoder_options(delivery: Delivery, layout: PixelFormat, tags: ColorSpec) -> dict[str, str]:
    """Options of the encoder for a delivery, colour tags included, by FFmpeg's names."""
    facts = delivery.facts
    options = dict(facts.options)
    options |= {
        "flags": "+bitexact",
        "colorspace": str(int(tags.matrix)),
        "color_primaries": str(int(tags.primaries)),
        "color_trc": str(int(tags.transfer)),
        "color_range": str(int(tags.range)),
        "field_order": "progressive",
    }
    if layout.kind == "yuv" and (layout.log2_w or layout.log2_h):
        options["chroma_sample_location"] = _SITES[tags.chroma_site]
    crf = facts.crf[2] if facts.crf and delivery.crf is None else delivery.crf
    if crf is not None:
        options["cq" if delivery.encoder == "hardware" else "crf"] = str(crf)
    speed = delivery.speed or facts.default_speed
    if speed is not None:
        options["preset"] = speed
    threads = delivery.threads or facts.threads
    if facts.encoder == "libx265":
        # The pool's and the frame threads' sizes follow the machine otherwise, and the info SEI
        # holds the CPU's flags; both change the bytes.
        options["x265-params"] = f"pools={threads}:frame-threads=3:info=0:log-level=error"
    if facts.encoder == "libsvtav1":
        options["svtav1-params"] = f"lp={threads}"
    return options


def configure(
    context: VideoCodecContext,
    delivery: Delivery,
    layout: PixelFormat,
    video: VideoSpec,
    time_base: Fraction,
) -> None:
    """Set what an encoder needs to know before it opens, and open it.

    Raises:
        InvalidInput: the encoder refuses the settings.
    """
    facts = delivery.facts
    context.width = video.width_px
    context.height = video.height_px
    context.pix_fmt = encoder_format(facts.encoder, layout)
    context.time_base = time_base
    context.sample_aspect_ratio = video.sample_aspect_ratio
    context.thread_count = delivery.threads or facts.threads
    if facts.encoder == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # it prints its settings to stderr otherwise
    if facts.encoder == "ffv1":
        context.options["slices"] = _ffv1_slices(video)
    try:
        context.open()
    except (av.FFmpegError, ValueError) as error:
        raise InvalidInput(
            f"{facts.name} refuses {video.width_px}x{video.height_px} in {layout.name} ({error})",
            "a size and pixel format that the encoder takes",
            "Take another profile, pixel format or size.",
        ) from error


def _ffv1_slices(video: VideoSpec) -> str:
    """Slices by size alone, so that the bytes do not depend on the machine."""
    pixels = video.width_px * video.height_px
    return "24" if pixels >= 1280 * 720 else "4"


def add_video_stream(
    output: OutputContainer,
    delivery: Delivery,
    layout: PixelFormat,
    video: VideoSpec,
    tags: ColorSpec,
    time_base: Fraction,
) -> VideoStream:
    """Add the video stream to a container, its encoder open.

    Raises:
        InvalidInput: the encoder refuses the settings.
    """
    facts: DeliveryProfile = delivery.facts
    stream = output.add_stream(
        facts.encoder,
        rate=video.frame_rate or Fraction(25),
        options=encoder_options(delivery, layout, tags),
    )
    if not isinstance(stream, VideoStream):
        raise InvalidInput(f"encoder {facts.encoder}", "a video encoder")
    stream.disposition = Disposition.default
    if facts.encoder == "libx265" and output.format.name in ("mp4", "mov"):
        stream.codec_context.codec_tag = "hvc1"  # the tag that Apple's players know
    configure(stream.codec_context, delivery, layout, video, time_base)
    return stream


class FrameEncoder:
    """Feeds frames to an open encoder and hands out packets with their own durations."""

    def __init__(
        self, context: VideoCodecContext, delivery: Delivery, layout: PixelFormat, tags: ColorSpec
    ) -> None:
        self._context = context
        self._layout = encoder_format(delivery.facts.encoder, layout)
        self._tags = tags
        self._lengths: dict[int, int] = {}
        self._frames = 0
        self._start = 0
        self._end = 0
        self._first_dts: int | None = None

    def encode(self, frame: RawFrame, pts: int, length: int) -> Iterator[AnyPacket]:
        """Packets that are ready once this frame is in; pts and length in encoder time."""
        picture = to_video_frame(frame, self._layout)
        picture.pts = pts
        picture.time_base = self._context.time_base
        picture.duration = length
        picture.colorspace = int(self._tags.matrix)
        picture.color_primaries = int(self._tags.primaries)
        picture.color_trc = int(self._tags.transfer)
        picture.color_range = int(self._tags.range)
        self._lengths[pts] = length
        self._frames += 1
        self._start = pts if self._frames == 1 else self._start
        self._end = pts + length
        for packet in self._timed(self._context.encode(picture)):
            self._note(packet)
            yield packet

    def flush(self) -> Iterator[AnyPacket]:
        """The packets that the encoder still holds."""
        packets = list(self._timed(self._context.encode(None)))
        for packet in packets:
            if self._frames <= 2:  # x265 leaves dts uninitialised in clips this short (measured)
                packet.dts = packet.pts
            self._note(packet)
        if packets and self._first_dts is not None:
            last = packets[-1]
            # MP4 adds up decode times: the last packet closes the gap to the clip's end, which
            # with reordered frames at uneven times is not its own length.
            rest = (self._end - self._start) - ((last.dts or 0) - self._first_dts)
            last.duration = max(rest, last.duration or 1)
        yield from packets

    def _note(self, packet: AnyPacket) -> None:
        if self._first_dts is None:
            self._first_dts = packet.dts

    def _timed(self, packets: list[AnyPacket]) -> Iterator[AnyPacket]:
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._lengths.pop(packet.pts, packet.duration or 0)
            yield packet
