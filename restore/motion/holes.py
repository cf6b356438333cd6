"""Holes in a plane or a field, filled from what is about them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["filled"]

Plane = NDArray[Any]  # float32
Mask = NDArray[np.bool_]


def filled(field: Plane, hole: Mask) -> Plane:
    """Carry a field across holes from their surroundings, coarse to fine (pull-push).

    Args:
        field: ``[h, w, C]`` or ``[h, w]``.
        hole: ``[h, w]``, True where the field is not to be believed.
    """
    import cv2

    height, width = hole.shape
    known = (~hole).astype(np.uint8)
    if min(height, width) <= 2 or not hole.any():
        return np.asarray(field, np.float32)
    value = cv2.copyTo(field, known, np.zeros_like(field))
    coarse = _pull_push(*(_halved(plane) for plane in (value, known.astype(np.float32))))
    up = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return np.asarray(cv2.copyTo(field, known, up), np.float32)


def _halved(plane: Plane) -> Plane:
    import cv2

    height, width = plane.shape[:2]
    half = (max(1, width // 2), max(1, height // 2))
    return np.asarray(cv2.resize(plane, half, interpolation=cv2.INTER_AREA), np.float32)


def _pull_push(value: Plane, known: Plane) -> Plane:
    """Sums of what is known and how much of each pixel is, to values everywhere."""
    import cv2

    height, width = known.shape
    deep = (..., None) if value.ndim == 3 else ...
    mean = value / np.maximum(known, 1e-6)[deep]
    if min(height, width) <= 2 or float(known.min()) >= 1:
        return np.asarray(mean, np.float32)
    coarse = _pull_push(_halved(value), _halved(known))
    up = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    part = known[deep]
    return np.asarray(mean * part + up * (1 - part), np.float32)
