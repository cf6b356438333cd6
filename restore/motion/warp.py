"""Pictures brought along a flow field, in float32."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["sample", "warp"]

Kernel = Literal["bilinear", "bicubic"]


def warp(picture: Tensor, flow: Tensor, kernel: Kernel = "bilinear") -> Tensor:
    """Fetch each pixel from where the flow points: ``out(p) = picture(p + flow(p))``.

    Args:
        picture: ``[N, C, h, w]`` float32.
        flow: ``[N, 2, h, w]`` float32, (x, y) px.
        kernel: ``bilinear``, or ``bicubic`` (a = -0.75, keeps detail and may overshoot).

    Returns:
        ``[N, C, h, w]``; beyond the border the border's pixels are repeated.
    """
    height, width = picture.shape[-2:]
    columns = torch.arange(width, device=flow.device, dtype=torch.float32) + flow[:, 0]
    rows = torch.arange(height, device=flow.device, dtype=torch.float32)[:, None] + flow[:, 1]
    return _fetch(picture, torch.stack([columns, rows], -1), kernel)


def sample(picture: Tensor, points: Tensor, kernel: Kernel = "bilinear") -> Tensor:
    """Values at single points, where warping a whole frame would be a waste.

    Args:
        picture: ``[C, h, w]`` float32.
        points: ``[M, 2]`` float32, (x, y) px from the centre of the top left pixel.
        kernel: as in :func:`warp`.

    Returns:
        ``[C, M]``.
    """
    return _fetch(picture[None], points[None, None], kernel)[0, :, 0]


def _fetch(picture: Tensor, places: Tensor, kernel: Kernel) -> Tensor:
    """``places`` is ``[N, h, w, 2]`` in pixels."""
    height, width = picture.shape[-2:]
    size = torch.tensor([max(width, 1), max(height, 1)], device=places.device)
    grid = (places * 2 + 1) / size - 1
    return F.grid_sample(picture, grid, mode=kernel, padding_mode="border", align_corners=False)
