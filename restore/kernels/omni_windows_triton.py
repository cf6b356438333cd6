"""The kernels of :mod:`restore.kernels.omni` that go over windows: both kinds of attention.

A program takes one window of 64 pixels. A block of Triton cannot be cut into heads, so each head's
channels are fetched, or multiplied out, by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from restore.kernels.omni_rows_triton import normed_64, precision

if TYPE_CHECKING:
    from restore.kernels.omni import Rows

__all__ = ["run_channels", "run_windows"]

_WIDTH = tl.constexpr(64)
_HEADS = tl.constexpr(4)
_HEAD = tl.constexpr(16)
_SIDE = tl.constexpr(8)
_WARPS = 4


@triton.jit
def _pixels(height, width, spread: tl.constexpr):
    """Rows and columns of the 64 pixels of this program's window."""
    pixel = tl.arange(0, _WIDTH)
    down, across = height // _SIDE, width // _SIDE
    row = tl.program_id(0) // across
    column = tl.program_id(0) % across
    if spread:
        y = pixel // _SIDE * down + row
        x = pixel % _SIDE * across + column
    else:
        y = row * _SIDE + pixel // _SIDE
        x = column * _SIDE + pixel % _SIDE
    return y, x


@triton.jit
def _windows(
    x,
    norm,
    qkv,
    matrix,
    bias,
    out,
    scale,
    eps,
    height,
    width,
    spread: tl.constexpr,
    precise: tl.constexpr,
) -> None:
    row, column = _pixels(height, width, spread)
    place = tl.program_id(1).to(tl.int64) * height * width + row * width + column
    channel, few, pixel = tl.arange(0, _WIDTH), tl.arange(0, _HEAD), tl.arange(0, _WIDTH)
    target = place[:, None] * _WIDTH + channel[None, :]
    total = tl.load(x + target).to(tl.float32)
    given = normed_64(total, norm, eps).to(x.dtype.element_ty)
    for head in range(_HEADS):
        mine = (few + head * _HEAD)[None, :] * _WIDTH + channel[:, None]
        q = tl.dot(given, tl.load(qkv + mine), input_precision=precise)
        k = tl.dot(given, tl.load(qkv + _WIDTH * _WIDTH + mine), input_precision=precise)
        v = tl.dot(given, tl.load(qkv + 2 * _WIDTH * _WIDTH + mine), input_precision=precise)
        form = given.dtype
        scores = tl.dot(q.to(form), tl.trans(k.to(form)), input_precision=precise) * scale
        table = bias + (pixel + head * _WIDTH)[:, None] * _WIDTH + pixel[None, :]
        scores += tl.load(table).to(tl.float32)
        scores = tl.exp(scores - tl.max(scores, 1)[:, None])
        weights = scores / tl.sum(scores, 1)[:, None]
        mixed = tl.dot(weights.to(form), v.to(form), input_precision=precise)
        by = tl.load(matrix + channel[None, :] * _WIDTH + (few + head * _HEAD)[:, None])
        total += tl.dot(mixed.to(form), by, input_precision=precise)
    tl.store(out + target, total.to(out.dtype.element_ty))


@triton.jit
def _looked(start, weight, row, column, height, width, channel):
    """Some channels of the window's pixels, ``[64, 16]``, through the depthwise convolution."""
    wide: tl.constexpr = 3 * _WIDTH
    total = tl.zeros((_WIDTH, _HEAD), tl.float32)
    # Sums of a loop keep their place among the threads; three loads at a time are on their way.
    for down in range(3):
        for right in tl.static_range(3):
            y, x = row + down - 1, column + right - 1
            there = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            place = (y * width + x)[:, None] * wide + channel[None, :]
            near = tl.load(start + place, mask=there[:, None], other=0.0).to(tl.float32)
            total += near * tl.load(weight + (3 * down + right) * wide + channel)[None, :]
    return total


@triton.jit
def _unit(value):
    """Each channel over the window's pixels at length 1."""
    length = tl.sqrt(tl.sum(value * value, 0))
    return value / tl.maximum(length, 1e-12)[None, :]


@triton.jit
def _channels(
    qkv,
    weight,
    temperature,
    matrix,
    residual,
    out,
    height,
    width,
    precise: tl.constexpr,
) -> None:
    row, column = _pixels(height, width, False)
    first = tl.program_id(1).to(tl.int64) * height * width
    start = qkv + first * 3 * _WIDTH
    channel, few = tl.arange(0, _WIDTH), tl.arange(0, _HEAD)
    target = (first + row * width + column)[:, None] * _WIDTH + channel[None, :]
    total = tl.load(residual + target).to(tl.float32)
    form = qkv.dtype.element_ty
    for head in range(_HEADS):
        mine = few + head * _HEAD
        q = _unit(_looked(start, weight, row, column, height, width, mine))
        k = _unit(_looked(start, weight, row, column, height, width, mine + _WIDTH))
        v = _looked(start, weight, row, column, height, width, mine + 2 * _WIDTH)
        scores = tl.dot(tl.trans(q.to(form)), k.to(form), input_precision=precise)
        scores *= tl.load(temperature + head)
        scores = tl.exp(scores - tl.max(scores, 1)[:, None])
        weights = scores / tl.sum(scores, 1)[:, None]
        mixed = tl.dot(v.to(form), tl.trans(weights.to(form)), input_precision=precise)
        by = tl.load(matrix + channel[None, :] * _WIDTH + mine[:, None])
        total += tl.dot(mixed.to(form), by, input_precision=precise)
    tl.store(out + target, total.to(out.dtype.element_ty))


def run_windows(
    x: Tensor, qkv: Rows, out: Tensor, bias: Tensor, scale: float, *, grid: bool
) -> Tensor:
    """One read and one write of the features; all between stays in registers."""
    x = x.contiguous()
    n, h, w, _ = x.shape
    result = torch.empty_like(x)
    # Triton launches on the current device.
    with torch.cuda.device_of(x):
        _windows[((h // 8) * (w // 8), n)](
            x,
            qkv.norm,
            qkv.weight,
            out,
            bias,
            result,
            scale,
            qkv.eps,
            h,
            w,
            spread=grid,
            precise=precision(x),
            num_warps=_WARPS,
        )
    return result


def run_channels(
    qkv: Tensor, weight: Tensor, temperature: Tensor, out: Tensor, residual: Tensor
) -> Tensor:
    """Reads queries, keys, values and the features, writes the features."""
    qkv, residual = qkv.contiguous(), residual.contiguous()
    n, h, w, _ = qkv.shape
    result = torch.empty_like(residual)
    with torch.cuda.device_of(qkv):
        _channels[((h // 8) * (w // 8), n)](
            qkv,
            weight,
            temperature,
            out,
            residual,
            result,
            h,
            w,
            precise=precision(qkv),
            num_warps=_WARPS,
        )
    return result
