"""Frames made smaller by area averages, on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["shrunk", "shrunk_luma"]


def shrunk(picture: Tensor, factor: int) -> NDArray[Any]:
    """A picture made smaller by a whole factor.

    Args:
        picture: ``[C, h, w]`` float32.
        factor: 1 leaves the size alone.

    Returns:
        ``[C, h / factor, w / factor]`` float32, sizes rounded down, at least 1.
    """
    import cv2

    planes = picture.detach().cpu().numpy()
    if factor == 1:
        return planes
    height, width = (max(1, n // factor) for n in planes.shape[-2:])
    # Several times quicker than torch's area interpolation, of which it is the same.
    return np.stack(
        [cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA) for plane in planes]
    )


def shrunk_luma(frame: Tensor, factor: int = 1) -> NDArray[np.float32]:
    """The mean of a frame's channels, made smaller.

    Args:
        frame: ``[C, h, w]`` float32.
        factor: as for :func:`shrunk`.

    Returns:
        ``[h / factor, w / factor]`` float32.
    """
    small = shrunk(frame, factor)
    return np.asarray(sum(small[1:], small[0]) / len(small), np.float32)
