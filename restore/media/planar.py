"""Planar frames in plain memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from restore.frames import PixelFormat

__all__ = ["Plane", "plane_views", "sample_dtype"]

Plane = npt.NDArray[Any]


def sample_dtype(form: PixelFormat) -> np.dtype[Any]:
    """Type of a sample in memory: uint8, uint16 or float32, little-endian."""
    return np.dtype("<f4" if form.is_float else "u1" if form.depth_bits <= 8 else "<u2")


def plane_views(
    memory: memoryview, form: PixelFormat, width_px: int, height_px: int
) -> tuple[Plane, ...]:
    """Arrays ``[rows, cols]`` over one packed frame, plane after plane.

    Args:
        memory: at least ``form.frame_bytes(width_px, height_px)`` bytes.
        form: planar format.
        width_px: picture width.
        height_px: picture height.
    """
    planes, start = [], 0
    dtype = sample_dtype(form)
    for number in range(form.planes):
        rows, cols = form.plane_shape(number, width_px, height_px)
        flat = np.frombuffer(memory, dtype, rows * cols, start)
        planes.append(flat.reshape(rows, cols))
        start += flat.nbytes
    return tuple(planes)
