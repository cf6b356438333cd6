"""Text subtitles between what MP4 and Matroska hold: decoded to ASS events and encoded again."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.container import OutputContainer
from av.subtitles.stream import SubtitleStream

from restore.media.tracks import Track

if TYPE_CHECKING:
    from restore.media.tracks import AnyPacket

__all__ = ["ConvertedText", "convert_text"]

_TEXT_CODECS = frozenset({"ass", "mov_text", "ssa", "subrip", "text", "ttml", "webvtt"})
_TARGETS = {
    "mp4": ("mov_text", "MP4 timed text"),
    "mov": ("mov_text", "QuickTime timed text"),
    "matroska": ("subrip", "SubRip"),
}
_UNIT = Fraction(1, 1000)


def convert_text(output: OutputContainer, source: SubtitleStream) -> ConvertedText | None:
    """Add a text stream that the container holds; None for pictures and unknown codecs.

    Args:
        output: container that is being set up.
        source: subtitles that it cannot hold.
    """
    if source.codec_context.codec.canonical_name not in _TEXT_CODECS:
        return None
    name, words = _TARGETS[output.format.name]
    try:
        source.codec_context.open(strict=False)
        header = source.codec_context.subtitle_header
        with av.open(io.BytesIO(), "w", format=output.format.name) as trial:
            _add(trial, name, header)
        target = _add(output, name, header)
    except (av.FFmpegError, ValueError):
        return None
    return ConvertedText(source, target, f"converted to {words}; positions and fonts may be lost")


def _add(output: OutputContainer, name: str, header: bytes | None) -> SubtitleStream:
    target = output.add_stream(name)
    if not isinstance(target, SubtitleStream):
        raise ValueError(name)
    encoder = target.codec_context
    encoder.time_base = _UNIT
    encoder.subtitle_header = header
    encoder.open()
    return target


class ConvertedText(Track):
    """Re-encodes each event; its times stay, to 1 ms."""

    outcome = "converted"

    def __init__(self, source: SubtitleStream, target: SubtitleStream, detail: str) -> None:
        super().__init__(source, target, detail)
        self._decoder = source.codec_context
        self._encoder = target.codec_context
        self._last = 0

    def time_base(self) -> Fraction | None:
        """Milliseconds."""
        return _UNIT

    def take(self, packet: AnyPacket) -> Iterator[AnyPacket]:
        """The event in the new codec, in output time; events before a cut are left out."""
        if packet.pts is None:
            return
        start_s = packet.pts * packet.time_base - self.cut.origin_s
        stop_s = start_s + (packet.duration or 0) * packet.time_base
        if self.cut.is_cut and stop_s <= 0:
            return
        try:
            events = self._decoder.decode2(packet)
            if events is None or not len(events):
                return
            event = self._encoder.encode_subtitle(events)
        except av.FFmpegError:
            self.damaged += 1
            return
        start = max(round(start_s / _UNIT), self._last)
        self._last = start
        event.time_base = _UNIT
        event.pts = event.dts = start
        event.duration = max(1, round(stop_s / _UNIT) - start)
        event.stream = self.target
        self.packets += 1
        yield event
