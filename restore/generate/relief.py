"""Parallax over a depth picture with slopes: every ray is followed to the surface that it meets.

After F. Policarpo, M. Oliveira and J. Comba, "Real-Time Relief Mapping on Arbitrary Polygonal
Surfaces" (2005): steps from near to far until the surface is passed, then halving. Where something
far comes out from behind an edge, the picture is stretched between the two.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from restore.generate.camera import View, window_px
from restore.generate.resample import at_places

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["seen_over"]

_STEPS: Final = 48
_HALVINGS: Final = 8
Places = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def _places(view: View, picture_px: tuple[int, int], size_px: tuple[int, int]) -> Places:
    """Where in the picture each pixel of the clip looks."""
    width, height = window_px(picture_px, size_px, view.zoom)
    across = ((np.arange(size_px[0]) + 0.5) / size_px[0] - 0.5)[None, :] * width
    down = ((np.arange(size_px[1]) + 0.5) / size_px[1] - 0.5)[:, None] * height
    turn = math.radians(view.roll_deg)
    c, s = math.cos(turn), math.sin(turn)
    x = view.x * picture_px[0] + c * across - s * down
    y = view.y * picture_px[1] + s * across + c * down
    return x, y


def _depth_at(depth: NDArray[np.float32], places: Places) -> NDArray[np.float32]:
    x, y = ((place - 0.5).astype(np.float32) for place in places)
    found = cv2.remap(depth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, dtype=np.float32)


def seen_over(
    data: Tensor,
    depth: NDArray[np.float32],
    view_of: Callable[[float], View],
    size_px: tuple[int, int],
) -> Tensor:
    """What a camera sees of a picture with relief.

    Args:
        data: ``[3, h, w]`` float32.
        depth: ``[h, w]`` 0 (far) to 1 (near).
        view_of: nearness -> the view in which things of that nearness are seen; zoom and middle
            go by straight lines between far and near.
        size_px: width and height of the clip.

    Returns:
        ``[3, h', w']`` float32.
    """
    picture_px = (data.shape[2], data.shape[1])
    far, near = (_places(view_of(n), picture_px, size_px) for n in (0.0, 1.0))

    def at(nearness: NDArray[np.float64]) -> Places:
        x, y = (f + (n - f) * nearness for f, n in zip(far, near, strict=True))
        return x, y

    shape = (size_px[1], size_px[0])
    above, below = np.ones(shape), np.zeros(shape)
    is_open = np.ones(shape, dtype=bool)
    for step in range(1, _STEPS + 1):
        nearness = np.full(shape, 1 - step / _STEPS)
        met = is_open & (_depth_at(depth, at(nearness)) >= nearness)
        above = np.where(met, nearness + 1 / _STEPS, above)
        below = np.where(met, nearness, below)
        is_open &= ~met
        if not is_open.any():
            break
    for _ in range(_HALVINGS):
        middle = (above + below) / 2
        met = _depth_at(depth, at(middle)) >= middle
        below, above = np.where(met, middle, below), np.where(met, above, middle)
    x, y = at(below)
    step_px = window_px(picture_px, size_px, view_of(0.5).zoom)[0] / size_px[0]
    return at_places(data, x, y, step_px)
