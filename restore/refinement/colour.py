"""Colour that stays the source's: statistics of a shot, and everything coarse."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ShotColours", "coarse", "coarse_kept"]

_MOST_GAIN = 1.5


class ShotColours:
    """Mean and contrast of each channel over a shot, of what went in and what was painted.

    They are summed from the shot's first frame on, so that every frame is corrected by what its
    shot has shown so far and none of the others: a change from frame to frame is not a correction.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sums = torch.zeros(4, 3, dtype=torch.float64)

    def matched(self, painted: Tensor, source: Tensor) -> Tensor:
        """``[3, h, w]`` painted, with the mean and contrast of the source; both R'G'B'."""
        pairs = [picture.double().flatten(1).cpu() for picture in (painted, source)]
        self._sums += torch.stack([m for p in pairs for m in (p.sum(1), p.square().sum(1))])
        self._count += pairs[0].shape[1]
        means = self._sums / self._count
        (mean, wanted), squares = means[::2], means[1::2]
        spread, asked = (squares - means[::2].square()).clamp(min=1e-8).sqrt()
        gain = (asked / spread).clamp(1 / _MOST_GAIN, _MOST_GAIN)
        column = (gain, wanted - gain * mean)
        factor, offset = (c.to(painted)[:, None, None] for c in column)
        result: Tensor = painted * factor + offset
        return result


def coarse(picture: Tensor, levels: int) -> Tensor:
    """The low band of an a-trous wavelet transform.

    Args:
        picture: ``[3, h, w]``.
        levels: of the transform; the last one looks 2 ** (levels - 1) px to each side.

    Returns:
        ``[3, h, w]``: ``picture`` minus its details of all levels.
    """
    row = torch.tensor([1, 2, 1], dtype=picture.dtype, device=picture.device) / 4
    kernel = (row[:, None] * row).expand(3, 1, 3, 3)
    low = picture[None]
    for level in range(levels):
        reach = 2**level
        padded = F.pad(low, (reach,) * 4, mode="replicate")
        low = F.conv2d(padded, kernel, dilation=reach, groups=3)
    return low[0]


def coarse_kept(painted: Tensor, source: Tensor, levels: int) -> Tensor:
    """Details as painted, everything coarser as in the source.

    The colour fix that J. Wang et al. use in "Exploiting diffusion prior for real-world image
    super-resolution" (IJCV 2024).
    """
    return painted + coarse(source - painted, levels)
