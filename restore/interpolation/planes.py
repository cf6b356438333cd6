"""Arrays as OpenCV takes them: fetched along flow, averaged, made from tensors and back."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Flags", "Plane", "averaged", "fetched", "grey8", "planar", "shrunk", "tensor"]

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
    columns, rows = _grid(*flow.shape[:2])
    x, y = cv2.split(flow)
    places = cv2.scaleAdd(x, part, columns), cv2.scaleAdd(y, part, rows)
    return np.asarray(cv2.remap(picture, *places, kernel, borderMode=cv2.BORDER_REPLICATE))


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
