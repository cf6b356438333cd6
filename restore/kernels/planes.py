"""R'G'B' to subsampled, dithered, rounded YUV planes: read once, written once.

The twin is what :func:`restore.engine.pixels.from_frame` does in plain torch, a pass for each
addition and each tap of a filter; the engine hands over its numbers and holds both together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from restore.kernels.choose import can_try

__all__ = ["FAMILY", "Halving", "Plan", "can_write", "write_planes"]

FAMILY = "planes"
_MOST_NUMBERS = 1 << 31  # the kernels count in 32 bits
_LEAST_PX = 16  # of a side that is halved: mirrored once, its 8 samples a side lie within


class Halving(IntEnum):
    """How one axis of chroma is halved, as :mod:`restore.engine.chroma` names it."""

    NONE = 0
    COSITED = 1
    CENTRED = 2


@dataclass(frozen=True)
class Plan:
    """The numbers of a conversion.

    Attributes:
        matrix: rows of Y', Cb, Cr, each for R', G', B'.
        luma: scale and offset of code values.
        chroma: the same for chroma.
        top: largest code value.
        down: how rows of chroma are halved, before columns are.
        across: how columns are.
        taps: middle and one side of what sharpens the mean of two, where an axis is centred.
        is_gray: each pixel becomes the mean of its channels first.
    """

    matrix: tuple[tuple[float, float, float], ...]
    luma: tuple[float, float]
    chroma: tuple[float, float]
    top: int
    down: Halving
    across: Halving
    taps: tuple[float, ...]
    is_gray: bool


def can_write(device: torch.device, height_px: int, width_px: int, plan: Plan) -> bool:
    """Whether the kernels may run there, and take pictures of that size."""
    for side_px, halving in ((height_px, plan.down), (width_px, plan.across)):
        if halving and (side_px % 2 or side_px < _LEAST_PX):
            return False
    fits = 3 * height_px * width_px < _MOST_NUMBERS
    return fits and can_try(device, FAMILY, torch.float32)


def write_planes(
    data: Tensor, plan: Plan, noise: Sequence[Tensor] | None, out: Sequence[Tensor]
) -> None:
    """Convert one picture.

    Args:
        data: ``[3, h, w]`` float R'G'B', any range, any strides; what :func:`can_write` allows.
        plan: the numbers.
        noise: float32 of each plane's size, added before rounding, in code values; None for none.
        out: three planes, uint8 or uint16, contiguous; written.
    """
    from restore.kernels.planes_triton import run

    run(data, plan, noise, out)
