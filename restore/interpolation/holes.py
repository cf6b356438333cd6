"""Holes in a field closed from around them."""

from __future__ import annotations

import cv2
import numpy as np

from restore.interpolation.planes import Plane

__all__ = ["filled"]


def filled(values: Plane, trust: Plane) -> Plane:
    """Holes closed from around them, by a pyramid of means (S. J. Gortler et al., "The lumigraph",
    1996).

    Args:
        values: ``[h, w, C]``.
        trust: ``[h, w]`` 0..1; 0 is a hole.

    Returns:
        ``[h, w, C]``.
    """
    levels = [(values * trust[..., None], trust)]
    while min(levels[-1][1].shape) > 1:
        size = tuple(-(-n // 2) for n in levels[-1][1].shape[::-1])
        sums, weight = (
            np.asarray(cv2.resize(p, size, interpolation=cv2.INTER_AREA), np.float32)
            for p in levels[-1]
        )
        levels.append((sums, weight))
    sums, weight = levels[-1]
    coarse = np.asarray(sums / np.maximum(weight, 1e-6).reshape(*weight.shape, 1), np.float32)
    for sums, weight in levels[-2::-1]:
        above = np.asarray(cv2.resize(coarse, weight.shape[::-1]), np.float32).reshape(sums.shape)
        coarse = np.asarray(sums + (1 - weight[..., None]) * above, np.float32)
    return coarse
