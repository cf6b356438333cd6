"""Frames as analyses see them: small grey pictures, made once from frames on any device."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from restore.frames import Frame
from restore.motion.area import shrunk

__all__ = ["SMALL_PX", "averaged", "equalised", "half_luma", "luma_of", "small_luma", "small_rgb"]

SMALL_PX: Final = (72, 96)
_LEAST_DEVIATION: Final = 0.015


def luma_of(data: Tensor) -> Tensor:
    """``[3, h, w]`` R'G'B' to ``[h, w]`` luma, by the plain weights of ITU-R BT.601."""
    if data.device.type != "cpu" or data.dtype != torch.float32:
        return 0.299 * data[0] + 0.587 * data[1] + 0.114 * data[2]
    import cv2

    red, green, blue = data.numpy()
    # Two passes over memory in place of five.
    both = cv2.addWeighted(red, 0.299, green, 0.587, 0)
    return torch.from_numpy(cv2.scaleAdd(blue, 0.114, both))


def averaged(plane: Tensor, down: int, across: int) -> Tensor:
    """Means over whole blocks of a plane.

    Args:
        plane: ``[h, w]`` float32.
        down: rows of a block.
        across: columns of a block.

    Returns:
        ``[h // down, w // across]`` on the plane's device.
    """
    if plane.device.type != "cpu":
        return F.avg_pool2d(plane[None, None], (down, across))[0, 0]
    import cv2

    height, width = plane.shape[0] // down, plane.shape[1] // across
    whole = plane.numpy()[: height * down, : width * across]
    # Several times quicker than torch's.
    return torch.from_numpy(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA))


def small_luma(frame: Frame, size_px: tuple[int, int] = SMALL_PX) -> NDArray[np.float32]:
    """A frame's luma, averaged down to a size that grain does not survive.

    Whole blocks are averaged first, which is all that large frames need; the rest is area
    resampling.

    Args:
        frame: of any size and device.
        size_px: rows and columns wanted; frames smaller than that are enlarged.

    Returns:
        ``[rows, columns]`` float32, nominal 0..1.
    """
    import cv2

    luma = luma_of(frame.data)
    block = min(math.floor(luma.shape[0] / size_px[0]), math.floor(luma.shape[1] / size_px[1]))
    if block > 1:
        luma = averaged(luma, block, block)
    flat = luma.to("cpu", torch.float32).numpy()
    small = cv2.resize(flat, size_px[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32)


def half_luma(frame: Frame) -> Tensor:
    """A frame's luma, averaged over blocks so that about 300 rows are left.

    Returns:
        ``[rows, columns]`` on the frame's device; at least halved where the frame has 4 rows.
    """
    luma = luma_of(frame.data)
    block = min(max(2, luma.shape[0] // 300), *luma.shape)
    return averaged(luma, block, block)


def equalised(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The same picture at mid grey with one contrast, so that flicker and exposure say nothing.

    Args:
        picture: ``[h, w]`` 0..1. Contrast below 4 code values of 8 bit is not raised to the full.

    Returns:
        ``[h, w]`` uint8: mean 128, standard deviation 48 where the picture has any contrast.
    """
    deviation = max(float(picture.std()), _LEAST_DEVIATION)
    level = 128.0 + (picture - picture.mean()) * (48.0 / deviation)
    rounded: NDArray[np.uint8] = np.clip(np.rint(level), 0, 255).astype(np.uint8)
    return rounded


def small_rgb(data: Tensor, long_side_px: int) -> NDArray[np.float32]:
    """``[3, h, w]`` to a small ``[h, w, 3]`` on the CPU, by averages over whole blocks.

    Args:
        data: of any size and device.
        long_side_px: wanted, about.
    """
    factor = max(1, round(max(data.shape[-2:]) / long_side_px))
    if data.device.type != "cpu" and factor > 1:
        # Made small where it is: enlarged frames are too much to fetch for this.
        data, factor = F.avg_pool2d(data[None], factor)[0], 1
    return np.ascontiguousarray(shrunk(data, factor).transpose(1, 2, 0), np.float32)
