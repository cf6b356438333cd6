"""Tags, chapters and timecode as containers take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container.core import Chapter as ContainerChapter

from restore.frames import Chapter
from restore.media.master import VideoSpec

__all__ = ["chapter_entries", "container_tags", "timecode_tag"]

# Facts about the source's file itself, which the new file has its own of.
_FILE_FACTS = frozenset(
    {
        "major_brand",
        "minor_version",
        "compatible_brands",
        "encoder",
        "timecode",
        "duration",
    }
)
# Nominal rates for which a QuickTime timecode track is defined and FFmpeg writes one.
_TIMECODE_RATES = frozenset({24, 25, 30, 48, 50, 60, 100, 120, 150})


def container_tags(video: VideoSpec, report: Mapping[str, str]) -> dict[str, str]:
    """The source's tags but those about its file, then ours on top."""
    kept = {k: v for k, v in video.metadata.items() if k.lower() not in _FILE_FACTS}
    for key in report:
        kept = {k: v for k, v in kept.items() if k.lower() != key.lower()}
    return kept | dict(report)


def chapter_entries(
    chapters: Sequence[Chapter], origin_s: Fraction, end_s: Fraction | None = None
) -> list[ContainerChapter]:
    """Chapters in output time; those wholly outside ``[0, end)`` are left out."""
    entries: list[ContainerChapter] = []
    for chapter in chapters:
        start = max(chapter.start - origin_s, Fraction(0))
        stop = chapter.stop - origin_s
        if end_s is not None:
            stop = min(stop, end_s)
        if stop <= start:
            continue
        unit = _chapter_unit(start, stop)
        entries.append(
            {
                "id": len(entries) + 1,
                "start": round(start / unit),
                "end": round(stop / unit),
                "time_base": unit,
                "metadata": dict(chapter.metadata),
            }
        )
    return entries


def _chapter_unit(start: Fraction, stop: Fraction) -> Fraction:
    """Exact where the ends share a sane denominator, else nanoseconds."""
    scale = start.denominator * stop.denominator
    return Fraction(1, scale if scale < 2**31 else 1_000_000_000)


def timecode_tag(video: VideoSpec, muxer: str) -> tuple[dict[str, str], list[str]]:
    """The video stream's timecode tag, from which the muxers write track or tag, and a warning.

    MP4 and QuickTime get a timecode track, which exists for whole nominal rates only; other rates
    are said and left out there. Matroska holds any label.
    """
    if video.timecode is None:
        return {}, []
    if muxer != "matroska":
        rate = video.frame_rate
        nominal = None if rate is None else -(-rate.numerator // rate.denominator)
        if nominal not in _TIMECODE_RATES or video.timecode.nominal != nominal:
            return {}, [
                f"timecode {video.timecode} is not written: {muxer} holds none at "
                f"{rate or 'an unknown rate'} frames per second"
            ]
    return {"timecode": str(video.timecode)}, []
