"""Attention of channels to each other over every eighth pixel of every eighth row.

Its 64 sets of pixels are as large as the picture allows: first their products are gathered, share
by share; scores, softmax and the product that follows are small matrices then, and become one
matrix for each set, which every pixel of it goes through.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from restore.kernels.omni_rows_triton import precision

__all__ = ["run_spread"]

_WIDTH = tl.constexpr(64)
_HEADS = tl.constexpr(4)
_HEAD = tl.constexpr(16)
_SIDE = tl.constexpr(8)
_EACH, _ROWS, _WARPS = 512, 64, 4


@triton.jit
def _place(pixel, height, width):
    """Where the pixels of this program's set lie, and which of them there are."""
    across = width // _SIDE
    y = pixel // across * _SIDE + tl.program_id(0) // _SIDE
    x = pixel % across * _SIDE + tl.program_id(0) % _SIDE
    inside = pixel < across * (height // _SIDE)
    return tl.program_id(2).to(tl.int64) * height * width + y * width + x, inside


@triton.jit
def _gathered(
    qkv,
    products,
    squares,
    height,
    width,
    each: tl.constexpr,
    block: tl.constexpr,
    precise: tl.constexpr,
) -> None:
    few = tl.arange(0, _HEAD)
    number = (tl.program_id(2) * 64 + tl.program_id(0)) * tl.num_programs(1) + tl.program_id(1)
    for head in range(_HEADS):
        product = tl.zeros((_HEAD, _HEAD), tl.float32)
        q_square = tl.zeros((_HEAD,), tl.float32)
        k_square = tl.zeros((_HEAD,), tl.float32)
        for first in range(0, each, block):
            pixel = tl.program_id(1) * each + first + tl.arange(0, block)
            place, inside = _place(pixel, height, width)
            start = qkv + place[:, None] * (3 * _WIDTH) + (few + head * _HEAD)[None, :]
            q = tl.load(start, mask=inside[:, None], other=0.0)
            k = tl.load(start + _WIDTH, mask=inside[:, None], other=0.0)
            product += tl.dot(tl.trans(q), k, input_precision=precise)
            q_square += tl.sum(q.to(tl.float32) * q.to(tl.float32), 0)
            k_square += tl.sum(k.to(tl.float32) * k.to(tl.float32), 0)
        target = products + (number * _HEADS + head) * _HEAD * _HEAD
        tl.store(target + few[:, None] * _HEAD + few[None, :], product)
        target = squares + number * 2 * _WIDTH + head * _HEAD + few
        tl.store(target, q_square)
        tl.store(target + _WIDTH, k_square)


@triton.jit
def _applied(
    qkv,
    matrices,
    residual,
    out,
    height,
    width,
    block: tl.constexpr,
    precise: tl.constexpr,
) -> None:
    channel = tl.arange(0, _WIDTH)
    pixel = tl.program_id(1) * block + tl.arange(0, block)
    place, inside = _place(pixel, height, width)
    there = inside[:, None]
    start = qkv + place[:, None] * (3 * _WIDTH) + 2 * _WIDTH + channel[None, :]
    v = tl.load(start, mask=there, other=0.0)
    matrix = matrices + (tl.program_id(2) * 64 + tl.program_id(0)) * _WIDTH * _WIDTH
    matrix = tl.load(matrix + channel[:, None] * _WIDTH + channel[None, :])
    target = place[:, None] * _WIDTH + channel[None, :]
    total = tl.dot(v, matrix, input_precision=precise)
    total += tl.load(residual + target, mask=there, other=0.0).to(tl.float32)
    tl.store(out + target, total.to(out.dtype.element_ty), mask=there)


def run_spread(qkv: Tensor, temperature: Tensor, out: Tensor, residual: Tensor) -> Tensor:
    """Two looks at the features; shares are added in one order: the same bits each time."""
    qkv, residual = qkv.contiguous(), residual.contiguous()
    n, h, w, _ = qkv.shape
    pixels = (h // 8) * (w // 8)
    shares = triton.cdiv(pixels, _EACH)
    products = torch.empty((n, 64, shares, 4, 16, 16), dtype=torch.float32, device=qkv.device)
    squares = torch.empty((n, 64, shares, 2, 4, 16), dtype=torch.float32, device=qkv.device)
    result, form = torch.empty_like(residual), precision(qkv)
    # Triton launches on the current device.
    with torch.cuda.device_of(qkv):
        _gathered[(64, shares, n)](
            qkv, products, squares, h, w, each=_EACH, block=_ROWS, precise=form, num_warps=_WARPS
        )
        length = squares.sum(2).sqrt().clamp(min=1e-12)
        scores = products.sum(2) / (length[:, :, 0, :, :, None] * length[:, :, 1, :, None, :])
        weights = (scores * temperature[:, None, None]).softmax(-1)
        # Of every set: from a channel of the values to a channel of the result.
        end = out.float().view(64, 4, 16)
        matrices = torch.einsum("nphde,ohd->npheo", weights, end).reshape(n, 64, 64, 64)
        _applied[(64, triton.cdiv(pixels, _ROWS), n)](
            qkv,
            matrices.to(qkv.dtype).contiguous(),
            residual,
            result,
            h,
            w,
            block=_ROWS,
            precise=form,
            num_warps=_WARPS,
        )
    return result
