"""What was given for the frame before, brought along the motion of the source and blended in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.motion.flow import Effort, occluded, optical_flow
from restore.motion.warp import warp

__all__ = ["Motion", "motion_back", "steadied"]

_BOX_PX: Final = 5  # over which frames are compared
_WIDE_PX: Final = 33  # over which their exposure is
_AGREE: Final = (0.04, 0.12)  # difference that is fully taken for the same thing, and not at all
_HALVED_FROM_PX: Final = 512  # shortest side at which flow is searched at half size


@dataclass(frozen=True, eq=False)
class Motion:
    """Where the pixels of a frame were in the frame before it.

    Attributes:
        flow: ``[1, 2, h, w]`` px, from the frame to the one before.
        hidden: ``[1, 1, h, w]`` bool: not to be seen in the one before.
        trust: ``[1, 1, h, w]`` float32 0..1: 1 where both show the same, 0 where hidden or where
            the source itself has changed.
    """

    flow: Tensor
    hidden: Tensor
    trust: Tensor


def motion_back(before: Tensor, here: Tensor) -> Motion:
    """The motion between two frames of the source, ``[3, h, w]`` each."""
    one, other = here[None].float(), before[None].float()
    factor = 2 if min(here.shape[-2:]) >= _HALVED_FROM_PX else 1
    flow = optical_flow(one, other, Effort.MEDIUM, factor)
    hidden = occluded(flow, optical_flow(other, one, Effort.MEDIUM, factor))
    gap = one - warp(other, flow)
    # Flicker is no change of what is shown.
    gap = _box((gap - _box(gap, _WIDE_PX)).abs().mean(1, keepdim=True), _BOX_PX)
    low, high = _AGREE
    trust = ((high - gap) / (high - low)).clamp(0, 1) * ~hidden
    return Motion(flow, hidden, trust)


def steadied(painted: Tensor, before: Tensor, motion: Motion, share: float) -> Tensor:
    """Blend in what was given for the frame before.

    Args:
        painted: ``[3, h, w]`` of this frame.
        before: ``[3, h, w]`` as it was given for the frame before.
        motion: of the source between the two.
        share: of the frame before, 0..1, where it is trusted.
    """
    moved = warp(before[None], motion.flow.to(before), "bicubic")
    return torch.lerp(painted[None], moved, share * motion.trust.to(painted))[0]


def _box(picture: Tensor, side_px: int) -> Tensor:
    reach = side_px // 2
    padded = F.pad(picture, (reach,) * 4, mode="replicate")
    return F.avg_pool2d(padded, side_px, stride=1)
