"""A frame's mean with others along motion, as far as they agree: in plain torch, for a GPU.

Only the search is on the CPU. There OpenCV does all of it quicker (the stage ``degrain``), with
places in 32nds of a pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from restore.motion.flow import Effort, flow8, stretched
from restore.motion.warp import warp

__all__ = ["AGREE", "BOX_PX", "EVERY_PX", "SeenThere", "mean_there", "seen_there"]

BOX_PX: Final = 7  # over which frames are compared
AGREE: Final = (1.3, 3.0)  # times the grain's variance: fully taken, not taken at all
EVERY_PX: Final = 3  # one pixel of so many says how much grain there is

Plane = NDArray[Any]  # float32


@dataclass(frozen=True)
class SeenThere:
    """What is worked out of a frame once.

    Attributes:
        picture: ``[1, 3, h, w]`` float32, where the frame is.
        level: ``[1, 1, h, w]``, the mean of its channels.
        small: the same at the size of the search, ``[h', w']``, on the CPU.
    """

    picture: Tensor
    level: Tensor
    small: Plane


def seen_there(frame: Tensor, factor: int) -> SeenThere:
    """Look at a frame ``[3, h, w]``; the search sees it smaller by a whole factor."""
    picture = frame[None].float()
    level = picture.mean(1, keepdim=True)
    size = [max(1, side // factor) for side in level.shape[-2:]]
    small = level if factor == 1 else F.interpolate(level, size, mode="area")
    return SeenThere(picture, level, small[0, 0].cpu().numpy())


def mean_there(
    here: SeenThere,
    others: Sequence[SeenThere],
    curve_of: Callable[[Plane, list[Plane]], NDArray[np.float64]],
) -> tuple[Tensor, float]:
    """The weighted mean of a frame and others brought to it.

    Args:
        here: the frame.
        others: of the same size.
        curve_of: from levels and squared differences, of some pixels and on the CPU, to what grain
            alone makes of them at each of 256 levels.

    Returns:
        ``[3, h, w]`` where the frame is, and how many others a pixel was averaged over.
    """
    small = stretched([here.small, *(other.small for other in others)])
    moved = [
        warp(
            other.picture, _flow(flow8(small[0], small[n + 1], Effort.FAST), here.level), "bicubic"
        )
        for n, other in enumerate(others)
    ]
    # In all channels: things of another colour can have the same brightness.
    gaps = [_box((here.picture - other).square().mean(1, keepdim=True)) for other in moved]
    level = _box(here.level)
    some = torch.cat([level, *gaps])[:, 0, ::EVERY_PX, ::EVERY_PX].cpu().numpy()
    curve = torch.from_numpy(curve_of(some[0], list(some[1:]))).to(level)
    grain = curve[(level.clamp(0, 1) * 255).round().long()]
    total, weight = here.picture.clone(), torch.ones_like(level)
    low, high = AGREE
    for other, gap in zip(moved, gaps, strict=True):
        share = ((high - gap / grain) / (high - low)).clamp(0, 1)
        total.addcmul_(other, share)
        weight += share
    return (total / weight)[0], float(weight.mean()) - 1


def _flow(field: Plane, like: Tensor) -> Tensor:
    """A flow ``[h', w', 2]`` at a frame's size and where it is, ``[1, 2, h, w]``."""
    height, width = like.shape[-2:]
    flow = torch.from_numpy(field).permute(2, 0, 1)[None].to(like)
    scale = flow.new_tensor([width / flow.shape[-1], height / flow.shape[-2]])
    flow = flow * scale[:, None, None]
    if flow.shape[-2:] == (height, width):
        return flow
    return F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)


def _box(plane: Tensor) -> Tensor:
    """Means over a square about each pixel of ``[1, 1, h, w]``, mirrored at the borders."""
    side = BOX_PX // 2
    mode = "reflect" if min(plane.shape[-2:]) > side else "replicate"
    return F.avg_pool2d(F.pad(plane, (side,) * 4, mode=mode), BOX_PX, 1)
