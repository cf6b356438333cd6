"""Live frames on their way in and out: pieces into planes, planes into pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.errors import InvalidInput
from restore.frames import PIXEL_FORMATS, PixelFormat, RawFrame
from restore.service.v1 import common_pb2
from restore.service.v1 import restoration_pb2 as pb

__all__ = [
    "PIECE_BYTES",
    "FrameShape",
    "assembled",
    "check_next",
    "color_from",
    "color_to",
    "pieces",
    "raw_of",
]

PIECE_BYTES = 1 << 20
#: Packed layouts and the planar one that stands for each here.
_PACKED = {"rgb24": "gbrp", "rgb48le": "gbrp16le"}
_GBR = (1, 2, 0)  # planes of gbrp, as channels of rgb


def color_from(given: common_pb2.Color) -> ColorSpec:
    """Colour as the pipeline has it; what is left unsaid is taken for BT.709.

    Raises:
        InvalidInput: a code point that H.273 does not have, or that is not supported.
    """
    try:
        site = ChromaSite(given.chroma_site)
        matrix = Matrix.RGB if given.is_rgb else Matrix(given.matrix or 1)
        primaries = Primaries(given.primaries or 1)
        transfer = Transfer(given.transfer or 1)
    except ValueError as error:
        raise InvalidInput(f"colour: {error}", "code points of ITU-T H.273") from error
    return ColorSpec(
        Matrix.BT709 if matrix is Matrix.UNSPECIFIED else matrix,
        Primaries.BT709 if primaries is Primaries.UNSPECIFIED else primaries,
        Transfer.BT709 if transfer is Transfer.UNSPECIFIED else transfer,
        Range.FULL if given.is_full_range or given.is_rgb else Range.LIMITED,
        ChromaSite.LEFT if site is ChromaSite.UNSPECIFIED else site,
    )


def color_to(color: ColorSpec) -> common_pb2.Color:
    """Colour as the contract has it."""
    is_rgb = color.matrix is Matrix.RGB
    return common_pb2.Color(
        primaries=color.primaries.value,
        transfer=color.transfer.value,
        matrix=0 if is_rgb else color.matrix.value,
        is_rgb=is_rgb,
        is_full_range=color.range is Range.FULL,
        chroma_site=f"CHROMA_SITE_{color.chroma_site.name}",
    )


class FrameShape:
    """How a frame lies in a run of bytes: planes one after the other, or packed.

    Args:
        name: of the layout.
        width_px: of the picture.
        height_px: of the picture.

    Raises:
        InvalidInput: no layout of that name.
    """

    def __init__(self, name: str, width_px: int, height_px: int) -> None:
        self.name = name
        self.width_px, self.height_px = width_px, height_px
        planar = _PACKED.get(name, name)
        if planar not in PIXEL_FORMATS:
            raise InvalidInput(
                f"pixel format {name[:40]!r}",
                "a planar one such as yuv420p, yuv422p10le, gbrp16le, gray, or rgb24, rgb48le",
            )
        self.format: PixelFormat = PIXEL_FORMATS[planar]
        self.is_packed = name in _PACKED
        self.nbytes = self.format.frame_bytes(width_px, height_px)
        self._type = np.dtype(
            np.float32
            if self.format.is_float
            else np.uint8
            if self.format.sample_bytes == 1
            else np.uint16
        ).newbyteorder("<")

    def planes(self, data: bytes | bytearray | memoryview) -> tuple[np.ndarray, ...]:
        """Planes over the bytes of a frame; nothing is copied where the layout is planar."""
        samples = np.frombuffer(data, self._type)
        if self.is_packed:
            picture = samples.reshape(self.height_px, self.width_px, 3)
            return tuple(np.ascontiguousarray(picture[..., n]) for n in _GBR)
        planes, start = [], 0
        for number in range(self.format.planes):
            rows, cols = self.format.plane_shape(number, self.width_px, self.height_px)
            planes.append(samples[start : start + rows * cols].reshape(rows, cols))
            start += rows * cols
        return tuple(planes)

    def packed(self, planes: Iterable[np.ndarray], out: memoryview) -> None:
        """Write a frame's planes into ``nbytes`` bytes."""
        target = np.frombuffer(out, self._type)
        if self.is_packed:
            picture = target.reshape(self.height_px, self.width_px, 3)
            for channel, plane in zip(_GBR, planes, strict=True):
                picture[..., channel] = plane
            return
        start = 0
        for plane in planes:
            target[start : start + plane.size] = plane.reshape(-1)
            start += plane.size


def assembled(
    requests: Iterable[pb.RestoreRequest],
    shape: FrameShape,
    color: ColorSpec,
    time_base: Fraction,
    most_frames: int,
) -> Iterator[RawFrame]:
    """Frames from their pieces, as they come. At most one frame is held.

    Args:
        requests: everything after the spec.
        shape: of the frames.
        color: of the samples.
        time_base: of their times.
        most_frames: after so many the stream is refused.

    Raises:
        InvalidInput: pieces out of order, of another length than the frame, times that fall, or a
            frame that the stream ends in.
    """
    held: bytearray | None = None
    filled, index, pts, duration, last_pts = 0, -1, 0, 0, None
    for request in requests:
        if request.WhichOneof("message") != "piece":
            raise InvalidInput("a message that is no piece of a frame", "pieces after the spec")
        piece = request.piece
        if len(piece.data) > PIECE_BYTES:
            raise InvalidInput(f"a piece of {len(piece.data)} bytes", f"at most {PIECE_BYTES}")
        if held is None:
            check_next(piece, index, last_pts, most_frames)
            held, filled = bytearray(shape.nbytes), 0
            index, pts, duration = piece.index, piece.pts, piece.duration
        if piece.index != index or piece.offset != filled:
            raise InvalidInput(
                f"a piece of frame {piece.index} at {piece.offset}",
                f"frame {index} at {filled}: whole frames in order",
            )
        stop = filled + len(piece.data)
        if stop > shape.nbytes or (piece.is_last and stop != shape.nbytes):
            raise InvalidInput(
                f"frame {index} of {stop} bytes{' or more' * (not piece.is_last)}",
                f"{shape.nbytes} for {shape.width_px}x{shape.height_px} {shape.name}",
            )
        held[filled:stop] = piece.data
        filled = stop
        if piece.is_last:
            last_pts = pts
            yield raw_of(shape, held, pts, time_base, color, index, duration)
            held = None
    if held is not None:
        raise InvalidInput(f"a stream that ends in frame {index} after {filled} bytes")


def check_next(
    piece: pb.FramePiece | pb.SharedFrame, index: int, last_pts: int | None, most: int
) -> None:
    """Hold a frame's beginning against the frame before.

    Args:
        piece: the frame's first, or all of it.
        index: of the frame before; -1 where there is none.
        last_pts: of the frame before.
        most: frames in a stream.

    Raises:
        InvalidInput: numbers or times do not rise, or there are too many.
    """
    if piece.index <= index:
        raise InvalidInput(f"frame {piece.index} after frame {index}", "rising numbers")
    if last_pts is not None and piece.pts <= last_pts:
        raise InvalidInput(f"time {piece.pts} after {last_pts}", "rising times")
    if piece.index >= most:
        raise InvalidInput(f"frame {piece.index}", f"at most {most} frames in a stream")


def raw_of(
    shape: FrameShape,
    data: bytearray | memoryview,
    pts: int,
    time_base: Fraction,
    color: ColorSpec,
    index: int,
    duration: int,
) -> RawFrame:
    """A frame over its bytes; planar layouts are not copied. A duration of 0 is unknown."""
    return RawFrame(
        planes=shape.planes(data),
        format=shape.format,
        width_px=shape.width_px,
        height_px=shape.height_px,
        pts=pts,
        time_base=time_base,
        color=color,
        index=index,
        duration=duration or None,
    )


def pieces(
    frame: RawFrame, shape: FrameShape, number: int, time_base: Fraction, *, synthetic: bool
) -> Iterator[pb.FramePiece]:
    """A frame in pieces of at most 1 MiB.

    Args:
        frame: in the shape's layout.
        shape: of what goes out.
        number: of the frame in what goes out.
        time_base: that the client was told.
        synthetic: it was made up.
    """
    data = bytearray(shape.nbytes)
    shape.packed(frame.planes, memoryview(data))
    pts = frame.pts * frame.time_base / time_base
    duration = (frame.duration or 0) * frame.time_base / time_base
    for offset in range(0, shape.nbytes, PIECE_BYTES):
        yield pb.FramePiece(
            index=number,
            pts=round(pts),
            offset=offset,
            data=bytes(data[offset : offset + PIECE_BYTES]),
            is_last=offset + PIECE_BYTES >= shape.nbytes,
            is_synthetic=synthetic,
            duration=round(duration),
        )
