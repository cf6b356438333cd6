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

    value = field * ~hole.reshape(hole.shape + (1,) * (field.ndim - 2))
    known = (~hole).astype(np.float32)
    return _pull_push(value.astype(np.float32), known, cv2.INTER_LINEAR, field.ndim)


def _pull_push(value: Plane, known: Plane, kernel: int, ndim: int) -> Plane:
    import cv2

    height, width = known.shape
    share = np.maximum(known, 1e-6)
    mean = value / (share[..., None] if ndim == 3 else share)
    if min(height, width) <= 2 or float(known.min()) > 0:
        return mean
    half = (max(1, width // 2), max(1, height // 2))
    below_value = cv2.resize(value, half, interpolation=cv2.INTER_AREA)
    below_known = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    coarse = _pull_push(below_value, below_known, kernel, ndim)
    up = cv2.resize(coarse, (width, height), interpolation=kernel)
    part = np.minimum(known, 1.0)
    part = part[..., None] if ndim == 3 else part
    out: Plane = mean * part + up * (1 - part)
    return out
