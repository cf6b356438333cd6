"""Motion as seen from a moment between two frames, without training: search, then splatting."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.motion.flow import Effort, optical_flow
from restore.motion.splat import splat
from restore.motion.warp import warp

__all__ = ["Passage", "midway", "passage"]

_TRUST = 20.0  # a pixel that differs by 0.05 from its counterpart weighs e times less
_LEAST_COVER = 1e-3
_SHRINK = 2  # splatting costs by the pixel, and search fields are smooth


@dataclass(frozen=True)
class Passage:
    """Search results of a pair, from which every moment between can be had.

    Attributes:
        forward: ``[N, 2, h/2, w/2]`` px of that size, first to second frame.
        backward: the same, second to first.
        forward_weight: ``[N, 1, h/2, w/2]``, 1 where the frames agree, less where they do not.
        backward_weight: the same from the second frame.
        size: height and width of the frames.
    """

    forward: Tensor
    backward: Tensor
    forward_weight: Tensor
    backward_weight: Tensor
    size: tuple[int, int]


def passage(first: Tensor, second: Tensor, effort: Effort = Effort.MEDIUM) -> Passage:
    """Search both ways.

    Args:
        first: ``[N, 3, h, w]`` float32, nominal 0..1.
        second: of the same shape.
        effort: of the search.
    """
    fields = [
        _halved(optical_flow(a, b, effort)) / 2 for a, b in ((first, second), (second, first))
    ]
    small, other = _halved(first), _halved(second)
    forward_gap = (small - warp(other, fields[0])).abs().mean(1, keepdim=True)
    backward_gap = (other - warp(small, fields[1])).abs().mean(1, keepdim=True)
    size = (first.shape[-2], first.shape[-1])
    weights = [torch.exp(-_TRUST * gap) for gap in (forward_gap, backward_gap)]
    return Passage(fields[0], fields[1], weights[0], weights[1], size)


def midway(found: Passage, time: float) -> tuple[Tensor, Tensor]:
    """The motion through each pixel of the moment ``time``, and from where it was seen.

    Args:
        found: what the search gave.
        time: 0 at the first frame, 1 at the second.

    Returns:
        ``[N, 2, h, w]`` px from the first to the second frame, of what is at the pixel at that
        time; and ``[N, 2, h, w]``, how much of each frame landed there, 0 .. about 1.
    """
    ahead, seen = splat(found.forward, time * found.forward, found.forward_weight)
    back, met = splat(found.backward, (1 - time) * found.backward, found.backward_weight)
    cover = seen + met
    motion = (ahead - back) / cover.clamp(min=_LEAST_COVER)
    motion = torch.where(cover > _LEAST_COVER, motion, (found.forward - found.backward) / 2)
    both = torch.cat([motion * _SHRINK, seen, met], 1)
    both = F.interpolate(both, found.size, mode="bilinear", align_corners=False)
    return both[:, :2], both[:, 2:]


def _halved(field: Tensor) -> Tensor:
    """Half the size by averages of 2x2; an odd last row or column is repeated first."""
    below, right = (n % 2 for n in field.shape[-2:])
    return F.avg_pool2d(F.pad(field, (0, right, 0, below), mode="replicate"), 2)
