"""What flows: clips, raw frames as files hold them, and frames as stages see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from restore.color import ColorSpec
from restore.errors import InvalidInput, UnsupportedMedia
from restore.time import Timecode

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

__all__ = [
    "PIXEL_FORMATS",
    "Chapter",
    "ClipInfo",
    "FieldOrder",
    "Frame",
    "FrameBatch",
    "PixelFormat",
    "RawFrame",
    "StreamInfo",
    "pixel_format",
]


@dataclass(frozen=True)
class PixelFormat:
    """A planar layout of samples, named as FFmpeg names it.

    Attributes:
        name: FFmpeg's name.
        kind: ``yuv``, ``rgb`` (planes in the order G, B, R as in gbrp) or ``gray``.
        depth_bits: bits used of each sample; 32 for float samples.
        log2_w: horizontal chroma subsampling, as a power of two.
        log2_h: vertical chroma subsampling, as a power of two.
        has_alpha: a full-size alpha plane comes last, full range.
        is_float: samples are float32, nominal 0..1.
    """

    name: str
    kind: Literal["yuv", "rgb", "gray"]
    depth_bits: int
    log2_w: int = 0
    log2_h: int = 0
    has_alpha: bool = False
    is_float: bool = False

    @property
    def planes(self) -> int:
        """Number of planes, alpha included."""
        return (1 if self.kind == "gray" else 3) + self.has_alpha

    @property
    def sample_bytes(self) -> int:
        """Bytes a sample takes in memory."""
        return 4 if self.is_float else 1 if self.depth_bits <= 8 else 2

    def plane_shape(self, plane: int, width_px: int, height_px: int) -> tuple[int, int]:
        """Rows and columns of one plane of a frame of the given size."""
        if self.kind == "yuv" and plane in (1, 2):
            return -(-height_px >> self.log2_h), -(-width_px >> self.log2_w)
        return height_px, width_px

    def frame_bytes(self, width_px: int, height_px: int) -> int:
        """Bytes of one packed frame."""
        shapes = (self.plane_shape(p, width_px, height_px) for p in range(self.planes))
        return sum(rows * cols for rows, cols in shapes) * self.sample_bytes


def _formats() -> dict[str, PixelFormat]:
    table: list[PixelFormat] = []
    depths = {8: "", 9: "9le", 10: "10le", 12: "12le", 14: "14le", 16: "16le"}
    for chroma, (log2_w, log2_h) in {
        "420": (1, 1),
        "422": (1, 0),
        "444": (0, 0),
        "440": (0, 1),
        "411": (2, 0),
        "410": (2, 2),
    }.items():
        for bits, suffix in depths.items():
            if bits > 8 and chroma in ("411", "410"):
                continue
            table.append(PixelFormat(f"yuv{chroma}p{suffix}", "yuv", bits, log2_w, log2_h))
            if chroma in ("420", "422", "444"):
                table.append(
                    PixelFormat(f"yuva{chroma}p{suffix}", "yuv", bits, log2_w, log2_h, True)
                )
    for bits, suffix in depths.items():
        table.append(PixelFormat(f"gbrp{suffix}", "rgb", bits))
        table.append(PixelFormat(f"gbrap{suffix}", "rgb", bits, has_alpha=True))
        table.append(PixelFormat(f"gray{suffix}", "gray", bits))
    table.append(PixelFormat("gbrpf32le", "rgb", 32, is_float=True))
    table.append(PixelFormat("gbrapf32le", "rgb", 32, has_alpha=True, is_float=True))
    table.append(PixelFormat("grayf32le", "gray", 32, is_float=True))
    return {entry.name: entry for entry in table}


PIXEL_FORMATS: Mapping[str, PixelFormat] = _formats()


def pixel_format(name: str) -> PixelFormat:
    """The planar format of that name.

    Raises:
        UnsupportedMedia: not one of the planar formats that the pipeline carries.
    """
    try:
        return PIXEL_FORMATS[name]
    except KeyError:
        raise UnsupportedMedia(
            f"pixel format {name!r}", "a planar YUV, RGB or grey format of 8 to 16 bit or float"
        ) from None


class FieldOrder(Enum):
    """Scanning of the video as the file declares it."""

    UNKNOWN = "unknown"
    PROGRESSIVE = "progressive"
    TFF = "tff"
    BFF = "bff"

    @property
    def has_fields(self) -> bool:
        """Whether a frame is declared to hold two fields."""
        return self in (FieldOrder.TFF, FieldOrder.BFF)


@dataclass(frozen=True)
class StreamInfo:
    """A stream beside the video that is processed.

    Attributes:
        index: position in the container.
        type: ``audio``, ``subtitle``, ``attachment``, ``data`` or ``video`` (cover art, 2nd angle).
        codec: codec name as FFmpeg has it, empty where unknown.
        time_base: unit of its timestamps in seconds.
        duration: length in seconds, None where undeclared.
        language: ISO 639-2 code or empty.
        detail: for people: ``stereo 48000 Hz``, a file name ...
        metadata: tags.
    """

    index: int
    type: str
    codec: str
    time_base: Fraction | None = None
    duration: Fraction | None = None
    language: str = ""
    detail: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Chapter:
    """A chapter, times in seconds from the start of the clip, ``[start, stop)``."""

    start: Fraction
    stop: Fraction
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClipInfo:
    """Facts of a clip, all as declared unless said otherwise.

    Attributes:
        source: file name, folder or printf pattern, or ``-``.
        container: FFmpeg's demuxer name, or ``image sequence``.
        codec: video codec name.
        width_px: coded picture width before rotation.
        height_px: coded picture height before rotation.
        pixel_format: FFmpeg's name of the samples as decoded.
        sample_aspect_ratio: width of a sample over its height; 1 where undeclared.
        frame_rate: average rate; None where there is none (a single image has 25).
        time_base: unit of pts, in seconds.
        is_vfr: None until decoded or known from the index; True where frame times are uneven.
        declared_frames: count the container claims; None where it does not.
        decoded_frames: count found by decoding; None where not decoded.
        duration: in seconds; None where undeclared.
        field_order: declared scanning.
        rotation_deg: clockwise turn (0, 90, 180, 270) that displays the picture upright.
        color: colour as declared.
        resolved_color: colour as used, guesses filled in.
        color_guesses: one sentence for each guess.
        timecode: of the first frame.
        streams: every other stream.
        chapters: chapters.
        metadata: container tags.
        video_metadata: tags of the video stream.
        warnings: what is odd about the file, for people.
    """

    source: str
    container: str
    codec: str
    width_px: int
    height_px: int
    pixel_format: str
    sample_aspect_ratio: Fraction
    frame_rate: Fraction | None
    time_base: Fraction
    is_vfr: bool | None
    declared_frames: int | None
    decoded_frames: int | None
    duration: Fraction | None
    field_order: FieldOrder
    rotation_deg: int
    color: ColorSpec
    resolved_color: ColorSpec
    color_guesses: tuple[str, ...] = ()
    timecode: Timecode | None = None
    streams: tuple[StreamInfo, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    video_metadata: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def upright_px(self) -> tuple[int, int]:
        """Width and height once the picture is turned upright."""
        if self.rotation_deg % 180:
            return self.height_px, self.width_px
        return self.width_px, self.height_px

    @property
    def upright_sar(self) -> Fraction:
        """Sample aspect ratio once the picture is turned upright."""
        sar = self.sample_aspect_ratio
        return 1 / sar if self.rotation_deg % 180 else sar


@dataclass(frozen=True, eq=False)
class RawFrame:
    """A frame as a file holds it: integer (or float32) planes, not yet converted.

    Attributes:
        planes: one array ``[rows, cols]`` a plane in the format's order, uint8, uint16 or float32;
            16-bit containers of fewer bits hold the value in the low bits.
        format: layout of the planes.
        width_px: picture width.
        height_px: picture height.
        pts: presentation time in ``time_base`` units.
        time_base: in seconds.
        color: colour of the samples, with nothing unspecified.
        index: frame number in the source, from 0.
        duration: in ``time_base`` units; None where unknown.
        woven: declared as two fields in turn, so that 4:2:0 chroma is sited in each of them.
    """

    planes: tuple[npt.NDArray[np.generic], ...]
    format: PixelFormat
    width_px: int
    height_px: int
    pts: int
    time_base: Fraction
    color: ColorSpec
    index: int
    duration: int | None = None
    woven: bool = False

    def __post_init__(self) -> None:
        if len(self.planes) != self.format.planes:
            raise InvalidInput(
                f"{len(self.planes)} planes for {self.format.name}", f"{self.format.planes} planes"
            )
        for number, plane in enumerate(self.planes):
            shape = self.format.plane_shape(number, self.width_px, self.height_px)
            if plane.shape != shape or plane.dtype.itemsize != self.format.sample_bytes:
                raise InvalidInput(
                    f"plane {number} of {self.format.name} is {plane.dtype} {plane.shape}",
                    f"shape {shape} with {self.format.sample_bytes} bytes a sample",
                )

    @property
    def nbytes(self) -> int:
        """Memory of the samples, in bytes."""
        return sum(plane.nbytes for plane in self.planes)


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame as stages see it.

    Attributes:
        data: ``[3, h, w]`` float32 R'G'B' (the transfer of ``color`` still applied), nominal 0..1;
            values outside are kept.
        pts: presentation time in ``time_base`` units.
        time_base: in seconds.
        color: colour of the source samples; primaries and transfer hold for ``data`` too.
        index: source frame number that it derives from.
        alpha: ``[1, h, w]`` float32 0..1, or None.
        shot: number of the shot that it belongs to; windows and statistics never reach across.
        is_gray: the source frame is black and white, and what is written of it shall be too.
        duration: in ``time_base`` units; None where unknown.
        synthetic: made up between frames of the source; a repeat of a frame is not.
        woven: its lines are still those of two fields in turn, as the file declared; chroma goes
            back into 4:2:0 field by field then.
    """

    data: Tensor
    pts: int
    time_base: Fraction
    color: ColorSpec
    index: int
    alpha: Tensor | None = None
    duration: int | None = None
    shot: int = 0
    is_gray: bool = False
    synthetic: bool = False
    woven: bool = False

    def __post_init__(self) -> None:
        if self.data.ndim != 3 or self.data.shape[0] != 3:
            raise InvalidInput(f"frame data of shape {tuple(self.data.shape)}", "[3, h, w]")

    @property
    def nbytes(self) -> int:
        """Memory of the samples, in bytes."""
        alpha = 0 if self.alpha is None else self.alpha.numel() * self.alpha.element_size()
        return self.data.numel() * self.data.element_size() + alpha


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """Windows of frames, stacked for a stage.

    Attributes:
        data: ``[N, T, C, h, w]``; window ``n`` is centred on ``centers[n]``.
        centers: the frame that each window produces.
    """

    data: Tensor
    centers: tuple[Frame, ...]

    def __post_init__(self) -> None:
        if self.data.ndim != 5 or self.data.shape[0] != len(self.centers):
            raise InvalidInput(
                f"batch of shape {tuple(self.data.shape)} with {len(self.centers)} centres",
                "[N, T, C, h, w] with N centres",
            )
