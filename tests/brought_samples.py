"""Seeded tensors for the kernels of interpolation networks."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.kernels.brought import Found

#: Of a value about 1, by number format: the result's rounding, and positions' in float32.
ROUNDING = {"float32": 2e-5, "float16": 1e-3, "bfloat16": 8e-3}
_SCALES = (8, 4, 2)


def brought_sample(
    n: int, scale: int, form: str, packed: int = 8, features: int = 8
) -> tuple[tuple[Tensor, Tensor], list[Found], tuple[Tensor, Tensor]]:
    """Both ends, what blocks found before one at ``scale``, and frames in float32.

    Flows reach some 15 px, over the border of 16 x 32 px too.
    """
    draw = torch.Generator().manual_seed(scale)
    dtype = getattr(torch, form)

    def drawn(*shape: int) -> Tensor:
        made = torch.rand(shape, generator=draw).to(dtype)
        return made.contiguous(memory_format=torch.channels_last)

    ends = drawn(n, packed, 16, 32), drawn(n, packed, 16, 32)
    many = 4 * (5 + features)
    found = [
        Found((drawn(n, many, 8 // each, 16 // each) - 0.5) * 2, each)
        for each in _SCALES
        if each > scale
    ]
    return ends, found, (ends[0][:, :3].float(), ends[1][:, :3].float())
