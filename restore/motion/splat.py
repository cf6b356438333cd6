"""Forward warping: pixels thrown along a flow and gathered where they land, in float32."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["splat"]


def splat(values: Tensor, flow: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Throw each pixel to ``p + flow(p)`` and add it to the four pixels around that place.

    With ``weight = exp(-z)`` and the sums divided by one another this is softmax splatting
    (S. Niklaus and F. Liu, "Softmax Splatting for Video Frame Interpolation", CVPR 2020): where
    several pixels land in one place the one of the smallest ``z`` wins.

    Sums are added in the order of the source's pixels on the CPU, so a result there is the same
    every time; CUDA adds in no fixed order.

    Args:
        values: ``[N, C, h, w]``.
        flow: ``[N, 2, h, w]`` (x, y) px.
        weight: ``[N, 1, h, w]``, 0 or more; 1 everywhere where None.

    Returns:
        Sums of the weighted values ``[N, C, h, w]`` and of the weights ``[N, 1, h, w]``, float32,
        not divided; what lands outside is lost. A weight of 0 is a place that nothing reached.
    """
    count, channels, height, width = values.shape
    share = torch.ones_like(flow[:, :1]) if weight is None else weight.float()
    thrown = torch.cat([values.float() * share, share], 1).flatten(2)
    columns = torch.arange(width, device=flow.device, dtype=torch.float32) + flow[:, 0].float()
    rows = torch.arange(height, device=flow.device, dtype=torch.float32)[:, None]
    rows = rows + flow[:, 1].float()
    left, top = columns.floor(), rows.floor()
    sums = thrown.new_zeros(count, channels + 1, height * width)
    for down in (0, 1):
        for right in (0, 1):
            x, y = left + right, top + down
            near = (1 - (columns - x).abs()) * (1 - (rows - y).abs())
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            near = torch.where(inside, near, torch.zeros_like(near)).flatten(1)[:, None]
            place = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long().flatten(1)
            place = place[:, None].expand(-1, channels + 1, -1)
            sums.scatter_add_(2, place, thrown * near)
    sums = sums.view(count, channels + 1, height, width)
    return sums[:, :channels], sums[:, channels:]
