"""The kernels of :mod:`restore.kernels.omni` that go over pixels: products, depthwise, the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from restore.kernels.omni import Rows

__all__ = ["normed_64", "precision", "run_depthwise", "run_gated", "run_rows", "run_shone"]

_WIDTH = tl.constexpr(64)
_ROWS, _ROWS_WARPS = 64, 4
_TALL, _WIDE, _TILE_WARPS = 8, 8, 8  # of a tile of pixels


def precision(x: Tensor) -> str:
    """Of products: float32 as they are; the fast ones would keep ten bits."""
    return "ieee" if x.dtype == torch.float32 else "tf32"


@triton.jit
def normed_64(value, norm, eps):
    """The norm of ``[rows, 64]`` over its 64 channels."""
    column = tl.arange(0, _WIDTH)
    mean = tl.sum(value, 1) / 64
    value = value - mean[:, None]
    factor = tl.rsqrt(tl.sum(value * value, 1) / 64 + eps)
    value = value * factor[:, None] * tl.load(norm + column)[None, :]
    return value + tl.load(norm + _WIDTH + column)[None, :]


@triton.jit
def _gelu(value):
    return 0.5 * value * (1.0 + tl.erf(value * 0.7071067811865476))


@triton.jit
def _rows(
    x,
    weight,
    bias,
    norm,
    share,
    residual,
    out,
    pixels,
    eps,
    outputs: tl.constexpr,
    has_bias: tl.constexpr,
    has_norm: tl.constexpr,
    has_share: tl.constexpr,
    has_residual: tl.constexpr,
    bends: tl.constexpr,
    precise: tl.constexpr,
    block: tl.constexpr,
) -> None:
    row = tl.program_id(0) * block + tl.arange(0, block)
    inside = (row < pixels)[:, None]
    picture = tl.program_id(1).to(tl.int64)
    place = (picture * pixels + row)[:, None]
    column = tl.arange(0, _WIDTH)
    given = tl.load(x + place * _WIDTH + column[None, :], mask=inside, other=0.0)
    if has_norm or has_share:
        value = given.to(tl.float32)
        if has_norm:
            value = normed_64(value, norm, eps)
        if has_share:
            value = value * tl.load(share + picture * _WIDTH + column)[None, :]
        given = value.to(x.dtype.element_ty)
    for first in range(0, outputs, _WIDTH):
        matrix = tl.load(weight + (first + column)[None, :] * _WIDTH + column[:, None])
        result = tl.dot(given, matrix, input_precision=precise)
        if has_bias:
            result += tl.load(bias + first + column)[None, :]
        if bends:
            result = _gelu(result)
        target = place * outputs + first + column[None, :]
        if has_residual:
            result += tl.load(residual + target, mask=inside, other=0.0).to(tl.float32)
        tl.store(out + target, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _tile(height, width, tall: tl.constexpr, wide: tl.constexpr):
    """Rows and columns of a tile's pixels, and whether they are in the picture."""
    across = tl.cdiv(width, wide)
    pixel = tl.arange(0, tall * wide)
    y = tl.program_id(0) // across * tall + pixel // wide
    x = tl.program_id(0) % across * wide + pixel % wide
    return y, x, (y < height) & (x < width)


@triton.jit
def _depthwise(
    x,
    weight,
    bias,
    out,
    sums,
    height,
    width,
    channels: tl.constexpr,
    has_bias: tl.constexpr,
    bends: tl.constexpr,
    tall: tl.constexpr,
    wide: tl.constexpr,
) -> None:
    row, column, inside = _tile(height, width, tall, wide)
    picture = tl.program_id(1).to(tl.int64)
    channel = tl.program_id(2) * _WIDTH + tl.arange(0, _WIDTH)
    start = x + picture * height * width * channels
    total = tl.zeros((tall * wide, _WIDTH), tl.float32)
    # Sums of a loop keep their place among the threads; three loads at a time are on their way.
    for down in range(3):
        for right in tl.static_range(3):
            near_y, near_x = row + down - 1, column + right - 1
            there = (near_y >= 0) & (near_y < height) & (near_x >= 0) & (near_x < width)
            place = (near_y * width + near_x)[:, None] * channels + channel[None, :]
            near = tl.load(start + place, mask=there[:, None], other=0.0).to(tl.float32)
            total += near * tl.load(weight + (3 * down + right) * channels + channel)[None, :]
    if has_bias:
        total += tl.load(bias + channel)[None, :]
    if bends:
        total = _gelu(total)
    total = tl.where(inside[:, None], total, 0.0)
    place = picture * height * width + row * width + column
    target = out + place[:, None] * channels + channel[None, :]
    tl.store(target, total.to(out.dtype.element_ty), mask=inside[:, None])
    share = (picture * tl.num_programs(0) + tl.program_id(0)) * channels
    tl.store(sums + share + channel, tl.sum(total, 0))


@triton.jit
def _gated(
    x,
    weight,
    matrix,
    residual,
    out,
    height,
    width,
    precise: tl.constexpr,
    tall: tl.constexpr,
    wide: tl.constexpr,
) -> None:
    both: tl.constexpr = 2 * _WIDTH
    row, column, inside = _tile(height, width, tall, wide)
    picture = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, _WIDTH)
    start = x + picture * height * width * both
    bent = tl.zeros((tall * wide, _WIDTH), tl.float32)
    plain = tl.zeros((tall * wide, _WIDTH), tl.float32)
    # Sums of a loop keep their place among the threads; three loads at a time are on their way.
    for down in range(3):
        for right in tl.static_range(3):
            near_y, near_x = row + down - 1, column + right - 1
            there = ((near_y >= 0) & (near_y < height) & (near_x >= 0) & (near_x < width))[:, None]
            place = start + (near_y * width + near_x)[:, None] * both + channel[None, :]
            near = tl.load(place, mask=there, other=0.0).to(tl.float32)
            bent += near * tl.load(weight + (3 * down + right) * both + channel)[None, :]
            near = tl.load(place + _WIDTH, mask=there, other=0.0).to(tl.float32)
            plain += near * tl.load(weight + (3 * down + right) * both + _WIDTH + channel)[None, :]
    given = (_gelu(bent) * plain).to(x.dtype.element_ty)
    by = tl.load(matrix + channel[None, :] * _WIDTH + channel[:, None])
    result = tl.dot(given, by, input_precision=precise)
    place = picture * height * width + row * width + column
    target = place[:, None] * _WIDTH + channel[None, :]
    result += tl.load(residual + target, mask=inside[:, None], other=0.0).to(tl.float32)
    tl.store(out + target, result.to(out.dtype.element_ty), mask=inside[:, None])


@triton.jit
def _shone(
    x,
    inner,
    coarse,
    first,
    first_bias,
    second,
    second_bias,
    out,
    pixels,
    precise: tl.constexpr,
    block: tl.constexpr,
) -> None:
    small: tl.constexpr = 16
    row = (tl.program_id(0).to(tl.int64) * block + tl.arange(0, block))[:, None]
    inside = row < pixels
    few, many = tl.arange(0, small), tl.arange(0, _WIDTH)
    given = tl.load(inner + row * small + few[None, :], mask=inside, other=0.0)
    matrix = tl.load(first + few[None, :] * small + few[:, None])
    value = tl.dot(given, matrix, input_precision=precise) + tl.load(first_bias + few)[None, :]
    value += tl.load(coarse + row * small + few[None, :], mask=inside, other=0.0).to(tl.float32)
    matrix = tl.load(second + many[None, :] * small + few[:, None])
    gate = tl.dot(value.to(x.dtype.element_ty), matrix, input_precision=precise)
    gate = tl.sigmoid(gate + tl.load(second_bias + many)[None, :])
    place = row * _WIDTH + many[None, :]
    result = gate * tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + place, result.to(out.dtype.element_ty), mask=inside)


def run_rows(by: Rows, x: Tensor, share: Tensor | None, residual: Tensor | None) -> Tensor:
    """One read of ``x``, one write of the result."""
    x = x.contiguous()
    n, h, w, _ = x.shape
    outputs = by.weight.shape[0]
    out = x.new_empty((n, h, w, outputs))
    # Triton launches on the current device.
    with torch.cuda.device_of(x):
        _rows[(triton.cdiv(h * w, _ROWS), n)](
            x,
            by.weight,
            x if by.bias is None else by.bias,
            x if by.norm is None else by.norm,
            x if share is None else share.contiguous(),
            x if residual is None else residual.contiguous(),
            out,
            h * w,
            by.eps,
            outputs=outputs,
            has_bias=by.bias is not None,
            has_norm=by.norm is not None,
            has_share=share is not None,
            has_residual=residual is not None,
            bends=by.gelu,
            precise=precision(x),
            block=_ROWS,
            num_warps=_ROWS_WARPS,
        )
    return out


def run_depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, with_gelu: bool
) -> tuple[Tensor, Tensor]:
    """Sums of each tile are written and added in one order: the same bits each time."""
    x = x.contiguous()
    n, h, w, channels = x.shape
    tiles = triton.cdiv(h, _TALL) * triton.cdiv(w, _WIDE)
    out = torch.empty_like(x)
    sums = torch.empty((n, tiles, channels), dtype=torch.float32, device=x.device)
    with torch.cuda.device_of(x):
        _depthwise[(tiles, n, channels // 64)](
            x,
            weight,
            weight if bias is None else bias,
            out,
            sums,
            h,
            w,
            channels=channels,
            has_bias=bias is not None,
            bends=with_gelu,
            tall=_TALL,
            wide=_WIDE,
            num_warps=_TILE_WARPS,
            num_stages=1,
        )
    return out, sums.sum(1) / (h * w)


def run_gated(x: Tensor, weight: Tensor, out: Tensor, residual: Tensor) -> Tensor:
    """Nine looks at ``x``, which the caches serve, one at the residual, one write."""
    x, residual = x.contiguous(), residual.contiguous()
    n, h, w, _ = x.shape
    result = torch.empty_like(residual)
    with torch.cuda.device_of(x):
        _gated[(triton.cdiv(h, _TALL) * triton.cdiv(w, _WIDE), n)](
            x,
            weight,
            out,
            residual,
            result,
            h,
            w,
            precise=precision(x),
            tall=_TALL,
            wide=_WIDE,
            num_warps=_TILE_WARPS,
            num_stages=1,
        )
    return result


def run_shone(x: Tensor, inner: Tensor, coarse: Tensor, first: Rows, second: Rows) -> Tensor:
    """One read of each, one write."""
    x, inner, coarse = x.contiguous(), inner.contiguous(), coarse.contiguous()
    out, pixels = torch.empty_like(x), x.numel() // x.shape[-1]
    with torch.cuda.device_of(x):
        _shone[(triton.cdiv(pixels, _ROWS),)](
            x,
            inner,
            coarse,
            first.weight,
            first.bias,
            second.weight,
            second.bias,
            out,
            pixels,
            precise=precision(x),
            block=_ROWS,
            num_warps=_ROWS_WARPS,
        )
    return out
