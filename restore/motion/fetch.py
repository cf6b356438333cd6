"""Planes on the CPU: fetched along a flow that was searched smaller, looked up by level."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["by_level", "places"]

Plane = NDArray[Any]  # float32


def places(flow: Plane, shape: tuple[int, ...]) -> tuple[Plane, Plane]:
    """Where each pixel of a picture is fetched from, as two maps.

    Args:
        flow: ``[h', w', 2]`` (x, y) in px of its own size.
        shape: height and width of the picture.

    Returns:
        ``[h, w]`` columns and ``[h, w]`` rows, px from the centre of the top left pixel.
    """
    import cv2

    height, width = shape[:2]
    # Planes one by one, scaled while they are small: numpy is slow along an axis of two.
    across, down = cv2.split(flow)
    if flow.shape[:2] != (height, width):
        across *= np.float32(width / flow.shape[1])
        down *= np.float32(height / flow.shape[0])
        across, down = (cv2.resize(plane, (width, height)) for plane in (across, down))
    across += np.arange(width, dtype=np.float32)
    down += np.arange(height, dtype=np.float32)[:, None]
    return np.asarray(across, np.float32), np.asarray(down, np.float32)


def by_level(plane: Plane, curve: NDArray[np.float64]) -> Plane:
    """A curve's value at each pixel.

    Args:
        plane: ``[h, w]`` float32, nominal 0..1; what lies beyond takes the nearest end.
        curve: ``[256]``, from 0 to 1.

    Returns:
        ``[h, w]`` float32.
    """
    import cv2

    level = cv2.convertScaleAbs(cv2.threshold(plane, 0, 0, cv2.THRESH_TOZERO)[1], alpha=255.0)
    return np.asarray(cv2.LUT(level, curve.astype(np.float32)), np.float32)
