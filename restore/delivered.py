"""The video that a job delivers: the source's facts at the size and in the time it ends up with."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from restore.frames import ClipInfo
from restore.media.master import VideoSpec
from restore.time import Clock, FrameRange, Timecode, format_rate

__all__ = ["changed_times", "video_of"]

_SOUND = {"retime": "resampled with it", "keep": "kept, out of step", "drop": "left out"}


def video_of(
    info: ClipInfo,
    size_px: tuple[int, int],
    taken: FrameRange,
    rate: Fraction | None,
    clock: Clock,
) -> VideoSpec:
    """What a writer is asked for.

    Args:
        info: facts of the source.
        size_px: width and height of the result.
        taken: frames of the source that are used.
        rate: frames in a second of the source.
        clock: what the result is counted in.
    """
    return VideoSpec(
        width_px=size_px[0],
        height_px=size_px[1],
        sample_aspect_ratio=info.upright_sar,
        frame_rate=clock.frame_rate,
        time_base=clock.time_base,
        color=info.color,
        color_used=info.resolved_color,
        timecode=_timecode(info, taken, rate, clock),
        has_alpha=_has_alpha(info.pixel_format),
        is_vfr=clock.is_vfr,
        metadata=info.metadata,
        chapters=tuple(
            replace(one, start=one.start / clock.tempo, stop=one.stop / clock.tempo)
            for one in info.chapters
        ),
        tempo=clock.tempo,
        sound=clock.sound,
    )


def changed_times(info: ClipInfo, video: VideoSpec, taken: FrameRange) -> tuple[str, ...]:
    """A sentence for each thing about the result's times that is not as in the source."""
    said = []
    if video.tempo != 1:
        said.append(
            f"the film plays at {float(video.tempo):.4g} times the source's speed; sound is "
            f"{_SOUND[video.sound]}, subtitles and chapters are moved with it"
        )
    first = info.timecode
    if first is not None and video.timecode is not None and video.timecode.rate != first.rate:
        said.append(
            f"timecode {first + taken.start} at {format_rate(first.rate)} frames per second became "
            f"{video.timecode} at {format_rate(video.timecode.rate)}"
        )
    return tuple(said)


def _timecode(
    info: ClipInfo, taken: FrameRange, rate: Fraction | None, clock: Clock
) -> Timecode | None:
    """The first frame's timecode; at another rate the same time of day, to the frame."""
    if info.timecode is None:
        return None
    first = info.timecode + taken.start
    if clock.frame_rate is None or clock.frame_rate == rate:
        return first
    return first.at(clock.frame_rate)


def _has_alpha(pixel_format: str) -> bool:
    return pixel_format.startswith(
        ("yuva", "gbrap", "rgba", "bgra", "argb", "abgr", "ya8", "ya16", "pal8")
    )
