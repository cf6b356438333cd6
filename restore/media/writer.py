"""The one function that opens an output for writing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import PurePath

from av.container import OutputContainer

from restore.errors import InvalidInput
from restore.frames import ClipInfo, FieldOrder
from restore.media.master import ClipWriter, CopiedStream, VideoSpec, WriteReport
from restore.media.open import open_media
from restore.media.profiles import Delivery, DeliveryProfile
from restore.media.sequence_out import SequenceWriter
from restore.media.streams import StreamCopier, starts_anywhere
from restore.media.video_out import ContainerWriter
from restore.media.y4m_out import Y4mWriter
from restore.time import FrameRange

__all__ = ["ClipWriter", "CopiedStream", "VideoSpec", "WriteReport", "open_writer"]


def open_writer(
    destination: str,
    delivery: Delivery,
    video: VideoSpec,
    *,
    copy_from: str | None = None,
    source: ClipInfo | None = None,
    range: FrameRange | None = None,
    overwrite: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> ClipWriter:
    """Open an output. Nothing has its final name before the writer is closed.

    Args:
        destination: a file name, a printf pattern, a folder (ending in a slash), or ``-``.
        delivery: profile and departures from it.
        video: what will be written.
        copy_from: file whose other streams are copied: sound, subtitles, attachments, data.
        source: facts of that file; names its streams. Without it all but the best video go along.
            Where it is declared as interlaced and ``video`` says nothing else, the report carries
            a warning, for the result is flagged as progressive.
        range: frames of the source that are written. Where it is not the whole, time starts at
            the first frame written and copied packets are cut to the video's time.
        overwrite: replace what has that name.
        metadata: tags about what was done. MP4 and QuickTime keep their keys as they are,
            Matroska writes them in capitals, PNG files have them as text; other image files
            have none.

    Returns:
        An open writer; its ``pixel_format`` and ``color`` say what ``write`` wants.

    Raises:
        InvalidInput: the delivery does not fit the name or the picture.
        OutputExists: the name is taken and ``overwrite`` is off.
        OutputError: the output cannot be made there.
    """
    _check_name(destination, delivery.facts)
    writer = _open(
        destination,
        delivery,
        video,
        copy_from=copy_from,
        source=source,
        range=range,
        overwrite=overwrite,
        metadata=metadata or {},
    )
    writer.warnings.extend(_fields(video, source))
    return writer


def _open(
    destination: str,
    delivery: Delivery,
    video: VideoSpec,
    *,
    copy_from: str | None,
    source: ClipInfo | None,
    range: FrameRange | None,
    overwrite: bool,
    metadata: Mapping[str, str],
) -> ClipWriter:
    """The writer of the delivery's kind."""
    facts = delivery.facts
    if facts.kind == "pipe":
        lost = _lost(source, copy_from, "YUV4MPEG2 holds pictures only")
        return Y4mWriter(destination, delivery, video, streams=lost, overwrite=overwrite)
    if facts.kind == "sequence":
        lost = _lost(source, copy_from, "image files hold pictures only")
        return SequenceWriter(
            destination,
            delivery,
            video,
            first_number=range.start if range is not None else 0,
            streams=lost,
            metadata=metadata,
            overwrite=overwrite,
        )
    copier = _copier(copy_from, source, range, video)
    cut = None if range is None or range.is_whole else range
    is_alone = copier is None and source is not None and starts_anywhere(source.container)
    return ContainerWriter(
        destination,
        delivery,
        video,
        copier=copier,
        cut_s=_length_s(cut, video, source),
        rebase=cut is not None or is_alone,
        overwrite=overwrite,
        metadata=metadata,
    )


def _fields(video: VideoSpec, source: ClipInfo | None) -> tuple[str, ...]:
    """A warning for interlaced pictures: nothing that is written says that its lines are fields."""
    order = video.field_order or (source.field_order if source is not None else None)
    if order not in (FieldOrder.TFF, FieldOrder.BFF):
        return ()
    first = "top" if order is FieldOrder.TFF else "bottom"
    return (
        f"the source is declared as interlaced, {first} field first: the two fields of a frame "
        "were treated as one picture, and the result is flagged as progressive. Where they show "
        "two moments, moving edges stay combed; deinterlace first (stage fields)",
    )


def _length_s(cut: FrameRange | None, video: VideoSpec, source: ClipInfo | None) -> Fraction | None:
    """How long a part of the source lasts in the video's time, None where unknown or the whole."""
    rate = video.frame_rate if source is None else source.frame_rate
    if cut is None or cut.stop is None or rate is None:
        return None
    return (cut.stop - cut.start) / rate / video.tempo


def _copier(
    copy_from: str | None, source: ClipInfo | None, range: FrameRange | None, video: VideoSpec
) -> Callable[[OutputContainer], StreamCopier] | None:
    if copy_from is None or (source is not None and not source.streams):
        return None
    path = copy_from
    indexes = None if source is None else {stream.index for stream in source.streams}
    is_cut = range is not None and not range.is_whole

    def open_copier(output: OutputContainer) -> StreamCopier:
        return StreamCopier(
            open_media(path),
            output,
            indexes=indexes,
            is_cut=is_cut,
            tempo=video.tempo,
            sound=video.sound,
        )

    return open_copier


def _lost(source: ClipInfo | None, copy_from: str | None, why: str) -> tuple[CopiedStream, ...]:
    """What is said about streams that the output has no place for."""
    if source is None or copy_from is None:
        return ()
    return tuple(
        CopiedStream(stream.index, stream.type, stream.codec, "dropped", why)
        for stream in source.streams
    )


def _check_name(destination: str, facts: DeliveryProfile) -> None:
    suffix = PurePath(destination).suffix.lower()
    if facts.kind == "video" and suffix not in facts.suffixes:
        raise InvalidInput(
            f"output {destination!r} for {facts.name}",
            f"a name that ends in {', '.join(facts.suffixes)}",
        )
    if facts.kind == "pipe" and destination != "-" and suffix not in facts.suffixes:
        raise InvalidInput(f"output {destination!r} for {facts.name}", "- or a name ending in .y4m")
    is_folder = destination.endswith(("/", "\\")) or not suffix
    if facts.kind == "sequence" and not is_folder and suffix not in facts.suffixes:
        raise InvalidInput(
            f"output {destination!r} for {facts.name}",
            f"a name ending in {', '.join(facts.suffixes)}, a printf pattern or a folder",
        )
