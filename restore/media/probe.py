"""Facts of a clip, read in a child process."""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction

from restore.frames import ClipInfo
from restore.media.describe import clip_info_from_dict, clip_info_to_dict
from restore.media.isolate import DecodeLimits, run_job

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
        InvalidInput: no such file, empty, a folder without pictures.
        UnsafeMedia: a refused format, or a limit was hit.
        UnsupportedMedia: no media, no video in it, or no decoder for it.
        DamagedMedia: no picture can be decoded, or the decoder crashed.
    """
    limits = limits or DecodeLimits()
    payload = {
        "source": str(source),
        "limits": asdict(limits),
        "count": count_frames,
        "rate": str(rate) if rate is not None else None,
    }
    answer = run_job("restore.media.decode_child:probe_job", payload, limits, source=str(source))
    return clip_info_from_dict(answer["info"])
