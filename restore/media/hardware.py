"""Whether a GPU's own encoder is there, asked of the driver; software encodes where it is not.

Not every GPU has one (data centre ones often have none), and FFmpeg knows the encoders whether or
not a driver is there, so one is opened once and asked for a packet.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

import av
from av import VideoFrame
from av.video.codeccontext import VideoCodecContext

from restore.media.profiles import Delivery

__all__ = ["delivery_here", "encoder_trouble"]

_SIZE_PX = (320, 192)


@lru_cache
def encoder_trouble(encoder: str) -> str:
    """Says why a hardware encoder cannot be used here, or nothing. Tried once in a process.

    Args:
        encoder: FFmpeg's name, such as ``h264_nvenc``.
    """
    try:
        context = av.CodecContext.create(encoder, "w")
        assert isinstance(context, VideoCodecContext)  # noqa: S101 - these names are video's
        context.width, context.height = _SIZE_PX
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, 25)
        context.open()
        picture = VideoFrame(*_SIZE_PX, "yuv420p")
        picture.pts, picture.time_base = 0, context.time_base
        packets = [*context.encode(picture), *context.encode(None)]
    except (av.FFmpegError, ValueError) as error:
        return f"{encoder} does not open: {error}"
    return "" if packets else f"{encoder} gives no packet"


def delivery_here(delivery: Delivery) -> tuple[Delivery, str]:
    """The delivery as it can be written here, and a word where that is not as asked.

    A hardware encoder that is not there is replaced by software of the same codec: bit depth,
    pixel format and rate factor stay, the speed becomes the usual one, since names differ.
    """
    if delivery.encoder == "software":
        return delivery, ""
    trouble = encoder_trouble(delivery.facts.encoder)
    if not trouble:
        return delivery, ""
    found = replace(delivery, encoder="software", speed=None)
    return found, f"no hardware encoder ({trouble}): {found.facts.encoder} encodes"
