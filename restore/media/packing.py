"""Planar samples into the layouts that encoders take: exact copies, no conversion of values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from av import VideoFrame

from restore.frames import PixelFormat, RawFrame

__all__ = ["encoder_format", "to_video_frame"]

# Planes are held as G, B, R (A); packed layouts want other orders of the same samples.
_RGB, _RGBA = (2, 0, 1), (2, 0, 1, 3)
_BGRA = (1, 0, 2, 3)
_BGR0 = (1, 0, 2, -1)  # -1 leaves a byte zero
_PACKED: dict[str, tuple[tuple[int, ...], str]] = {
    "rgb24": (_RGB, "u1"),
    "rgba": (_RGBA, "u1"),
    "rgb48le": (_RGB, "<u2"),
    "rgb48be": (_RGB, ">u2"),
    "rgba64le": (_RGBA, "<u2"),
    "rgba64be": (_RGBA, ">u2"),
    "bgr0": (_BGR0, "u1"),
    "bgra": (_BGRA, "u1"),
}

# What each encoder takes in place of a planar layout. Anything else goes in under its own name.
_ENCODER_LAYOUTS: dict[str, dict[str, str]] = {
    "png": {
        "gbrp": "rgb24",
        "gbrap": "rgba",
        "gbrp16le": "rgb48be",
        "gbrap16le": "rgba64be",
        "gray16le": "gray16be",
    },
    "tiff": {
        "gbrp": "rgb24",
        "gbrap": "rgba",
        "gbrp16le": "rgb48le",
        "gbrap16le": "rgba64le",
    },
    "dpx": {
        "gbrp": "rgb24",
        "gbrap": "rgba",
        "gbrp10le": "gbrp10be",
        "gbrp12le": "gbrp12be",
        "gbrp16le": "rgb48be",
        "gbrap16le": "rgba64be",
    },
    "ffv1": {"gbrp": "bgr0", "gbrap": "bgra"},
    "hevc_nvenc": {"yuv420p10le": "p010le"},
}


def encoder_format(encoder: str, planar: PixelFormat) -> str:
    """FFmpeg's name of the layout in which ``encoder`` takes the samples of ``planar``."""
    return _ENCODER_LAYOUTS.get(encoder, {}).get(planar.name, planar.name)


def to_video_frame(frame: RawFrame, layout: str) -> VideoFrame:
    """Copy a frame into FFmpeg's memory in the layout that its encoder takes.

    Args:
        frame: planes in their own layout.
        layout: FFmpeg's name, from :func:`encoder_format` for the same planar layout.

    Returns:
        A frame with equal sample values; time and colour are left to the caller.
    """
    target = VideoFrame(frame.width_px, frame.height_px, layout)
    if layout in _PACKED:
        order, dtype = _PACKED[layout]
        _fill_packed(target, frame, order, np.dtype(dtype))
        return target
    if layout == "p010le":
        _fill_p010(target, frame)
        return target
    big_endian = layout.endswith("be")
    for plane, samples in zip(target.planes, frame.planes, strict=True):
        dtype_out = samples.dtype.newbyteorder(">" if big_endian else "<")
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        width_bytes = samples.shape[1] * dtype_out.itemsize
        packed = np.ascontiguousarray(samples, dtype=dtype_out)
        rows[: samples.shape[0], :width_bytes] = packed.view(np.uint8)
    return target


def _fill_packed(
    target: VideoFrame, frame: RawFrame, order: tuple[int, ...], dtype: np.dtype[np.generic]
) -> None:
    plane = target.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    shape = (frame.height_px, frame.width_px, len(order))
    block: npt.NDArray[np.generic] = np.zeros(shape, dtype=dtype)
    for position, source in enumerate(order):
        if source >= 0:
            block[:, :, position] = frame.planes[source]
    flat = block.view(np.uint8).reshape(frame.height_px, -1)
    rows[: frame.height_px, : flat.shape[1]] = flat


def _fill_p010(target: VideoFrame, frame: RawFrame) -> None:
    """Luma, then both chromas in turn; ten bits in the upper part of sixteen."""
    luma, *chroma = frame.planes
    for plane, samples in zip(target.planes, (luma, np.stack(chroma, -1)), strict=True):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        packed = np.ascontiguousarray(samples.reshape(len(samples), -1).astype("<u2") << 6)
        rows[: len(packed), : packed.shape[1] * 2] = packed.view(np.uint8)
