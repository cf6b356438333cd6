"""Facts of a clip, read in a child process."""

from __future__ import annotations

from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

from restore.errors import InvalidInput
from restore.frames import ClipInfo
from restore.media.describe import clip_info_from_dict, clip_info_to_dict
from restore.media.feed import Ended, PipeFeed
from restore.media.isolate import DecodeLimits, run_job
from restore.media.y4m_in import is_y4m
from restore.time import FrameRange

__all__ = ["DecodeLimits", "clip_info_from_dict", "clip_info_to_dict", "probe"]


def probe(
    source: str,
    *,
    limits: DecodeLimits | None = None,
    count_frames: bool = False,
    rate: Fraction | None = None,
) -> ClipInfo:
    """Describe a clip: all packets are read once, one picture is decoded, all in a child.

    Args:
        source: a media file, a picture, a folder of pictures or a pattern (``scan_%05d.png``).
        limits: what the file may cost; the defaults where None.
        count_frames: decode everything to count the frames.
        rate: frames per second of pictures; what they say themselves, or 25, where None.

    Returns:
        The description; ``decoded_frames`` is set only where counting was asked for.

    Raises:
        InvalidInput: no such file, empty, a folder without pictures, standard input.
        UnsafeMedia: a refused format, or a limit was hit.
        UnsupportedMedia: no media, no video in it, or no decoder for it.
        DamagedMedia: no picture can be decoded, or the decoder crashed.
    """
    limits = limits or DecodeLimits()
    if source == "-":
        raise InvalidInput("standard input cannot be probed ahead", "a file")
    if is_y4m(Path(source)):
        return _probe_y4m(source, limits, rate, count_frames=count_frames)
    payload = {
        "source": str(source),
        "limits": asdict(limits),
        "count": count_frames,
        "rate": str(rate) if rate is not None else None,
    }
    answer = run_job("restore.media.decode_child:probe_job", payload, limits, source=str(source))
    return clip_info_from_dict(answer["info"])


def _probe_y4m(
    source: str, limits: DecodeLimits, rate: Fraction | None, *, count_frames: bool
) -> ClipInfo:
    """There is no codec in YUV4MPEG2, so no child is needed: see :mod:`restore.media.y4m_in`."""
    with Path(source).open("rb") as file:
        feed = PipeFeed(file, source, FrameRange(), limits, rate)
        if not count_frames:
            return feed.info
        while not isinstance(answer := feed.read(), Ended):
            pass
        cut = tuple(
            f"frames from {bad.start} on could not be read: {bad.why}" for bad in answer.damaged
        )
        warnings = feed.info.warnings + cut
        return replace(feed.info, decoded_frames=answer.frames, warnings=warnings)
