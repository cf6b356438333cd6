"""Attention within windows of a picture that stays a picture.

Windows are a way of addressing here: no features are rolled, cut into windows or joined again.

Source: Liu et al., "Swin Transformer", ICCV 2021 (shifted windows); Chen et al., "Activating More
Pixels in Image Super-Resolution Transformer", CVPR 2023 (overlapping windows).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from restore.kernels.choose import can_run, difference
from restore.kernels.windows import OUTSIDE

__all__ = ["Windows", "attend_picture", "attend_picture_plain", "attend_picture_trouble"]

HEAD = 32  # channels of a head, the last ones zeros where the network has fewer


@dataclass(frozen=True)
class Windows:
    """How a picture is cut.

    Attributes:
        side_px: of a window of queries.
        around_px: of the window of keys about it; ``side_px`` or more by an even number.
        shift_px: by which windows are moved over the picture, which goes on at its other side; what
            lies on two sides of the picture sees nothing of each other. 0 where keys reach further.
    """

    side_px: int
    around_px: int
    shift_px: int = 0


def attend_picture_plain(qkv: Tensor, bias: Tensor, scale: float, windows: Windows) -> Tensor:
    """The twin, in float32 (float64 for float64).

    Args:
        qkv: ``[n, h, w, 3 * heads * 32]``: queries, keys, values, each by heads. ``h`` and ``w``
            are multiples of the window's side. Keys and values beyond the picture are zeros, and
            take their part in the softmax.
        bias: ``[heads, side * side, around * around]``, added to the scores of every window.
        scale: factor of the scores.
        windows: the cut.

    Returns:
        ``[n, h, w, heads * 32]``.
    """
    n, h, w, _ = qkv.shape
    heads, side, around, shift = (
        bias.shape[0],
        *(windows.side_px, windows.around_px, windows.shift_px),
    )
    exact = torch.float64 if qkv.dtype == torch.float64 else torch.float32
    x = qkv.to(exact).roll((-shift, -shift), (1, 2))
    edge = (around - side) // 2

    def cut(part: Tensor, size: int) -> Tensor:
        """``[n, rows, columns, heads, size * size, 32]``."""
        if size > side:
            part = pad(part, (0, 0, edge, edge, edge, edge))
        part = part.unfold(1, size, side).unfold(2, size, side)
        part = part.flatten(-2).reshape(*part.shape[:3], heads, HEAD, size * size)
        return part.transpose(-1, -2)

    q, k, v = x.view(n, h, w, 3, heads * HEAD).unbind(-2)
    scores = cut(q, side) @ cut(k, around).transpose(-1, -2) * scale + bias.to(exact)
    if shift:
        late = torch.arange(side, device=qkv.device) >= side - shift
        last_row = torch.arange(h // side, device=qkv.device) == h // side - 1
        last_column = torch.arange(w // side, device=qkv.device) == w // side - 1
        down = (last_row[:, None] & late)[:, None, :, None]
        right = (last_column[:, None] & late)[None, :, None, :]
        part = (2 * down.int() + right.int()).flatten(2)
        scores += ((part[..., None] != part[..., None, :]) * OUTSIDE)[None, :, :, None]
    out = scores.softmax(-1) @ cut(v, around)
    out = out.reshape(*out.shape[:4], side, side, HEAD).permute(0, 1, 4, 2, 5, 3, 6)
    return out.reshape(n, h, w, heads * HEAD).roll((shift, shift), (1, 2)).to(qkv.dtype)


def attend_picture(qkv: Tensor, bias: Tensor, scale: float, windows: Windows) -> Tensor:
    """As the twin; by the kernel where it can run. ``qkv`` is contiguous."""
    if not can_run(qkv.device):
        return attend_picture_plain(qkv, bias, scale, windows)
    from restore.kernels.image_windows_triton import run

    return run(qkv, bias, scale, windows)


def attend_picture_trouble(device: torch.device, dtype: torch.dtype) -> str:
    """Holds the kernel against its twin there; says what is wrong, or nothing."""
    draw = torch.Generator().manual_seed(0)
    for windows in (Windows(16, 16), Windows(16, 16, 8), Windows(16, 24)):
        sizes = ((1, 32, 48, 192), (2, windows.side_px**2, windows.around_px**2))
        qkv, bias = ((2 * torch.rand(size, generator=draw) - 1).to(device, dtype) for size in sizes)
        wrong = difference(
            partial(attend_picture, qkv, bias, HEAD**-0.5, windows),
            partial(attend_picture_plain, qkv, bias, HEAD**-0.5, windows),
            str(dtype).removeprefix("torch."),
        )
        if wrong:
            return wrong
    return ""
