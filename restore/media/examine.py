"""Reads a container's facts, in a decode child: everything that goes into ``ClipInfo``."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer, guess_color
from restore.errors import DamagedMedia, InvalidInput
from restore.frames import Chapter, ClipInfo, FieldOrder, StreamInfo
from restore.media.container_in import Damage, Decoded, decode_frames, open_video
from restore.media.native_log import NativeLog
from restore.media.scan import Scan, scan_packets
from restore.media.timing import average_rate, is_uneven
from restore.media.unpack import Unpacker
from restore.time import Timecode

__all__ = ["Opened", "first_picture", "frame_metadata", "open_clip", "read_color"]

# AVFieldOrder: what is shown first decides, whatever is coded first.
_FIELD_ORDERS = {
    1: FieldOrder.PROGRESSIVE,
    2: FieldOrder.TFF,
    3: FieldOrder.BFF,
    4: FieldOrder.BFF,
    5: FieldOrder.TFF,
}
_SITE = re.compile(r"[(, ](left|center|topleft|top|bottomleft|bottom)(?=[,)])")
_HDR_SIDE_DATA = {
    "MASTERING_DISPLAY_METADATA": "mastering display",
    "CONTENT_LIGHT_LEVEL": "content light level",
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DOVI_METADATA": "Dolby Vision",
}
# How demuxers say that a file is cut off where they just end.
_WORDS_OF_AN_END = ("ended prematurely", "partial file", "Truncat", "truncat")
_E = TypeVar("_E", bound=Enum)


@dataclass
class Opened:
    """A clip that is open for decoding.

    Attributes:
        info: its description.
        unpacker: the way from its decoded format to planar memory.
        scan: its packets; None where it was not scanned.
        pictures: its frames from the first on.
        times: presentation time of every frame, where the frames' own are in coding order; else
            None.
    """

    info: ClipInfo
    unpacker: Unpacker
    scan: Scan | None
    pictures: Iterator[Decoded]
    times: list[int] | None = None


def _enum(kind: type[_E], value: int, default: _E) -> _E:
    try:
        return kind(int(value))
    except ValueError:
        return default


def _chroma_site(container: InputContainer, stream: VideoStream) -> ChromaSite:
    """PyAV has no property for it; FFmpeg's own description of the stream names it."""
    av.logging.set_level(av.logging.VERBOSE)
    av.logging.set_libav_level(av.logging.VERBOSE)
    try:
        text = str(container.dumps_format())  # type: ignore[attr-defined]
    finally:
        av.logging.set_libav_level(av.logging.ERROR)
        av.logging.restore_default_callback()
    for line in text.splitlines():
        if re.match(rf"\s*Stream #\d+:{stream.index}\b", line) and (found := _SITE.search(line)):
            return ChromaSite[found[1].upper()]
    return ChromaSite.UNSPECIFIED


def read_color(
    frame: VideoFrame, context: VideoCodecContext, site: ChromaSite, *, is_full: bool
) -> ColorSpec:
    """Colour as the frame says, else as the stream says.

    Args:
        frame: first picture.
        context: its decoder.
        site: chroma siting, which neither of them has a property for.
        is_full: the pixel format itself says full range.
    """
    unsaid = ColorSpec()
    matrix = _enum(Matrix, frame.colorspace, unsaid.matrix)
    primaries = _enum(Primaries, frame.color_primaries, unsaid.primaries)
    transfer = _enum(Transfer, frame.color_trc, unsaid.transfer)
    swing = _enum(Range, frame.color_range, unsaid.range)
    if matrix is Matrix.UNSPECIFIED:
        matrix = _enum(Matrix, context.colorspace, unsaid.matrix)
    if primaries is Primaries.UNSPECIFIED:
        primaries = _enum(Primaries, context.color_primaries, unsaid.primaries)
    if transfer is Transfer.UNSPECIFIED:
        transfer = _enum(Transfer, context.color_trc, unsaid.transfer)
    if swing is Range.UNSPECIFIED:
        swing = _enum(Range, context.color_range, unsaid.range)
    if is_full:
        swing = Range.FULL
    if context.name == "exr" and transfer is Transfer.UNSPECIFIED:
        transfer = Transfer.LINEAR  # OpenEXR is scene-linear by definition
    return ColorSpec(matrix, primaries, transfer, swing, site)


def _rotation(frame: VideoFrame) -> tuple[int, tuple[str, ...]]:
    """Clockwise turn that shows the picture upright, and what of the matrix is left out."""
    warnings = []
    side = frame.side_data.get("DISPLAYMATRIX")
    matrix = bytes(side) if isinstance(side, SideData) else b""
    if len(matrix) == 36:
        a, b, _, c, d = struct.unpack("=9i", matrix)[:5]
        if a * d - b * c < 0:
            warnings.append("the display matrix mirrors the picture; it is not mirrored here")
    turn = -int(frame.rotation) % 360
    if turn % 90:
        warnings.append(f"the display matrix turns by {turn} degrees; left as coded")
        turn = 0
    return turn, tuple(warnings)


def _clean(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in metadata.items()}


def _stream_info(stream: Stream) -> StreamInfo:
    context = stream.codec_context
    metadata = _clean(stream.metadata)
    base = stream.time_base
    seconds = stream.duration * base if stream.duration is not None and base else None
    detail = ""
    if isinstance(stream, AudioStream):
        detail = f"{stream.layout.name} {stream.rate} Hz"
    elif isinstance(stream, VideoStream) and context is not None:
        cover = " cover" if int(stream.disposition) & 0x400 else ""
        detail = f"{stream.width}x{stream.height}{cover}"
    elif stream.type == "attachment":
        detail = metadata.get("filename", metadata.get("mimetype", ""))
    name = context.codec.canonical_name if context is not None else ""
    language = stream.language or ""
    language = "" if language == "und" else language
    return StreamInfo(stream.index, stream.type, name, base, seconds, language, detail, metadata)


def frame_metadata(frame: VideoFrame) -> dict[str, str]:
    """Tags of a picture; none where they are no UTF-8, which PyAV does not read."""
    try:
        return {str(key): str(value).strip() for key, value in frame.metadata.items()}
    except UnicodeDecodeError:
        return {}


def _timecode(
    container: InputContainer, stream: VideoStream, frame: VideoFrame, rate: Fraction | None
) -> tuple[Timecode | None, tuple[str, ...]]:
    holders = [stream.metadata, container.metadata, frame_metadata(frame)]
    holders += [other.metadata for other in container.streams if other.type == "data"]
    for holder in holders:
        for key, text in holder.items():
            if key.lower() != "timecode" or not str(text).strip():
                continue
            try:
                return Timecode.parse(str(text), rate or Fraction(25)), ()
            except InvalidInput as problem:
                return None, (f"timecode left out: {problem}",)
    return None, ()


def _chapters(container: InputContainer) -> tuple[Chapter, ...]:
    found = []
    for chapter in container.chapters():
        base = chapter["time_base"] or Fraction(1)
        start, stop = chapter["start"] * base, chapter["end"] * base
        found.append(Chapter(Fraction(start), Fraction(stop), _clean(chapter["metadata"])))
    return tuple(found)


def _duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    if stream.duration is not None and stream.duration > 0 and stream.time_base:
        return Fraction(stream.duration * stream.time_base)
    if container.duration is not None and container.duration > 0:
        return Fraction(container.duration, 1_000_000)
    return None


def _oddities(
    container: InputContainer, stream: VideoStream, frame: VideoFrame, order: FieldOrder
) -> Iterator[str]:
    """Sentences about what is odd, for people."""
    videos = [s for s in container.streams.video if not int(s.disposition) & 0x400]
    if len(videos) > 1:
        yield f"{len(videos)} video streams; stream {stream.index} is taken"
    if stream.metadata.get("alpha_mode") == "1" and not any(
        part.is_alpha for part in frame.format.components
    ):
        yield "the stream carries transparency (alpha_mode) that is not decoded"
    if _duration(container, stream) is None:
        yield "the container declares no duration"
    if order in (FieldOrder.TFF, FieldOrder.BFF):
        yield f"declared as interlaced, {order.value}"
    elif frame.interlaced_frame:
        yield "the first frame is marked as interlaced, without a field order"
    for key in frame.side_data.keys():  # noqa: SIM118  iterating gives the data, not the names
        kind = getattr(key, "type", key)
        name = _HDR_SIDE_DATA.get(getattr(kind, "name", str(kind)))
        if name:
            yield f"carries {name} metadata"


def _rate(stream: VideoStream, scan: Scan | None) -> Fraction | None:
    coded = stream.codec_context.framerate
    for rate in (stream.average_rate, coded, stream.guessed_rate, stream.base_rate):
        if rate is not None and 0 < rate <= 10_000:
            return Fraction(rate)
    times = scan.sorted_pts() if scan is not None else []
    return average_rate(times, stream.time_base or Fraction(1, 1000))


def _describe(
    source: str,
    container: InputContainer,
    stream: VideoStream,
    frame: VideoFrame,
    unpacker: Unpacker,
    scan: Scan | None,
) -> ClipInfo:
    """Put the facts together."""
    base = stream.time_base or Fraction(1, 1000)
    rate = _rate(stream, scan)
    site = _chroma_site(container, stream)
    color = read_color(frame, stream.codec_context, site, is_full=unpacker.is_full_range)
    resolved, guesses = guess_color(
        color,
        frame.width,
        frame.height,
        is_rgb=unpacker.target.kind == "rgb",
        is_full_range_format=unpacker.is_full_range,
    )
    turn, turn_warnings = _rotation(frame)
    timecode, timecode_warnings = _timecode(container, stream, frame, rate)
    order = _FIELD_ORDERS.get(int(stream.codec_context.field_order), FieldOrder.UNKNOWN)
    warnings = [*_oddities(container, stream, frame, order), *turn_warnings, *timecode_warnings]
    warnings += [unpacker.warning] if unpacker.warning else []
    sar = stream.sample_aspect_ratio
    return ClipInfo(
        source=source,
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        width_px=frame.width,
        height_px=frame.height,
        pixel_format=frame.format.name,
        sample_aspect_ratio=Fraction(sar) if sar else Fraction(1),
        frame_rate=rate,
        time_base=base,
        is_vfr=is_uneven(scan.sorted_pts(), base) if scan is not None else None,
        declared_frames=stream.frames or None,
        decoded_frames=None,
        duration=_duration(container, stream),
        field_order=order,
        rotation_deg=turn,
        color=color,
        resolved_color=resolved,
        color_guesses=guesses,
        timecode=timecode,
        streams=tuple(_stream_info(s) for s in container.streams if s.index != stream.index),
        chapters=_chapters(container),
        metadata=_clean(container.metadata),
        video_metadata=_clean(stream.metadata),
        warnings=tuple(warnings),
    )


def _scan_warnings(scan: Scan) -> tuple[str, ...]:
    said = []
    if scan.problem:
        said.append(f"the file cannot be read to its end: {scan.problem}")
    if scan.damaged:
        said.append(f"{scan.damaged} packets are marked as damaged or cut short")
    return tuple(said)


def first_picture(source: str, pictures: Iterator[Decoded], log: NativeLog) -> Decoded:
    """The first frame of a clip.

    Raises:
        DamagedMedia: not a single picture can be decoded.
    """
    try:
        first = next(pictures, None)
    except Damage as problem:
        raise DamagedMedia(f"{source}: no picture can be decoded: {problem}") from None
    if first is None:
        complaints = log.drain()
        why = f": {complaints[0]}" if complaints else ""
        raise DamagedMedia(f"{source}: no picture can be decoded{why}", "at least one frame")
    return first


def open_clip(
    source: str,
    limits: dict[str, Any],
    log: NativeLog,
    beat: Callable[[], None],
    *,
    scan: bool,
) -> Opened:
    """Open a container, scan it if asked to, decode the first picture and describe the clip.

    Args:
        source: path of the file.
        limits: fields of ``DecodeLimits``.
        log: where FFmpeg's complaints are found.
        beat: called now and then as a sign of life.
        scan: read all packets first.

    Raises:
        RestoreError: refused, unsupported, or without a single picture that can be decoded.
    """
    path = Path(source)
    found: Scan | None = None
    if scan:
        container, stream = open_video(path, limits, log)
        with container:
            found = scan_packets(container, stream, beat, limits["max_frames"])
        cut = [line for line in log.drain() if any(word in line for word in _WORDS_OF_AN_END)]
        found.problem = found.problem or (cut[0] if cut else "")
    container, stream = open_video(path, limits, log)
    pictures = decode_frames(container, stream, log, beat)
    first = first_picture(source, pictures, log)
    unpacker = Unpacker.for_frame(first.frame)
    info = _describe(source, container, stream, first.frame, unpacker, found)
    if found is not None:
        info = replace(info, warnings=info.warnings + _scan_warnings(found))
    times = _times_of_avi(container, stream, found) if found is not None else None
    return Opened(info, unpacker, found, chain([first], pictures), times)


def _times_of_avi(container: InputContainer, stream: VideoStream, scan: Scan) -> list[int] | None:
    """AVI has times in coding order only; with B-frames the nth frame shown has the nth of them."""
    if container.format.name != "avi" or not stream.codec_context.has_b_frames:
        return None
    times = scan.sorted_pts()
    return times if len(times) == scan.packets else None
