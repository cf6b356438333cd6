"""Whether a GPU's own encoder is there, asked of the driver; software encodes where it is not.

Not every GPU has one (data centre ones often have none), not every one takes every codec, bit depth
and size, and FFmpeg knows the encoders whether or not a driver is there. So the encoder is opened
once as the job will open it, and asked for a packet.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

import av
from av import VideoFrame
from av.video.codeccontext import VideoCodecContext

from restore.errors import InvalidInput
from restore.media.encoder import encoder_options
from restore.media.layout import choose_color, choose_format
from restore.media.master import VideoSpec
from restore.media.packing import encoder_format
from restore.media.profiles import Delivery

__all__ = ["delivery_here", "encoder_trouble"]


class _NotHere(Exception):
    """Why an encoder cannot be used; never leaves this room."""


def encoder_trouble(delivery: Delivery, video: VideoSpec) -> str:
    """Says why a hardware encoder cannot write this video here, or nothing.

    What works is asked once in a process. What does not is asked again each time: all sessions may
    have been taken, or the driver just been renewed.

    Args:
        delivery: with a hardware encoder.
        video: of the result, in the size and with the samples that will be written.
    """
    layout, _ = choose_format(delivery, video)
    tags = choose_color(delivery, layout, video)
    options = tuple(encoder_options(delivery, layout, tags).items())
    encoder = delivery.facts.encoder
    try:
        _open(
            encoder,
            (video.width_px, video.height_px),
            layout.name,
            encoder_format(encoder, layout),
            options,
        )
    except _NotHere as error:
        return str(error)
    return ""


@lru_cache
def _open(
    encoder: str,
    size_px: tuple[int, int],
    planar: str,
    layout: str,
    options: tuple[tuple[str, str], ...],
) -> None:
    """Encode one grey frame. Only what returns is remembered, so never a failure."""
    said = f"{encoder} does not open for {size_px[0]}x{size_px[1]} in {planar}"
    try:
        context = av.CodecContext.create(encoder, "w")
        assert isinstance(context, VideoCodecContext)  # noqa: S101 - these names are video's
        context.width, context.height = size_px
        context.pix_fmt = layout
        context.time_base = Fraction(1, 25)
        context.options = dict(options)
        context.open()
        picture = VideoFrame(*size_px, layout)
        for plane in picture.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        picture.pts, picture.time_base = 0, context.time_base
        packets = [*context.encode(picture), *context.encode(None)]
    except (av.FFmpegError, ValueError) as error:
        raise _NotHere(f"{said}: {error}") from error
    if not packets:
        raise _NotHere(f"{said}: no packet comes out")


def delivery_here(delivery: Delivery, video: VideoSpec) -> tuple[Delivery, str]:
    """The delivery as it can be written here, and a word where that is not as asked.

    A hardware encoder that is not there is replaced by software of the same codec: bit depth,
    pixel format and rate factor stay, the speed becomes the usual one, since names differ.

    Raises:
        InvalidInput: no encoder of that codec writes such a video.
    """
    if delivery.encoder == "software":
        return delivery, ""
    software = replace(delivery, encoder="software", speed=None)
    try:
        trouble = encoder_trouble(delivery, video)
    except InvalidInput as error:  # a size that software may still take
        trouble = str(error)
    if not trouble:
        return delivery, ""
    return software, f"no hardware encoder ({trouble}): {software.facts.encoder} encodes"
