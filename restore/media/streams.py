"""Copies the source's other streams in step with the video, so that nothing piles up in memory."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import ArgumentError, InvalidDataError
from av.stream import AttachmentStream, Discard, Disposition, Stream
from av.subtitles.stream import SubtitleStream
from av.video.stream import VideoStream

from restore.media.audio_out import convert_audio
from restore.media.master import CopiedStream
from restore.media.subtitles_out import convert_text
from restore.media.tracks import CopiedTrack, Cut, Track

if TYPE_CHECKING:
    from restore.media.tracks import AnyPacket

__all__ = ["StreamCopier", "starts_anywhere"]

_COVER_NAMES = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}
_NEEDS_SETUP = frozenset({"aac", "alac", "flac", "opus", "vorbis"})
_TS_DISCONT = 0x0200  # AVFMT_TS_DISCONT
# QuickTime's list of languages mixes the two forms of ISO 639-2; FFmpeg matches it by letter.
_QUICKTIME_LANGUAGES = {
    "alb": "alb", "cze": "ces", "deu": "ger", "ell": "gre", "fre": "fra", "isl": "ice",
    "mkd": "mac", "nld": "dut", "rum": "ron", "slo": "slk", "sqi": "alb", "swe": "sve",
    "zho": "chi",
}  # fmt: skip
# Matroska's counters of the old file, and facts that the new file states itself.
_STALE_TAGS = frozenset(
    {"duration", "encoder", "timecode", "bps", "number_of_frames", "number_of_bytes", "vendor_id"}
)


class StreamCopier:
    """Demuxes a source a second time, for everything but the picture.

    Args:
        source: the file; this object closes it.
        output: where the streams are added; its header must not be written yet.
        indexes: positions of the streams to copy; None takes all but the main video.
        is_cut: only part of the source is written.
        tempo: seconds of the source that a second of the output shows.
        sound: what becomes of sound at a tempo other than 1: ``retime``, ``keep`` or ``drop``.
    """

    def __init__(
        self,
        source: InputContainer,
        output: OutputContainer,
        *,
        indexes: Collection[int] | None,
        is_cut: bool,
        tempo: Fraction = Fraction(1),
        sound: str = "retime",
    ) -> None:
        self._source = source
        self._tempo = tempo
        self._sound = sound if tempo != 1 else "keep"
        self._output = output
        self._muxer = output.format.name
        self._is_cut = is_cut
        self._tracks: dict[int, Track] = {}
        self._fixed: list[CopiedStream] = []
        self._facts: dict[int, CopiedStream] = {}  # streams die with their container
        self._origin_s = Fraction(0)
        self._refused: set[int] = set()
        self.warnings: list[str] = []
        self._waiting: AnyPacket | None = None
        main = source.streams.best("video")
        for stream in source.streams:
            wanted = stream.index in indexes if indexes is not None else stream != main
            if wanted:
                self._add(stream)
            if stream.index not in self._tracks:
                stream.discard = Discard.all
        self._packets = self._demux()

    def _add(self, stream: Stream) -> None:
        if isinstance(stream, AttachmentStream):
            self._add_attachment(stream)
        elif Disposition.attached_pic in stream.disposition:
            self._add_cover(stream)
        elif stream.type == "data" and _is_timecode(stream):
            text = "the timecode is written anew, for the first frame of this file"
            self._fixed.append(self._entry(stream, "converted", text))
        elif stream.type == "audio" and self._sound == "drop":
            self._drop(stream, "the speed changes, and it was asked for without sound")
        elif stream.type == "audio" and self._sound == "retime":
            self._convert(stream)
        elif _holds(self._muxer, stream):
            target = self._output.add_stream_from_template(stream, opaque=True)
            _describe(stream, target)
            self._keep(CopiedTrack(stream, target))
        else:
            self._convert(stream)

    def _convert(self, stream: Stream) -> None:
        track: Track | None = None
        if isinstance(stream, AudioStream) and getattr(stream, "codec_context", None):
            # Sound that is kept as it is keeps its speed, whatever it is converted to.
            tempo = self._tempo if self._sound == "retime" else Fraction(1)
            track = convert_audio(self._output, stream, tempo)
        elif isinstance(stream, SubtitleStream) and getattr(stream, "codec_context", None):
            track = convert_text(self._output, stream)
        if track is None:
            self._drop(stream, f"{self._muxer} cannot hold {_codec(stream) or 'it'}")
            return
        _describe(stream, track.target)
        self._keep(track)

    def _add_attachment(self, stream: AttachmentStream) -> None:
        if self._muxer != "matroska":
            self._drop(stream, f"{self._muxer} holds no attachments")
            return
        self._output.add_attachment(
            stream.name or f"attachment{stream.index}",
            stream.mimetype or "application/octet-stream",
            stream.data,
        )
        self._fixed.append(self._entry(stream, "copied", stream.name or ""))

    def _add_cover(self, stream: Stream) -> None:
        """Cover art: an attachment in Matroska, a picture track of one packet elsewhere."""
        if self._muxer == "mov":
            self._drop(stream, "QuickTime holds no cover art")
            return
        if self._muxer == "mp4":
            target = self._output.add_stream_from_template(stream, opaque=True)
            _describe(stream, target)
            self._keep(CopiedTrack(stream, target, "cover art"))
            return
        packet = next(
            (p for p in self._source.demux(stream) if p.size and p.stream_index == stream.index),
            None,
        )
        name, mimetype = _COVER_NAMES.get(_codec(stream), ("", ""))
        if packet is None or not name:
            self._drop(stream, f"{self._muxer} cannot hold it as cover art")
            return
        self._output.add_attachment(name, mimetype, bytes(packet))
        self._fixed.append(self._entry(stream, "copied", "cover art"))

    def _keep(self, track: Track) -> None:
        self._tracks[track.source.index] = track
        self._facts[track.source.index] = self._entry(track.source, track.outcome, "")

    def _entry(self, stream: Stream, outcome: str, detail: str) -> CopiedStream:
        return CopiedStream(stream.index, stream.type, _codec(stream), outcome, detail)

    def _drop(self, stream: Stream, why: str) -> None:
        self._fixed.append(self._entry(stream, "dropped", why))

    def time_bases(self) -> list[Fraction]:
        """Units of the streams that are written."""
        return [unit for track in self._tracks.values() if (unit := track.time_base())]

    def first_s(self) -> Fraction:
        """What becomes time 0 of a whole copy: 0, or where a broadcast stream happens to begin.

        MPEG streams count from an arbitrary time, often hours; keeping it would put an empty
        stretch of that length before the film.
        """
        if not starts_anywhere(self._source.format.name):
            return Fraction(0)
        firsts = [
            stream.start_time * stream.time_base
            for stream in self._source.streams
            if stream.start_time is not None and stream.time_base
        ]
        return min(firsts, default=Fraction(0)) / self._tempo

    def start(self, origin_s: Fraction) -> None:
        """Say which time, in seconds of the source at the output's tempo, becomes 0."""
        cut = Cut(origin_s, self._is_cut, self._muxer != "matroska")
        for track in self._tracks.values():
            track.cut = cut
        self._origin_s = origin_s

    def _demux(self) -> Iterator[AnyPacket]:
        if not self._tracks:
            return
        sources = [track.source for track in self._tracks.values()]
        try:
            for packet in self._source.demux(*sources):
                is_flush = packet.dts is None and not packet.size
                if packet.stream_index in self._tracks and not is_flush:
                    self._pace(packet)
                    yield packet
        except (av.FFmpegError, ValueError, IndexError) as error:
            # The picture may still be whole; what was read of the other streams is kept.
            self.warnings.append(f"the source's other streams end early, it is damaged: {error}")

    def _pace(self, packet: AnyPacket) -> None:
        """Bring a packet's times to the output's tempo: the same counts of another unit."""
        kept = packet.stream.type == "audio" and self._sound == "keep"
        if self._tempo != 1 and not kept:
            packet.time_base = (packet.time_base / self._tempo).limit_denominator(2**31 - 1)

    def _time_s(self, packet: AnyPacket) -> Fraction | None:
        stamp = packet.dts if packet.dts is not None else packet.pts
        return None if stamp is None else stamp * packet.time_base - self._origin_s

    def feed(self, until_s: Fraction) -> None:
        """Mux what comes before ``until_s`` in output time."""
        while True:
            packet = self._waiting or next(self._packets, None)
            self._waiting = None
            if packet is None:
                return
            time_s = self._time_s(packet)
            if time_s is not None and time_s >= until_s:
                self._waiting = packet
                return
            self._mux(packet)

    def _mux(self, packet: AnyPacket) -> None:
        if packet.stream_index in self._refused:
            return
        self._send(self._tracks[packet.stream_index], packet.stream_index, packet)

    def _send(self, track: Track, index: int, packet: AnyPacket | None) -> None:
        """Mux what a track makes of a packet; a track that the muxer refuses ends there."""
        try:
            for ready in track.finish() if packet is None else track.take(packet):
                self._output.mux(ready)
        except (ArgumentError, InvalidDataError) as error:
            self._refused.add(index)
            kind = self._facts[index].type
            self.warnings.append(f"{kind} stream {index} ends early, it is damaged: {error}")

    def finish(self, end_s: Fraction) -> None:
        """Mux the rest: all of it, or with a cut what begins before ``end_s``."""
        rest = [self._waiting] if self._waiting is not None else []
        self._waiting = None
        past: set[int] = set()
        for packet in _chain(rest, self._packets):
            time_s = self._time_s(packet)
            if self._is_cut and time_s is not None and time_s >= end_s:
                past.add(packet.stream_index)
                if past == set(self._tracks):
                    break
                continue
            self._mux(packet)
        for index, track in self._tracks.items():
            if index not in self._refused:
                self._send(track, index, None)

    def report(self) -> tuple[CopiedStream, ...]:
        """What became of each stream, in the source's order."""
        moving = [
            replace(self._facts[index], detail=_detail(track), packets=track.packets)
            for index, track in self._tracks.items()
        ]
        return tuple(sorted([*self._fixed, *moving], key=lambda entry: entry.index))

    def close(self) -> None:
        """Close the source."""
        self._source.close()


def _chain(first: list[AnyPacket], rest: Iterator[AnyPacket]) -> Iterator[AnyPacket]:
    yield from first
    yield from rest


def _codec(stream: Stream) -> str:
    context = getattr(stream, "codec_context", None)
    if context is not None:
        return str(context.codec.canonical_name)
    return getattr(stream, "name", None) or ""


def starts_anywhere(container: str) -> bool:
    """Whether a demuxer's times begin at no time in particular (MPEG-TS, MPEG-PS, Ogg)."""
    try:
        return bool(av.ContainerFormat(container, "r").flags & _TS_DISCONT)
    except ValueError:
        return False


def _detail(track: Track) -> str:
    if not track.damaged:
        return track.detail
    return f"{track.detail}; {track.damaged} packets are damaged".removeprefix("; ")


def _is_timecode(stream: Stream) -> bool:
    return "timecode" in {key.lower() for key in stream.metadata}


def _holds(muxer: str, stream: Stream) -> bool:
    """Whether a container takes a stream, found by writing a header into memory."""
    context = getattr(stream, "codec_context", None)
    is_framed = stream.container.format.name not in ("mpegts", "mpeg", "aac", "flv")
    if is_framed and _codec(stream) in _NEEDS_SETUP and context and not context.extradata:
        return False  # damaged; the muxer would only notice once packets are under way
    try:
        trial = av.open(io.BytesIO(), "w", format=muxer)
        trial.add_stream_from_template(stream, opaque=True)
        trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _describe(source: Stream, target: Stream) -> None:
    """Language, title and role of a stream."""
    for key, value in source.metadata.items():
        if key.lower() not in _STALE_TAGS and not key.startswith("_STATISTICS"):
            target.metadata[key] = value
    language = target.metadata.get("language", "")
    if target.container.format.name == "mov" and language in _QUICKTIME_LANGUAGES:
        target.metadata["language"] = _QUICKTIME_LANGUAGES[language]
    target.disposition = source.disposition
    if isinstance(source, VideoStream) and Disposition.default in source.disposition:
        # The video that this job made is the one that players shall show.
        target.disposition = source.disposition & ~Disposition.default
    if isinstance(source, VideoStream) and isinstance(target, VideoStream):
        target.codec_context.framerate = source.average_rate or Fraction(25)
