"""The one function that opens an output for writing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

import av
from av.container import OutputContainer

from restore.errors import InvalidInput
from restore.frames import ClipInfo
from restore.media.master import ClipWriter, CopiedStream, VideoSpec, WriteReport
from restore.media.profiles import Delivery, DeliveryProfile
from restore.media.streams import StreamCopier
from restore.media.video_out import ContainerWriter
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
        range: frames of the source that are written. Where it is not the whole, time starts at
            the first frame written and copied packets are cut to the video's time.
        overwrite: replace what has that name.
        metadata: tags about what was done. MP4 and QuickTime keep their keys as they are,
            Matroska writes them in capitals.

    Returns:
        An open writer; its ``pixel_format`` and ``color`` say what ``write`` wants.

    Raises:
        InvalidInput: the delivery does not fit the name or the picture.
        OutputExists: the name is taken and ``overwrite`` is off.
        OutputError: the output cannot be made there.
    """
    facts = delivery.facts
    _check_name(destination, facts)
    is_cut = range is not None and not range.is_whole

    has_others = source is None or bool(source.streams)

    def copier(output: OutputContainer) -> StreamCopier:
        indexes = None if source is None else {stream.index for stream in source.streams}
        return StreamCopier(av.open(copy_from or "", "r"), output, indexes=indexes, is_cut=is_cut)

    return ContainerWriter(
        destination,
        delivery,
        video,
        copier=copier if copy_from is not None and has_others else None,
        is_cut=is_cut,
        overwrite=overwrite,
        metadata=metadata or {},
    )


def _check_name(destination: str, facts: DeliveryProfile) -> None:
    suffix = PurePath(destination).suffix.lower()
    if facts.kind == "video" and suffix not in facts.suffixes:
        raise InvalidInput(
            f"output {destination!r} for {facts.name}",
            f"a name that ends in {', '.join(facts.suffixes)}",
        )
