"""The kernel of :mod:`restore.kernels.image_windows`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from restore.kernels.image_windows import Windows

__all__ = ["run"]

_ROWS, _KEYS, _WARPS, _STAGES = 128, 64, 8, 3
_OUTSIDE = tl.constexpr(-100.0)
_LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _kernel(
    qkv,
    bias,
    out,
    scale,
    height,
    width,
    heads: tl.constexpr,
    side: tl.constexpr,
    around: tl.constexpr,
    shift: tl.constexpr,
    head: tl.constexpr,
    precise: tl.constexpr,
    block_rows: tl.constexpr,
    block_keys: tl.constexpr,
) -> None:
    number = tl.program_id(0) % heads
    window = tl.program_id(0) // heads
    across = width // side
    down = height // side
    column = window % across
    row = (window // across) % down
    picture = (window // (across * down)).to(tl.int64)
    start = qkv + picture * height * width * 3 * heads * head + number * head
    channel = tl.arange(0, head)
    query = tl.program_id(1) * block_rows + tl.arange(0, block_rows)
    inside = query < side * side
    query_y, query_x = query // side, query % side
    y = (row * side + query_y + shift) % height
    x = (column * side + query_x + shift) % width
    place = y * width + x
    asked = tl.load(
        start + (place * (3 * heads * head))[:, None] + channel[None, :],
        mask=inside[:, None],
        other=0.0,
    )
    below = row == down - 1
    right = column == across - 1
    if shift > 0:
        query_part = 2 * (below & (query_y >= side - shift)).to(tl.int32)
        query_part += (right & (query_x >= side - shift)).to(tl.int32)
    edge: tl.constexpr = (around - side) // 2
    most = tl.full((block_rows,), float("-inf"), tl.float32)
    total = tl.zeros((block_rows,), tl.float32)
    mixed = tl.zeros((block_rows, head), tl.float32)
    for first in range(0, around * around, block_keys):
        key = first + tl.arange(0, block_keys)
        key_y, key_x = key // around, key % around
        if shift > 0:
            seen_y = (row * side + key_y + shift) % height
            seen_x = (column * side + key_x + shift) % width
            seen = key < around * around
        else:
            seen_y = row * side + key_y - edge
            seen_x = column * side + key_x - edge
            seen = (seen_y >= 0) & (seen_y < height) & (seen_x >= 0) & (seen_x < width)
        there = ((seen_y * width + seen_x) * (3 * heads * head))[:, None] + channel[None, :]
        near = tl.load(start + heads * head + there, mask=seen[:, None], other=0.0)
        value = tl.load(start + 2 * heads * head + there, mask=seen[:, None], other=0.0)
        scores = tl.dot(asked, tl.trans(near), input_precision=precise) * (scale * _LOG2_E)
        table = bias + (number * side * side + query[:, None]) * (around * around) + key[None, :]
        scores += tl.load(table, mask=inside[:, None], other=0.0).to(tl.float32) * _LOG2_E
        if shift > 0:
            key_part = 2 * (below & (key_y >= side - shift)).to(tl.int32)
            key_part += (right & (key_x >= side - shift)).to(tl.int32)
            apart = query_part[:, None] != key_part[None, :]
            scores += tl.where(apart, _OUTSIDE * _LOG2_E, 0.0)
        higher = tl.maximum(most, tl.max(scores, 1))
        weights = tl.exp2(scores - higher[:, None])
        fading = tl.exp2(most - higher)
        mixed = mixed * fading[:, None]
        mixed += tl.dot(weights.to(value.dtype), value, input_precision=precise)
        total = total * fading + tl.sum(weights, 1)
        most = higher
    mixed = mixed / total[:, None]
    target = out + (picture * height * width + place)[:, None] * (heads * head)
    target += number * head + channel[None, :]
    tl.store(target, mixed.to(out.dtype.element_ty), mask=inside[:, None])


def run(qkv: Tensor, bias: Tensor, scale: float, windows: Windows) -> Tensor:
    """Scores are made, weighed and used block by block."""
    n, height, width, channels = qkv.shape
    heads, pixels, keys = bias.shape
    if keys % _KEYS:
        raise ValueError(f"{keys} keys of a window, not a multiple of {_KEYS}")
    qkv, bias = qkv.contiguous(), bias.contiguous()
    out = qkv.new_empty((n, height, width, channels // 3))
    many = n * (height // windows.side_px) * (width // windows.side_px)
    rows = min(_ROWS, pixels)
    # Triton launches on the current device.
    with torch.cuda.device_of(qkv):
        _kernel[(many * heads, triton.cdiv(pixels, rows))](
            qkv,
            bias,
            out,
            scale,
            height,
            width,
            heads=heads,
            side=windows.side_px,
            around=windows.around_px,
            shift=windows.shift_px,
            head=channels // 3 // heads,
            # float32 products as they are; the fast ones would keep ten bits.
            precise="ieee" if qkv.dtype == torch.float32 else "tf32",
            block_rows=rows,
            block_keys=_KEYS,
            num_warps=_WARPS,
            num_stages=_STAGES,
        )
    return out
