"""What comes after a frame, as far as the motion that led to it goes on."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from torch import Tensor

from restore.interpolation.planes import averaged, fetched, grey8, planar, shrunk, tensor
from restore.motion.flow import Effort, flow8

__all__ = ["beyond"]

_ROWS: Final = 300
_LEFT: Final = 0.5  # share of the change that motion may leave unexplained
_STILL: Final = 0.5  # grey levels of 255 that change at least where something moves
_SMOOTH_PX: Final = 9


def beyond(first: Tensor, second: Tensor, time: float) -> Tensor | None:
    """Let the second frame move on as it moved from the first.

    Meant for the fraction of a frame before a cut: what enters the picture is the border, repeated.

    Args:
        first: ``[C, h, w]`` float32 R'G'B'.
        second: the frame after it.
        time: above 1 (the second frame); 2 is as far again.

    Returns:
        ``[C, h, w]``; None where motion does not explain how the first became the second, or
        nothing moves.
    """
    pictures = planar(first), planar(second)
    factor = max(1, round(first.shape[-2] / _ROWS))
    small = [shrunk(picture, factor) for picture in pictures]
    low, high = (float(f([p.min() for p in small] + [p.max() for p in small])) for f in (min, max))
    one, other = (grey8(picture, low, high) for picture in small)
    back = averaged(flow8(other, one, Effort.MEDIUM), _SMOOTH_PX)
    change = float(cv2.absdiff(one, other).mean())
    left = float(cv2.absdiff(fetched(one, back, 1.0, cv2.INTER_LINEAR), other).mean())
    if change < _STILL or left > _LEFT * change:
        return None
    height, width = first.shape[-2:]
    scale = np.array([width / back.shape[1], height / back.shape[0]], np.float32)
    flow = np.asarray(cv2.resize(back, (width, height)), np.float32) * scale
    return tensor(fetched(pictures[1], flow, time - 1, cv2.INTER_LANCZOS4), second)
