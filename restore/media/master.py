"""What a writer is asked for, what it offers while open, and what it reports at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import TracebackType
from typing import Literal, Self

from restore.color import ColorSpec
from restore.errors import InvalidInput
from restore.frames import Chapter, FieldOrder, PixelFormat, RawFrame
from restore.time import Timecode

__all__ = ["ClipWriter", "CopiedStream", "VideoSpec", "WriteReport"]


@dataclass(frozen=True)
class VideoSpec:
    """The video that is to be written.

    Attributes:
        width_px: picture width.
        height_px: picture height.
        sample_aspect_ratio: width of a sample over its height.
        frame_rate: average rate in frames per second; None where there is none.
        time_base: unit of the frames' pts in seconds; every pts is kept exactly where the
            container can.
        color: tags to write. Primaries and transfer left UNSPECIFIED stay unsaid in the file;
            matrix, range and siting are always written as they were used.
        color_used: colour of the source with nothing unspecified.
        timecode: of the first frame that will be written.
        has_alpha: the frames come with an alpha plane that is worth keeping.
        is_vfr: frame times are uneven; None where unknown.
        field_order: how the pictures to write were scanned, PROGRESSIVE once they were
            deinterlaced; None where that is as the source declares.
        metadata: tags of the source's container.
        chapters: in seconds from the start of the source, at the tempo.
        tempo: seconds of the source that a second of the video shows; the times of the source's
            other streams are divided by it.
        sound: what becomes of the source's sound at a tempo other than 1: ``retime``, ``keep``
            (out of step) or ``drop``.
    """

    width_px: int
    height_px: int
    time_base: Fraction
    color_used: ColorSpec
    color: ColorSpec = field(default_factory=ColorSpec)
    sample_aspect_ratio: Fraction = Fraction(1)
    frame_rate: Fraction | None = None
    timecode: Timecode | None = None
    has_alpha: bool = False
    is_vfr: bool | None = None
    field_order: FieldOrder | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    chapters: tuple[Chapter, ...] = ()
    tempo: Fraction = Fraction(1)
    sound: Literal["retime", "keep", "drop"] = "retime"

    def __post_init__(self) -> None:
        if self.width_px < 1 or self.height_px < 1:
            raise InvalidInput(
                f"picture of {self.width_px}x{self.height_px}", "at least one sample each way"
            )
        if self.time_base <= 0 or self.sample_aspect_ratio <= 0:
            raise InvalidInput(
                f"time base {self.time_base}, sample aspect ratio {self.sample_aspect_ratio}",
                "positive values",
            )
        if self.frame_rate is not None and self.frame_rate <= 0:
            raise InvalidInput(f"frame rate {self.frame_rate}", "a positive rate, or None")


@dataclass(frozen=True)
class CopiedStream:
    """What became of one stream of the source beside the video.

    Attributes:
        index: its position in the source.
        type: ``audio``, ``subtitle``, ``attachment``, ``data`` or ``video``.
        codec: its codec.
        outcome: ``copied`` (bit for bit), ``converted`` or ``dropped``.
        detail: for people: to what it was converted, why it was dropped.
        packets: how many of its packets were written.
    """

    index: int
    type: str
    codec: str
    outcome: str
    detail: str = ""
    packets: int = 0


@dataclass(frozen=True)
class WriteReport:
    """What was written.

    Attributes:
        path: the final name (a printf pattern or folder for sequences, ``-`` for the pipe).
        frames: number of frames.
        bytes: size of the file, or of all files.
        warnings: what could not be done as asked, for people.
        streams: what became of every other stream of the source.
    """

    path: str
    frames: int
    bytes: int
    warnings: tuple[str, ...] = ()
    streams: tuple[CopiedStream, ...] = ()


class ClipWriter(ABC):
    """An open output. Leaving its context by an exception aborts; nothing is then visible.

    Attributes:
        pixel_format: planar layout that ``write`` wants.
        color: matrix, range and chroma siting of the samples that ``write`` wants.
        warnings: known so far, for people.
    """

    pixel_format: PixelFormat
    color: ColorSpec
    warnings: list[str]

    @abstractmethod
    def write(self, frame: RawFrame) -> None:
        """Write one frame. Frames come in order of presentation, with rising pts.

        Args:
            frame: planes in ``pixel_format`` of the size that was announced. Its pts may be in
                any time base; it is kept exactly where the container can.

        Raises:
            InvalidInput: another layout, size or order of time than announced.
            OutputError: the frame could not be written (disk full, pipe closed ...).
        """

    def keep_room(self, name: str) -> None:  # noqa: B027  most outputs have no room to keep
        """Keep room for a tag that :meth:`set_metadata` will give after the last frame.

        Args:
            name: of the tag. Where outputs hold none, nothing happens.
        """

    @abstractmethod
    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Add tags. Containers write theirs with the first frame, so only before it,
        but for MP4 and for tags that room was kept for.

        Raises:
            InvalidInput: a frame was written already, or the output holds no tags.
        """

    @abstractmethod
    def close(self) -> WriteReport:
        """Finish, flush to disk and give the output its final name. A second call returns the same.

        Raises:
            OutputError: nothing was written under the final name; the partial result is gone.
        """

    @abstractmethod
    def abort(self) -> None:
        """Remove what was written. Does nothing after ``close``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Abort where an exception passes, else close unless that was done."""
        if kind is None:
            self.close()
        else:
            self.abort()

    def _check(self, frame: RawFrame, video: VideoSpec) -> None:
        if frame.format != self.pixel_format:
            raise InvalidInput(
                f"a frame in {frame.format.name}", f"{self.pixel_format.name} for this delivery"
            )
        if (frame.width_px, frame.height_px) != (video.width_px, video.height_px):
            raise InvalidInput(
                f"a frame of {frame.width_px}x{frame.height_px}",
                f"{video.width_px}x{video.height_px} as announced",
            )
