"""Decodes single pictures and image sequences, in a decode child.

Pictures go to their decoder without a demuxer: FFmpeg's own sequence reader looks for files by
itself and decodes each of them twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

from restore.color import ChromaSite, guess_color
from restore.errors import InvalidInput, UnsafeMedia, UnsupportedMedia
from restore.frames import ClipInfo, FieldOrder
from restore.media.container_in import Damage, Decoded, confine_decoder, decode_packets
from restore.media.examine import Opened, first_picture, frame_metadata, read_color
from restore.media.image_kinds import ImageHeader, read_header
from restore.media.image_names import ImageFiles, find_images
from restore.media.native_log import NativeLog
from restore.media.open import check_file
from restore.media.padded import padded_packet
from restore.media.unpack import Unpacker
from restore.time import Timecode

__all__ = ["is_image", "open_images"]

_DEFAULT_RATE = Fraction(25)


def is_image(path: Path) -> bool:
    """Whether a regular file is a single picture, by its first bytes.

    Raises:
        InvalidInput: no such file, not a regular file, empty.
    """
    check_file(path)
    try:
        return read_header(path) is not None
    except OSError as problem:
        raise InvalidInput(f"{path} cannot be read: {problem.strerror}") from None


def _checked_header(path: Path, limits: dict[str, Any]) -> ImageHeader:
    check_file(path)
    try:
        header = read_header(path)
        size_bytes = path.stat().st_size
    except OSError as problem:
        raise InvalidInput(f"{path} cannot be read: {problem.strerror}") from None
    if header is None:
        raise UnsupportedMedia(f"{path} is no picture of a known kind", "PNG, TIFF, DPX, EXR, JPEG")
    if header.width_px * header.height_px > limits["max_pixels_px"]:
        raise UnsafeMedia(
            f"{path}: picture of {header.width_px}x{header.height_px}",
            f"at most {limits['max_pixels_px']} px",
            "Raise the decode limits if you trust the file.",
        )
    if size_bytes > limits["memory_bytes"]:
        raise UnsafeMedia(f"{path} has {size_bytes} bytes", f"at most {limits['memory_bytes']}")
    return header


@dataclass
class _Sequence:
    """Pictures whose headers agree.

    Attributes:
        files: in order.
        header: of the first.
        warnings: of all headers, each once.
        damage: what is known to be missing, by number of the file.
    """

    files: ImageFiles
    header: ImageHeader
    warnings: tuple[str, ...] = ()
    damage: dict[int, str] = field(default_factory=dict)


def _check_alike(files: ImageFiles, limits: dict[str, Any], beat: Callable[[], None]) -> _Sequence:
    """Compare all headers."""
    first = _checked_header(files.files[0], limits)
    warnings: dict[str, None] = {}
    sequence = _Sequence(files, first)
    for number, path in enumerate(files.files):
        beat()
        header = _checked_header(path, limits)
        warnings[header.warning] = None
        if header.damage:
            sequence.damage[number] = header.damage
        known = header.width_px and first.width_px
        if header.codec != first.codec or (known and str(header) != str(first)):
            raise UnsupportedMedia(
                f"the pictures differ: {files.files[0].name} is {first}, {path.name} is {header}",
                "pictures of one size and kind",
            )
    sequence.warnings = files.warnings + tuple(text for text in warnings if text)
    return sequence


def _packets(sequence: _Sequence, rate: Fraction) -> Iterator[Packet[Any]]:
    for number, path in enumerate(sequence.files.files):
        if number in sequence.damage:
            raise Damage(sequence.damage[number])
        try:
            packet = padded_packet(path.read_bytes())
        except OSError as problem:
            raise Damage(f"{path.name} cannot be read: {problem.strerror}") from None
        packet.pts = packet.dts = number
        # Without this mark FFmpeg's PNG decoder adds each picture to the one before.
        packet.is_keyframe = True
        packet.duration = 1
        packet.time_base = 1 / rate
        yield packet


def _pictures(
    sequence: _Sequence,
    rate: Fraction,
    context: VideoCodecContext,
    log: NativeLog,
    beat: Callable[[], None],
) -> Iterator[Decoded]:
    """Decode file after file; damage names the file."""
    number, files = 0, sequence.files.files
    try:
        for picture in decode_packets(_packets(sequence, rate), context, log, beat, 0):
            if picture.frame.pts != number:
                raise Damage("it gives no picture")
            yield picture
            number += 1
    except Damage as problem:
        name = files[min(number, len(files) - 1)].name
        raise Damage(f"{name}: {problem}") from None
    if number < len(files):
        raise Damage(f"{files[number].name}: it gives no picture")


def _describe(
    source: str, sequence: _Sequence, rate: Fraction, context: VideoCodecContext,
    first: Decoded, unpacker: Unpacker,
) -> ClipInfo:  # fmt: skip
    frame = first.frame
    is_full = unpacker.is_full_range
    site = ChromaSite.CENTER if context.name in ("mjpeg", "webp") else ChromaSite.UNSPECIFIED
    color = read_color(frame, context, site, is_full=is_full)
    resolved, guesses = guess_color(
        color, frame.width, frame.height, is_rgb=unpacker.target.kind == "rgb",
        is_full_range_format=is_full or unpacker.target.kind != "yuv",
    )  # fmt: skip
    files = sequence.files
    count = len(files.files)
    metadata = frame_metadata(frame)
    if files.first_number is not None:
        metadata["first_number"] = str(files.first_number)
    warnings = sequence.warnings + ((unpacker.warning,) if unpacker.warning else ())
    timecode = None
    if text := metadata.get("timecode"):
        try:
            timecode = Timecode.parse(text, rate)
        except InvalidInput as problem:
            warnings += (f"timecode left out: {problem}",)
    sar = context.sample_aspect_ratio
    return ClipInfo(
        source=source,
        container="image" if count == 1 else "image sequence",
        codec=context.codec.canonical_name,
        width_px=frame.width,
        height_px=frame.height,
        pixel_format=frame.format.name,
        sample_aspect_ratio=Fraction(sar) if sar else Fraction(1),
        frame_rate=rate,
        time_base=1 / rate,
        is_vfr=False,
        declared_frames=count,
        decoded_frames=None,
        duration=count / rate,
        field_order=FieldOrder.PROGRESSIVE,
        rotation_deg=-int(frame.rotation) % 360 if frame.rotation % 90 == 0 else 0,
        color=color,
        resolved_color=resolved,
        color_guesses=guesses,
        timecode=timecode,
        # A PNG's text is what somebody said of the picture; other frames' facts are technical.
        metadata=frame_metadata(frame) if context.name == "png" else {},
        video_metadata=metadata,
        warnings=warnings,
    )


def open_images(
    source: str,
    limits: dict[str, Any],
    log: NativeLog,
    beat: Callable[[], None],
    rate: Fraction | None,
) -> Opened:
    """Open a picture, a folder of pictures or a pattern.

    Args:
        source: as given.
        limits: fields of ``DecodeLimits``.
        log: where FFmpeg's complaints are found.
        beat: called now and then as a sign of life.
        rate: frames per second; what the files say, or 25, where None.

    Raises:
        RestoreError: nothing there, mixed kinds or sizes, too large, or no picture in the first.
    """
    sequence = _check_alike(find_images(source), limits, beat)
    rate = rate or sequence.header.rate or _DEFAULT_RATE
    context = av.CodecContext.create(sequence.header.codec, "r")
    if not isinstance(context, VideoCodecContext):
        raise UnsupportedMedia(f"{source}: {sequence.header.codec} is no picture codec")
    confine_decoder(context, limits)
    pictures = _pictures(sequence, rate, context, log, beat)
    first = first_picture(source, pictures, log)
    unpacker = Unpacker.for_frame(first.frame)
    info = _describe(source, sequence, rate, context, first, unpacker)
    return Opened(info, unpacker, None, chain([first], pictures))
