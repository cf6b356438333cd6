"""Dense optical flow between frames, and whether it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from restore.errors import InvalidInput
from restore.motion.area import shrunk_luma
from restore.motion.warp import warp

if TYPE_CHECKING:
    import cv2

__all__ = [
    "Effort",
    "flow8",
    "inconsistency_px",
    "occluded",
    "optical_flow",
    "stretched",
    "to_8bit",
]

_SMALLEST_PX = 32  # DIS needs a few 8 px patches on its coarsest level


class Effort(Enum):
    """How much work goes into a flow field; the names are those of DIS' own presets."""

    ULTRAFAST = "ultrafast"
    FAST = "fast"
    MEDIUM = "medium"


def optical_flow(
    source: Tensor, target: Tensor, effort: Effort = Effort.MEDIUM, downscale: int = 1
) -> Tensor:
    """Where each pixel of one frame is found in another.

    Dense inverse search (T. Kroeger et al., "Fast optical flow using dense inverse search", ECCV
    2016) on 8 bit luma; always computed on the CPU.

    Args:
        source: ``[N, 3 or 1, h, w]`` float32, nominal 0..1, any colour space.
        target: of the same shape.
        effort: of the search.
        downscale: whole factor by which frames are made smaller first; the flow comes back at full
            size and in full-size pixels.

    Returns:
        ``[N, 2, h, w]`` float32 on the source's device: (x, y) pixels such that
        ``source(p)`` looks like ``target(p + flow(p))``.

    Raises:
        InvalidInput: shapes that differ, or a downscale below 1.
    """
    if source.shape != target.shape or source.ndim != 4 or downscale < 1:
        raise InvalidInput(
            f"flow from {tuple(source.shape)} to {tuple(target.shape)}, downscale {downscale}",
            "two [N, C, h, w] of one shape and a downscale of 1 or more",
        )
    height, width = source.shape[-2:]
    fields = []
    for one, other in zip(source, target, strict=True):
        pair = to_8bit((one, other), downscale)
        fields.append(torch.from_numpy(flow8(pair[0], pair[1], effort)).permute(2, 0, 1))
    field = torch.stack(fields).to(source.device)
    if field.shape[-2:] != (height, width):
        ratio = torch.tensor([width / field.shape[-1], height / field.shape[-2]])
        field = F.interpolate(field, (height, width), mode="bilinear", align_corners=False)
        field = field * ratio.to(field)[:, None, None]
    return field


def to_8bit(frames: Sequence[Tensor], downscale: int = 1) -> NDArray[np.uint8]:
    """Luma for a flow search: mean of the channels, one stretch for all frames.

    Args:
        frames: N of ``[C, h, w]`` float32.
        downscale: whole factor, by area averages.

    Returns:
        ``[N, h / downscale, w / downscale]`` uint8, contiguous; sizes rounded down, at least 1.
    """
    return stretched([shrunk_luma(frame, downscale) for frame in frames])


def stretched(planes: Sequence[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Luma for a flow search, one stretch for all planes.

    Args:
        planes: N of ``[h, w]`` float32, of one size.

    Returns:
        ``[N, h, w]`` uint8, contiguous.
    """
    grey = np.stack(planes)
    # Dark film would leave the search a handful of the 256 levels.
    low, high = float(grey.min()), float(grey.max())
    scaled = (grey - np.float32(low)) * np.float32(255.0 / max(high - low, 1 / 64))
    return np.ascontiguousarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def flow8(
    source: NDArray[np.uint8], target: NDArray[np.uint8], effort: Effort
) -> NDArray[np.float32]:
    """The search itself, on 8 bit planes ``[h, w]``; gives ``[h, w, 2]`` float32, (x, y) px."""
    height, width = source.shape
    below, right = max(0, _SMALLEST_PX - height), max(0, _SMALLEST_PX - width)
    if below or right:
        source, target = (
            np.pad(p, ((0, below), (0, right)), mode="edge") for p in (source, target)
        )
    found = _search(effort).calc(source, target, np.zeros((*source.shape, 2), np.float32))
    return np.ascontiguousarray(found[:height, :width], dtype=np.float32)


def _search(effort: Effort) -> cv2.DISOpticalFlow:
    import cv2

    presets = {
        Effort.ULTRAFAST: cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
        Effort.FAST: cv2.DISOPTICAL_FLOW_PRESET_FAST,
        Effort.MEDIUM: cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    }
    return cv2.DISOpticalFlow.create(presets[effort])


def inconsistency_px(forward: Tensor, backward: Tensor) -> Tensor:
    """How far a pixel lands from its start when it follows one flow there and the other back.

    Args:
        forward: ``[N, 2, h, w]`` from source to target, px.
        backward: ``[N, 2, h, w]`` from target to source, px.

    Returns:
        ``[N, 1, h, w]`` px, on the source's grid.
    """
    gap = forward + warp(backward, forward)
    return gap.square().sum(1, keepdim=True).sqrt()


def occluded(
    forward: Tensor, backward: Tensor, share: float = 0.01, slack_px: float = 0.5
) -> Tensor:
    """Pixels of the source that have no counterpart in the target, or whose flow is wrong.

    The test of N. Sundaram et al., "Dense point trajectories by GPU-accelerated large displacement
    optical flow", ECCV 2010.

    Args:
        forward: ``[N, 2, h, w]`` from source to target, px.
        backward: ``[N, 2, h, w]`` from target to source, px.
        share: tolerated part of the squared lengths of both flows.
        slack_px: tolerated inconsistency of a still pixel, squared px.

    Returns:
        ``[N, 1, h, w]`` bool on the source's grid; also True where the flow leaves the frame.
    """
    back = warp(backward, forward)
    gap = (forward + back).square().sum(1, keepdim=True)
    size = forward.square().sum(1, keepdim=True) + back.square().sum(1, keepdim=True)
    height, width = forward.shape[-2:]
    columns = torch.arange(width, device=forward.device) + forward[:, :1]
    rows = torch.arange(height, device=forward.device)[:, None] + forward[:, 1:]
    outside = (columns < 0) | (columns > width - 1) | (rows < 0) | (rows > height - 1)
    return (gap > share * size + slack_px) | outside
