"""Copies a decoded picture into planar memory without changing a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt

from restore.errors import UnsupportedMedia
from restore.frames import PIXEL_FORMATS, PixelFormat
from restore.media.planar import Plane
from restore.media.source_layouts import Layout, Tap, fallback_target, layout_for

__all__ = ["Unpacker"]


def _rows(frame: av.VideoFrame, plane: int, dtype: str) -> Plane:
    """Source samples of a plane, ``[rows, line]``, padding included."""
    source = frame.planes[plane]
    lines = np.frombuffer(memoryview(source), np.uint8).reshape(-1, abs(source.line_size))
    if source.line_size < 0:  # stored bottom up
        lines = lines[::-1]
    size = np.dtype(dtype).itemsize
    return lines[:, : lines.shape[1] // size * size].view(dtype)


@dataclass(frozen=True)
class Unpacker:
    """The way from one decoded format to the planar one that is handed over.

    Attributes:
        source: FFmpeg's name of the decoded format.
        target: planar format.
        layout: exact layout; None where swscale converts.
        warning: what is not exact about it, for people; empty where everything is.
    """

    source: str
    target: PixelFormat
    layout: Layout | None
    warning: str = ""

    @classmethod
    def for_frame(cls, frame: av.VideoFrame) -> Unpacker:
        """Choose by the first frame of a clip.

        Raises:
            UnsupportedMedia: not a picture in memory, or nothing can convert it.
        """
        name = frame.format.name
        layout = layout_for(name)
        if layout is not None:
            target = layout.target
            if layout.special == "palette" and not _palette_has_alpha(frame):
                target = "gbrp"
            return cls(name, PIXEL_FORMATS[target], layout)
        components = frame.format.components
        if not components:
            raise UnsupportedMedia(f"pixel format {name}", "a picture in memory")
        target = fallback_target(
            max(part.bits for part in components),
            has_alpha=any(part.is_alpha for part in components),
            is_grey=sum(not part.is_alpha for part in components) == 1
            and not frame.format.is_bayer,
            is_yuv=any(part.is_chroma for part in components),
        )
        warning = f"pixel format {name} has no exact planar form; converted to {target}"
        return cls(name, PIXEL_FORMATS[target], None, warning)

    @property
    def is_full_range(self) -> bool:
        """Whether the source format itself says full range."""
        return self.layout is not None and self.layout.is_full_range

    def unpack(self, frame: av.VideoFrame, planes: Sequence[Plane]) -> None:
        """Copy a frame.

        Args:
            frame: of the source format.
            planes: arrays of the target's shapes to write to.

        Raises:
            UnsupportedMedia: swscale cannot convert the format, or an opaque palette has become
                transparent.
        """
        layout = self.layout
        if layout is None:
            try:
                # One thread: with more, swscale gives other samples now and then.
                frame = frame.reformat(format=self.target.name, threads=1)
            except (ValueError, OSError) as problem:
                raise UnsupportedMedia(f"pixel format {self.source}: {problem}") from None
            for number, out in enumerate(planes):
                source = _rows(frame, number, out.dtype.str)
                np.copyto(out, source[: out.shape[0], : out.shape[1]])
        elif layout.special == "palette":
            if not self.target.has_alpha and _palette_has_alpha(frame):
                raise UnsupportedMedia("the palette becomes transparent in the middle of the clip")
            _unpack_palette(frame, planes)
        elif layout.special:
            _unpack_bits(frame, planes[0], inverted=layout.special == "mono-inverted")
        else:
            for tap, out in zip(layout.taps, planes, strict=True):
                _take(frame, layout.dtype, tap, out, self.target.depth_bits)


def _take(frame: av.VideoFrame, dtype: str, tap: Tap, out: Plane, depth_bits: int) -> None:
    rows, cols = out.shape
    source = _rows(frame, tap.plane, dtype)
    stop = tap.offset + tap.step * (cols - 1) + 1
    samples = source[:rows, tap.offset : stop : tap.step]
    if samples.dtype.itemsize == 4 and samples.dtype.kind == "u":
        mask = (1 << depth_bits) - 1
        np.copyto(out, (samples >> tap.shift) & mask, casting="unsafe")
    elif tap.shift:
        np.right_shift(samples, tap.shift, out=out, casting="unsafe")
    else:
        np.copyto(out, samples, casting="unsafe")


def _palette(frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
    """The 256 entries as ``[256, 4]`` B, G, R, A (FFmpeg stores native-endian ARGB words)."""
    words = np.frombuffer(memoryview(frame.planes[1]), np.uint32, 256).astype("<u4")
    return words.view(np.uint8).reshape(256, 4)


def _palette_has_alpha(frame: av.VideoFrame) -> bool:
    clear = _palette(frame)[:, 3] != 255
    if not clear.any():
        return False
    indices = _rows(frame, 0, "u1")[: frame.height, : frame.width]
    used = np.bincount(indices.reshape(-1), minlength=256) > 0
    return bool((clear & used).any())


def _unpack_palette(frame: av.VideoFrame, planes: Sequence[Plane]) -> None:
    palette = _palette(frame)
    indices = _rows(frame, 0, "u1")[: frame.height, : frame.width]
    for out, channel in zip(planes, (1, 0, 2, 3), strict=False):
        np.copyto(out, palette[:, channel][indices])


def _unpack_bits(frame: av.VideoFrame, out: Plane, *, inverted: bool) -> None:
    rows, cols = out.shape
    bits = np.unpackbits(_rows(frame, 0, "u1")[:rows], axis=1)[:, :cols]
    np.multiply(1 - bits if inverted else bits, 255, out=out, casting="unsafe")
