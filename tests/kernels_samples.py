"""Seeded tensors for the kernels of networks."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.kernels.windows import Borders


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1


def epilogue_sample(
    n: int, c: int, h: int, w: int, form: str, *, last: bool = True, one_slope: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = getattr(torch, form)
    x = _draw(n, c, h, w).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    # Slopes as networks have them: below 0 and above 1 too.
    return x, _draw(c, seed=1).to(dtype), 1.9 * _draw(1 if one_slope else c, seed=2).to(dtype)


def tail_sample(n: int, c: int, h: int, w: int, scale: int, form: str) -> tuple[Tensor, Tensor]:
    dtype = getattr(torch, form)
    x = _draw(n, c * scale**2, h, w).to(dtype).contiguous(memory_format=torch.channels_last)
    return x, _draw(n, c, h, w, seed=1).abs().to(dtype)


def window_sample(
    count: int, pixels: int, keys: int, heads: int, channels: int, form: str, shifted: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Borders | None]:
    dtype = getattr(torch, form)
    # Strided as a network gives them: parts of one tensor.
    q = _draw(count, pixels, 3, heads, channels).to(dtype)[:, :, 0]
    _, k, v = _draw(count, keys, 3, heads, channels, seed=1).to(dtype).unbind(2)
    bias = 2 * _draw(heads, pixels, keys, seed=2).to(dtype)
    if not shifted:
        return q, k, v, bias, None
    parts = torch.stack([torch.zeros(pixels), torch.arange(pixels) // 5 % 3]).to(torch.int32)
    return q, k, v, bias, Borders(parts, (torch.arange(count) % 2).to(torch.int32))
