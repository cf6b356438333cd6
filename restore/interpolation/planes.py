"""Arrays as OpenCV takes them: fetched along flow, averaged, made from tensors and back."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "Flags",
    "Plane",
    "apart",
    "averaged",
    "fetched",
    "fetched_by",
    "grey8",
    "mean_of_channels",
    "moved",
    "planar",
    "shrunk",
    "tensor",
]

Plane = NDArray[np.float32]
"""``[h, w]`` or ``[h, w, C]`` float32."""

Flags = NDArray[np.bool_]


def planar(frame: Tensor) -> Plane:
    """``[C, h, w]`` to ``[h, w, C]`` on the CPU."""
    return np.ascontiguousarray(frame.permute(1, 2, 0).to("cpu", torch.float32).numpy())


def tensor(picture: Plane, like: Tensor) -> Tensor:
    """The inverse of :func:`planar`, on the device of ``like``."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).to(like)


def grey8(picture: Plane, low: float, high: float) -> NDArray[np.uint8]:
    """Mean of the channels of ``[h, w, C]``, with ``low..high`` stretched over 8 bit."""
    count = picture.shape[2]
    gain = 255.0 / max(high - low, 1 / 64)
    row = np.full((1, count + 1), gain / count, np.float32)
    row[0, -1] = 0.5 - low * gain
    level = np.asarray(cv2.transform(picture, row), np.float32)
    return np.clip(level, 0, 255, out=level).astype(np.uint8)


def fetched(picture: NDArray[Any], flow: Plane, part: float, kernel: int) -> NDArray[Any]:
    """Each pixel from ``part`` of the way along a flow: ``out(p) = picture(p + part * flow(p))``.

    Args:
        picture: ``[h, w]`` or ``[h, w, C]``, float32 or uint8; its border is repeated.
        flow: ``[h, w, 2]`` (x, y) px.
        part: factor on the flow.
        kernel: of OpenCV's, such as ``cv2.INTER_LANCZOS4``.
    """
    return fetched_by(picture, apart(flow), part, kernel)


def apart(flow: Plane) -> tuple[Plane, Plane]:
    """A flow's two planes, for one that is followed several times."""
    x, y = cv2.split(flow)
    return np.asarray(x, np.float32), np.asarray(y, np.float32)


def fetched_by(
    picture: NDArray[Any], flow: tuple[Plane, Plane], part: float, kernel: int
) -> NDArray[Any]:
    """As :func:`fetched`, by a flow's two planes."""
    columns, rows = _grid(*flow[0].shape)
    places = cv2.scaleAdd(flow[0], part, columns), cv2.scaleAdd(flow[1], part, rows)
    return np.asarray(cv2.remap(picture, *places, kernel, borderMode=cv2.BORDER_REPLICATE))


def moved(plane: Plane, across: int, down: int) -> Plane:
    """Shifted by whole pixels, its border repeated: ``out(x, y) = plane(x - across, y - down)``."""
    height, width = plane.shape[:2]
    left, right, top, below = max(across, 0), max(-across, 0), max(down, 0), max(-down, 0)
    wide = cv2.copyMakeBorder(plane, top, below, left, right, cv2.BORDER_REPLICATE)
    return np.asarray(wide[below : below + height, right : right + width], np.float32)


def mean_of_channels(picture: Plane) -> Plane:
    """``[h, w, C]`` to ``[h, w]``; numpy's own mean along a short axis takes ten times as long."""
    first, *others = cv2.split(picture)
    total = np.asarray(first, np.float32).copy()
    for plane in others:
        total += plane
    total /= np.float32(picture.shape[2])
    return total


def averaged(plane: Plane, side_px: int) -> Plane:
    """Means over squares."""
    return np.asarray(cv2.blur(plane, (side_px, side_px)), np.float32)


def shrunk(plane: Plane, factor: int, divided_by: int = 1) -> Plane:
    """Area means over ``factor`` px a side, divided by a number more: the factor, for a flow."""
    if factor == 1:
        return plane
    height, width = (max(1, n // factor) for n in plane.shape[:2])
    small = cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small / np.float32(divided_by), np.float32)


@lru_cache(maxsize=4)
def _grid(height: int, width: int) -> tuple[Plane, Plane]:
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return np.ascontiguousarray(columns), np.ascontiguousarray(rows)
