"""Attention within windows with a position bias, and borders between which nothing is seen.

Source: Liu et al., "Swin Transformer", ICCV 2021 (windows, relative positions, shifted windows);
Dao et al., "FlashAttention", NeurIPS 2022 (softmax block by block).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from restore.kernels.choose import can_run, difference

__all__ = ["OUTSIDE", "Borders", "attend", "attend_plain", "attend_trouble"]

#: What HAT and Swin add to the scores of pixels that lie on another side of a border.
OUTSIDE = -100.0


@dataclass(frozen=True)
class Borders:
    """Which pixels of a window belong together.

    Attributes:
        parts: ``[kinds, pixels]`` int32: for each kind of window, the part that a pixel lies in.
        kinds: ``[windows]`` int32: the kind of each window.
    """

    parts: Tensor
    kinds: Tensor

    def to(self, device: torch.device) -> Borders:
        """The same on a device."""
        return Borders(self.parts.to(device), self.kinds.to(device))

    def mask(self, dtype: torch.dtype) -> Tensor:
        """``[windows, 1, pixels, pixels]``: 0 within a part, ``OUTSIDE`` from one to another."""
        apart = self.parts[:, :, None] != self.parts[:, None, :]
        return (apart.to(dtype) * OUTSIDE)[self.kinds.long()][:, None]


def attend_plain(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float, borders: Borders | None = None
) -> Tensor:
    """The twin: the same by ``scaled_dot_product_attention``.

    Args:
        q: ``[windows, pixels, heads, channels]``.
        k: ``[windows, keys, heads, channels]``.
        v: as ``k``.
        bias: ``[heads, pixels, keys]``, added to the scores of every window.
        scale: factor of the scores.
        borders: of shifted windows, where ``keys`` are the pixels; None for none.

    Returns:
        ``[windows, pixels, heads, channels]``.
    """
    mask = bias[None] if borders is None else bias[None] + borders.mask(bias.dtype)
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    out = scaled_dot_product_attention(q, k, v, attn_mask=mask.to(q.dtype), scale=scale)
    return out.transpose(1, 2)


def attend(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float, borders: Borders | None = None
) -> Tensor:
    """As the twin; by the kernel where it can run. Any strides; up to 128 channels a head.

    One call takes windows of every kind, and neither scores nor masks reach memory.
    """
    if not (can_run(q.device) and q.shape[-1] <= 128):
        return attend_plain(q, k, v, bias, scale, borders)
    from restore.kernels.windows_triton import run

    return run(q, k, v, bias, scale, borders)


def attend_trouble(device: torch.device, dtype: torch.dtype) -> str:
    """Holds the kernel against its twin there; says what is wrong, or nothing."""
    draw = torch.Generator().manual_seed(0)
    q, k, v = (
        (2 * torch.rand((3, 64, 2, 30), generator=draw) - 1).to(device, dtype) for _ in range(3)
    )
    bias = torch.rand((2, 64, 64), generator=draw).to(device, dtype)
    parts = torch.stack([torch.zeros(64), torch.arange(64) // 24]).to(device, torch.int32)
    borders = Borders(parts, torch.tensor([0, 1, 1], dtype=torch.int32, device=device))
    return difference(
        lambda: attend(q, k, v, bias, 30**-0.5, borders),
        lambda: attend_plain(q, k, v, bias, 30**-0.5, borders),
        str(dtype).removeprefix("torch."),
    )
