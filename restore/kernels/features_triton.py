"""The kernels of :mod:`restore.kernels.features`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from restore.kernels.block_end_triton import normed_parts

__all__ = ["run_mean", "run_norm"]

_PART = tl.constexpr(64)
_ROWS = 64
_SHARES = 528  # pieces that a picture's mean is gathered from


@triton.jit
def _norm(x, by, out, pixels, eps, channels: tl.constexpr, block: tl.constexpr) -> None:
    width: tl.constexpr = 3 * _PART
    row = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = (row < pixels)[:, None]
    place = row[:, None] * width + tl.arange(0, _PART)[None, :]
    a = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(x + place + _PART, mask=inside, other=0.0).to(tl.float32)
    c = tl.load(x + place + 2 * _PART, mask=inside, other=0.0).to(tl.float32)
    a, b, c = normed_parts(a, b, c, by, channels, eps)
    tl.store(out + place, a.to(out.dtype.element_ty), mask=inside)
    tl.store(out + place + _PART, b.to(out.dtype.element_ty), mask=inside)
    tl.store(out + place + 2 * _PART, c.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _sums(x, out, pixels, each, block: tl.constexpr) -> None:
    width: tl.constexpr = 3 * _PART
    share = tl.program_id(0)
    picture = tl.program_id(1).to(tl.int64)
    column = tl.arange(0, _PART)
    a = tl.zeros((block, _PART), tl.float32)
    b = tl.zeros((block, _PART), tl.float32)
    c = tl.zeros((block, _PART), tl.float32)
    for first in range(0, each, block):
        row = share * each + first + tl.arange(0, block)
        inside = (row < pixels)[:, None]
        place = (picture * pixels + row)[:, None] * width + column[None, :]
        a += tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        b += tl.load(x + place + _PART, mask=inside, other=0.0).to(tl.float32)
        c += tl.load(x + place + 2 * _PART, mask=inside, other=0.0).to(tl.float32)
    target = out + (picture * tl.num_programs(0) + share) * width + column
    tl.store(target, tl.sum(a, 0))
    tl.store(target + _PART, tl.sum(b, 0))
    tl.store(target + 2 * _PART, tl.sum(c, 0))


def run_norm(x: Tensor, by: Tensor, channels: int, eps: float) -> Tensor:
    """Norm of every pixel."""
    x = x.contiguous()
    out, pixels = torch.empty_like(x), x.numel() // x.shape[-1]
    # Triton launches on the current device.
    with torch.cuda.device_of(x):
        _norm[(triton.cdiv(pixels, _ROWS),)](
            x, by.contiguous(), out, pixels, eps, channels=channels, block=_ROWS
        )
    return out


def run_mean(x: Tensor) -> Tensor:
    """Sums of so many shares of each picture, then their sum: always in the same order."""
    x = x.contiguous()
    n, h, w, width = x.shape
    each = triton.cdiv(triton.cdiv(h * w, _SHARES), _ROWS) * _ROWS
    shares = triton.cdiv(h * w, each)
    sums = torch.empty((n, shares, width), dtype=torch.float32, device=x.device)
    with torch.cuda.device_of(x):
        _sums[(shares, n)](x, sums, h * w, each, block=_ROWS)
    return sums.sum(1) / (h * w)
